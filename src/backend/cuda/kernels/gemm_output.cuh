// What a product's kernel does with its sums, and writes: scales, zero point, bias, rounding.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace octet::cuda {

struct GemmOutput {
  void* d = nullptr;                     // [m, stride] bf16 or f32
  const float* a_scale = nullptr;        // [m], or [1] with a_step 0; null: 1
  const float* w_scale = nullptr;        // [n] or null
  const float* bias = nullptr;           // [n] or null
  const int32_t* zero_point = nullptr;   // as a_scale, or null
  const int32_t* column_sums = nullptr;  // [n], with a zero point
  int64_t stride = 0;
  int32_t m = 0, n = 0;
  int32_t a_step = 1;
  bool f32 = false;
  bool vectors = false;  // rows and scales can be read and written in 16 bytes at multiples of 8 columns

  __device__ float row_scale(int32_t row) const { return a_scale == nullptr ? 1.0f : a_scale[row * a_step]; }
  __device__ int32_t row_zero(int32_t row) const {
    return zero_point == nullptr ? 0 : zero_point[row * a_step];
  }
  // One result.
  template <class Sum>
  __device__ float value(Sum sum, int32_t column, float scale, int32_t zero) const {
    if constexpr (__is_same(Sum, int32_t)) {
      if (zero != 0) sum -= zero * column_sums[column];
    }
    // Not contracted: every kernel rounds alike.
    float v = __fmul_rn(static_cast<float>(sum), scale);
    if (w_scale != nullptr) v = __fmul_rn(v, w_scale[column]);
    if (bias != nullptr) v = __fadd_rn(v, bias[column]);
    return v;
  }
  __device__ void store(int32_t row, int32_t column, float v) const {
    if (f32) {
      static_cast<float*>(d)[row * stride + column] = v;
    } else {
      static_cast<__nv_bfloat16*>(d)[row * stride + column] = __float2bfloat16_rn(v);
    }
  }
};

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Eight results of a row, from a column that is a multiple of 8.
template <class Sum>
__device__ __forceinline__ void write_eight(const GemmOutput& out, int32_t row, int32_t column,
                                            const Sum (&sums)[8]) {
  const float scale = out.row_scale(row);
  const int32_t zero = out.row_zero(row);
  float v[8];
  if (!out.vectors || column + 8 > out.n) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (column + i < out.n) out.store(row, column + i, out.value(sums[i], column + i, scale, zero));
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = out.value(sums[i], column + i, scale, zero);
  if (out.f32) {
    auto* d = reinterpret_cast<float4*>(static_cast<float*>(out.d) + row * out.stride + column);
    d[0] = make_float4(v[0], v[1], v[2], v[3]);
    d[1] = make_float4(v[4], v[5], v[6], v[7]);
  } else {
    auto* d = reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(out.d) + row * out.stride + column);
    *d = make_uint4(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]),
                    bf16_pair(v[6], v[7]));
  }
}

}  // namespace octet::cuda
