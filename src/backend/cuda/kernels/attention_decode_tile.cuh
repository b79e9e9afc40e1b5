// One warp's share of decode attention: a tile of 64 keys against the query heads of a group, on the tensor
// cores. attention_decode.cu says what is computed and why so.
#pragma once

#include <algorithm>
#include <cfloat>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_rows.cuh"

namespace octet::cuda {

inline constexpr int kDecodeSharedBytes = 227 * 1024;

template <QType kType, int kDim>
struct DecodeShared {
  static constexpr bool kEightBit = kType == QType::kInt8 || kType == QType::kFp8;
  static constexpr int kCodeBytes = kEightBit ? 1 : 2;
  // A warp's stage: K, V, scales of 64 keys, and the queries with a segment's first tile.
  static constexpr int kV = kTileKeys * kDim * kCodeBytes, kScales = 2 * kV;
  static constexpr int kQuery = kScales + (kEightBit ? 2 * kTileKeys * 4 : 0);
  static constexpr int kQueryStride = kDim * 2 + 16;  // bytes; 16 more, so that rows start in different banks
  static constexpr int kStageBytes = kQuery + kRowsPerTile * kQueryStride;
  static constexpr int kMergeStride = kDim + 4;                              // floats
  static constexpr int kMergeBytes = kRowsPerTile * (kMergeStride + 2) * 4;  // a warp's
  static constexpr int kLineBytes = 2 * (kMaxDecodeSeqs + 4) * 4;
  static constexpr int kWarps =
      std::min(kMostDecodeWarps, (kDecodeSharedBytes - kLineBytes - 128) / (kStageBytes + kMergeBytes));
  static_assert(kWarps >= 4);

  uint8_t* base;
  __device__ uint8_t* stage(int warp) const { return base + warp * kStageBytes; }
  __device__ float* merge(int warp) const {
    return reinterpret_cast<float*>(base + kWarps * kStageBytes) + warp * kRowsPerTile * kMergeStride;
  }
  __device__ float2* merge_ml(int warp) const {
    return reinterpret_cast<float2*>(merge(kWarps)) + warp * kRowsPerTile;
  }
  __device__ Line line() const {
    auto* words = reinterpret_cast<int32_t*>(base + kWarps * (kStageBytes + kMergeBytes));
    return {words, words + kMaxDecodeSeqs + 4};
  }
  __device__ uint32_t full(int warp) const {
    return shared_address(base + kWarps * (kStageBytes + kMergeBytes) + kLineBytes) + 8 * warp;
  }
};

// One warp's part of a segment.
template <QType kType, int kDim>
struct DecodeConsumer {
  using S = DecodeShared<kType, kDim>;
  using Operand = std::conditional_t<kType == QType::kBF16, __nv_bfloat16, __half>;
  static constexpr int kSteps = kDim / 16;

  uint32_t query[kSteps][2];  // B fragments of Q^T
  float score_scale[2];       // of the columns 2c, 2c + 1
  float largest[2], sum[2];
  float out[kSteps][4];  // O^T: rows are dimensions

  __device__ void reset() {
    largest[0] = largest[1] = -INFINITY;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) out[i][0] = out[i][1] = out[i][2] = out[i][3] = 0;
  }

