// What a product's kernel does with its sums, and writes: scales, zero point, bias, then one of
//
//   d = v              d += v                                  bf16 or f32
//   d = silu(g) * u    of a weight whose rows lie as gated_row() says; bf16, f16, f32, or codes of a given
//   scale
//
// Every kernel rounds alike: nothing here may be contracted.
#pragma once

#include <cstdint>

#include "backend/cuda/device/tma.h"
#include "backend/cuda/kernels/encode.cuh"
#include "backend/cuda/kernels/silu.cuh"

namespace octet::cuda {

__device__ __forceinline__ bool is_codes(QType type) {
  return type == QType::kInt8 || type == QType::kFp8;
}

struct GemmOutput {
  void* d = nullptr;                     // [m, stride] of `type`
  const float* a_scale = nullptr;        // [m], or [1] with a_step 0; null: 1
  const float* w_scale = nullptr;        // [n] or null
  const float* bias = nullptr;           // [n] or null
  const int32_t* zero_point = nullptr;   // as a_scale, or null
  const int32_t* column_sums = nullptr;  // [n], with a zero point
  const float* d_scale = nullptr;        // [1], of codes
  int64_t stride = 0;
  int32_t m = 0, n = 0;  // of the product: gated results have n / 2 columns
  int32_t a_step = 1;
  QType type = QType::kBF16;
  bool add = false, gated = false;
  bool vectors = false;  // rows can be written in 16 bytes (codes: 8) at multiples of 8 columns

  __device__ int32_t columns() const { return gated ? n / 2 : n; }
  __device__ float row_scale(int32_t row) const { return a_scale == nullptr ? 1.0f : a_scale[row * a_step]; }
  __device__ int32_t row_zero(int32_t row) const {
    return zero_point == nullptr ? 0 : zero_point[row * a_step];
  }
  __device__ float column_scale(int32_t column) const { return w_scale == nullptr ? 1.0f : w_scale[column]; }
  // Scales of kCount columns; beyond the last, of none that is written.
  template <int kCount>
  __device__ void column_scales(int32_t column, float (&scales)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) scales[i] = column_scale(min(column + i, n - 1));
  }
  __device__ float inverse() const {
    return d_scale == nullptr ? 1.0f : inverse_scale(d_scale[0]);
  }

  // One result of the product.
  template <class Sum>
  __device__ float value(Sum sum, int32_t column, float scale, int32_t zero, float column_scale) const {
    if constexpr (__is_same(Sum, int32_t)) {
      if (zero != 0) sum -= zero * column_sums[column];
    }
    const float v = __fmul_rn(__fmul_rn(static_cast<float>(sum), scale), column_scale);
    return bias == nullptr ? v : __fadd_rn(v, bias[column]);
  }
  __device__ void store(int32_t row, int32_t column, float v, float inverse) const {
    const int64_t at = row * stride + column;
    if (type == QType::kF32) {
      auto* to = static_cast<float*>(d) + at;
      *to = add ? *to + v : v;
    } else if (type == QType::kBF16) {
      auto* to = static_cast<__nv_bfloat16*>(d) + at;
      const __nv_bfloat16 rounded = __float2bfloat16_rn(v);  // as the vectors' addition has it
      *to = add ? __hadd_rn(*to, rounded) : rounded;
    } else if (type == QType::kF16) {
      static_cast<__half*>(d)[at] = __float2half_rn(v);
    } else {
      const float codes[4] = {v, 0, 0, 0};
      static_cast<uint8_t*>(d)[at] = static_cast<uint8_t>(codes_of(type, codes, inverse));
    }
  }
};

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
// Of either 16-bit type.
__device__ __forceinline__ uint32_t half_pair(QType type, float low, float high) {
  if (type == QType::kBF16) return bf16_pair(low, high);
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Eight values of a row, from a column that is a multiple of 8.
__device__ __forceinline__ void write_eight(const GemmOutput& out, int32_t row, int32_t column, float inverse,
                                            const float (&v)[8]) {
  if (!out.vectors || column + 8 > out.columns()) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (column + i < out.columns()) out.store(row, column + i, v[i], inverse);
    return;
  }
  const int64_t at = row * out.stride + column;
  if (out.type == QType::kF32) {
    auto* d = reinterpret_cast<float4*>(static_cast<float*>(out.d) + at);
    float4 low = make_float4(v[0], v[1], v[2], v[3]), high = make_float4(v[4], v[5], v[6], v[7]);
    if (out.add) {
      const float4 a = d[0], b = d[1];
      low = make_float4(a.x + low.x, a.y + low.y, a.z + low.z, a.w + low.w);
      high = make_float4(b.x + high.x, b.y + high.y, b.z + high.z, b.w + high.w);
    }
    d[0] = low;
    d[1] = high;
  } else if (is_codes(out.type)) {
    *reinterpret_cast<uint2*>(static_cast<uint8_t*>(out.d) + at) =
        make_uint2(codes_of(out.type, v, inverse), codes_of(out.type, v + 4, inverse));
  } else {
    const uint4 pairs = make_uint4(half_pair(out.type, v[0], v[1]), half_pair(out.type, v[2], v[3]),
                                   half_pair(out.type, v[4], v[5]), half_pair(out.type, v[6], v[7]));
    auto* d = static_cast<uint16_t*>(out.d) + at;
    if (out.add) {
      add_bf16(d, pairs);
    } else {
      *reinterpret_cast<uint4*>(d) = pairs;
    }
  }
}

}  // namespace octet::cuda
