// The running softmax of the prefill kernel.
#pragma once

#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_prefill.cuh"

namespace octet::cuda {

// The two rows of a thread: g and g + 8 of its warp's 16.
template <class S, int kDim>
struct Rows {
  static constexpr int kOut = kDim / 2;  // registers of O

  float out[kOut];
  // Weights are exp2(score - origin): the largest score so far, or one up to kSlack below it. Results shrink
  // only when the maximum grows by more, which is rare after the first tile.
  static constexpr float kSlack = 8;
  float largest[2], sum[2], scale[2];  // largest: the origin before scaling
  float origin[2];
  int32_t position[2];  // keys up to it are seen

  __device__ __forceinline__ void mask(float (&s)[64], int32_t first_key, int32_t window) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int32_t last = position[r] - first_key - 2 * static_cast<int32_t>(threadIdx.x % 4);
      const int32_t first = window > 0 ? last - window + 1 : INT32_MIN;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int32_t key = i / 2 * 8 + i % 2;
        if (key > last || key < first) s[i / 2 * 4 + 2 * r + i % 2] = -INFINITY;
      }
    }
  }
  // The largest of row r's scores, and of `top`.
  static __device__ __forceinline__ float row_max(const float (&s)[64], int r, float top) {
#pragma unroll
    for (int i = 0; i < 64; i += 4) top = fmaxf(top, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    return fmaxf(top, __shfl_xor_sync(~0u, top, 2));
  }

  // scores -> weights; returns what earlier results shrink by.
  template <bool kMasked>
  __device__ __forceinline__ void softmax(float (&s)[64], int32_t first_key, int32_t window,
                                          float (&shrink)[2]) {
    if constexpr (kMasked) mask(s, first_key, window);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float top = row_max(s, r, largest[r]);
      if ((top - largest[r]) * scale[r] > kSlack) largest[r] = top;
      // A rounded product of its own: were it fused into the differences, an unchanged maximum would not give
      // a factor of exactly 1, and tiles that a row does not see would change its bits.
      const float next = __fmul_rn(largest[r], scale[r]), used = largest[r] == -INFINITY ? 0.0f : next;
      shrink[r] = exp2_approx(origin[r] - used);
      origin[r] = next;
      float total = 0;
#pragma unroll
      for (int i = 0; i < 64; i += 4) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& x = s[i + 2 * r + j];
          x = exp2_approx(fmaf(x, scale[r], -used));
          total += x;
        }
      }
      sum[r] = sum[r] * shrink[r] + total;
    }
  }

  __device__ __forceinline__ void shrink_out(const float (&shrink)[2]) {
    if (!__any_sync(~0u, shrink[0] != 1 || shrink[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < kOut; ++i) out[i] *= shrink[i / 2 % 2];
  }
};

}  // namespace octet::cuda