  // row: this lane's query head (column g), null where the group has no such head.
  __device__ void load_query(const DecodeArgs& a, const __nv_bfloat16* row, float k_scale) {
    const int lane = threadIdx.x % 32, c = lane % 4;
    float absmax = 0;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int dim = S::kEightBit ? i / 2 * 32 + c * 8 + i % 2 * 4 + j * 2 : i * 16 + j * 8 + c * 2;
        query[i][j] = row != nullptr && dim < a.head_dim ? load_pair(row + dim) : 0;
        absmax = fmaxf(absmax, fmaxf(fabsf(bf16_low(query[i][j])), fabsf(bf16_high(query[i][j]))));
      }
    }
    float scale = a.score_scale * k_scale;
    if constexpr (kType != QType::kBF16) {
      absmax = fmaxf(absmax, __shfl_xor_sync(~0u, absmax, 1));
      absmax = fmaxf(absmax, __shfl_xor_sync(~0u, absmax, 2));
      uint32_t exponent = min(__float_as_uint(absmax) & 0x7f800000u, 0x7e800000u);
      if (exponent == 0) exponent = 0x3f800000u;
      const float inverse = __uint_as_float(0x7f000000u - exponent);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j)
          query[i][j] = pack<__half>(bf16_low(query[i][j]) * inverse, bf16_high(query[i][j]) * inverse);
      }
      scale *= __uint_as_float(exponent);
    }
    score_scale[0] = __shfl_sync(~0u, scale, 8 * c);
    score_scale[1] = __shfl_sync(~0u, scale, 8 * c + 4);
  }

  // Codes of 8 bits to fp16 pairs.
  static __device__ __forceinline__ uint32_t low_pair(uint32_t codes) {
    if constexpr (kType == QType::kInt8) return biased_int8x2_to_f16x2<0x4140>(codes);
    return e4m3x2_to_f16x2(codes);
  }
  static __device__ __forceinline__ uint32_t high_pair(uint32_t codes) {
    if constexpr (kType == QType::kInt8) return biased_int8x2_to_f16x2<0x4342>(codes);
    return e4m3x2_to_f16x2_high(codes);
  }
  static __device__ __forceinline__ uint4 load_codes(const uint8_t* at) {
    uint4 r = *reinterpret_cast<const uint4*>(at);
    if constexpr (kType == QType::kInt8) {
      r.x ^= 0x80808080u;
      r.y ^= 0x80808080u;
      r.z ^= 0x80808080u;
      r.w ^= 0x80808080u;
    }
    return r;
  }

  // s[b] += K Q^T of keys 16 b to 16 b + 15.
  __device__ __forceinline__ void scores(const uint8_t* stage, float (&s)[4][4]) const {
    const int lane = threadIdx.x % 32;
    if constexpr (S::kEightBit) {
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) {
#pragma unroll
        for (int b = 0; b < 4; ++b) {
          const uint4 r = load_codes(stage + b * 16 * kDim + j * 512 + lane * 16);
          const uint32_t a0[4] = {low_pair(r.x), low_pair(r.z), high_pair(r.x), high_pair(r.z)};
          mma_16x8x16<Operand>(s[b], a0, query[2 * j][0], query[2 * j][1]);
          const uint32_t a1[4] = {low_pair(r.y), low_pair(r.w), high_pair(r.y), high_pair(r.w)};
          mma_16x8x16<Operand>(s[b], a1, query[2 * j + 1][0], query[2 * j + 1][1]);
        }
      }
    } else {
      const uint32_t row = shared_address(stage) + lane % 16 * 128;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const uint32_t at = row + i / 4 * kTileKeys * 128 + (((i % 4 * 2 + lane / 16) ^ (lane & 7)) << 4);
#pragma unroll
        for (int b = 0; b < 4; ++b) {
          uint32_t k[4];
          load_matrices(k, at + b * 16 * 128);
          mma_16x8x16<Operand>(s[b], k, query[i][0], query[i][1]);
        }
      }
    }
  }

  // out += V^T P^T; p[b] holds the weights of keys 16 b.. as B fragments. Keys from `valid` on are not read.
  __device__ __forceinline__ void weigh(const uint8_t* stage, const uint32_t (&p)[4][2], int32_t valid) {
    const int lane = threadIdx.x % 32, c = lane % 4;
    if constexpr (S::kEightBit) {
#pragma unroll
      for (int b = 0; b < 4; ++b) {
#pragma unroll
        for (int j = 0; j < kDim / 32; ++j) {
          uint4 r = load_codes(stage + S::kV + b * 16 * kDim + j * 512 + lane * 16);
          if (kType == QType::kFp8 && valid < kTileKeys) {  // what stands behind the context may be NaN
            const int32_t key = b * 16 + 2 * c;
            if (key >= valid) r.x = 0;
            if (key + 1 >= valid) r.y = 0;
            if (key + 8 >= valid) r.z = 0;
            if (key + 9 >= valid) r.w = 0;
          }
          const uint32_t low0 = __byte_perm(r.x, r.y, 0x5140), high0 = __byte_perm(r.x, r.y, 0x7362);
          const uint32_t low1 = __byte_perm(r.z, r.w, 0x5140), high1 = __byte_perm(r.z, r.w, 0x7362);
          const uint32_t a0[4] = {low_pair(low0), high_pair(low0), low_pair(low1), high_pair(low1)};
          mma_16x8x16<Operand>(out[2 * j], a0, p[b][0], p[b][1]);
          const uint32_t a1[4] = {low_pair(high0), high_pair(high0), low_pair(high1), high_pair(high1)};
          mma_16x8x16<Operand>(out[2 * j + 1], a1, p[b][0], p[b][1]);
        }
      }
    } else {
      const uint32_t row = shared_address(stage) + S::kV + (lane / 16 * 8 + lane % 8) * 128;
#pragma unroll
      for (int b = 0; b < 4; ++b) {
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          uint32_t v[4];
          load_matrices_transposed(
              v, row + (i / 4 * kTileKeys + b * 16) * 128 + (((i % 4 * 2 + lane / 8 % 2) ^ (lane & 7)) << 4));
          mma_16x8x16<Operand>(out[i], v, p[b][0], p[b][1]);
        }
      }
    }
  }

  // keys [first_key, context) of the tile count. first_key and context are relative to the tile.
  __device__ void tile(const DecodeArgs& a, uint8_t* stage, int32_t first_key, int32_t context) {
    const int lane = threadIdx.x % 32, g = lane / 4;
    float s[4][4] = {};
    scores(stage, s);
    const float* scales = reinterpret_cast<const float*>(stage + S::kScales);
    float v_scale[4][2];
    const bool whole = first_key <= 0 && context >= kTileKeys;
    float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int b = 0; b < 4; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int32_t key = b * 16 + half * 8 + g;
        float k_scale = 1, log_v = 0;
        v_scale[b][half] = 1;
        if (S::kEightBit && a.dynamic_scales) {
          k_scale = scales[key];
          v_scale[b][half] = scales[kTileKeys + key];
          log_v = fmaxf(__log2f(v_scale[b][half]), -126.0f);
        }
        const bool counts = whole || (key >= first_key && key < context);
        if (!counts) v_scale[b][half] = 0, log_v = 0;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& x = s[b][half * 2 + h];
          x = counts ? x * (score_scale[h] * k_scale) : -INFINITY;
          top[h] = fmaxf(top[h], x + log_v);
        }
      }
    }
    uint32_t p[4][2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int d = 4; d < 32; d *= 2) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], d));
      top[h] = fmaxf(top[h], largest[h]);
      const float shrink = exp2_approx(largest[h] - top[h]);
      largest[h] = top[h];
      sum[h] *= shrink;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) out[i][h] *= shrink, out[i][2 + h] *= shrink;
    }
#pragma unroll
    for (int b = 0; b < 4; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float e0 = exp2_approx(s[b][half * 2] - top[0]), e1 = exp2_approx(s[b][half * 2 + 1] - top[1]);
        sum[0] += e0;
        sum[1] += e1;
        p[b][half] = transpose_matrix(pack<Operand>(e0 * v_scale[b][half], e1 * v_scale[b][half]));
      }
    }
    if (!S::kEightBit && context < kTileKeys) {  // values behind the context may be NaN
      constexpr int kPanels = S::kV / (kTileKeys * 128);
      const int32_t words = (kTileKeys - context) * 8;
      for (int i = lane; i < words * kPanels; i += 32) {
        *reinterpret_cast<uint4*>(stage + S::kV + (i / words * kTileKeys + context) * 128 +
                                  i % words * 16) = {};
      }
      async_proxy_fence();
      __syncwarp();
    }
    weigh(stage, p, context);
  }

  // This warp's share times `scale`: a row every `stride` floats, and (largest, sum) of each.
  __device__ __forceinline__ void store(const DecodeArgs& a, float* rows, int stride, float2* ml,
                                        float scale) const {
    const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = sum[h];
#pragma unroll
      for (int d = 4; d < 32; d *= 2) total += __shfl_xor_sync(~0u, total, d);
      const int row = 2 * c + h;
      if (row >= a.rows) continue;
      if (g == 0) ml[row] = {largest[h], total};
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        if constexpr (S::kEightBit) {
          if (i % 2 == 0) {
            *reinterpret_cast<float4*>(rows + row * stride + i / 2 * 32 + g * 4) = {
                out[i][h] * scale, out[i][2 + h] * scale, out[i + 1][h] * scale, out[i + 1][2 + h] * scale};
          }
        } else {
          rows[row * stride + i * 16 + g] = out[i][h] * scale;
          rows[row * stride + i * 16 + g + 8] = out[i][2 + h] * scale;
        }
      }
    }
  }
};

}  // namespace octet::cuda
