// Rows of floats into their consumer's form: the rounding and the scales of backend/quant_rows.h, bit for
// bit.
#pragma once

#include <cfloat>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backend/ops.h"

namespace octet::cuda {

__device__ __forceinline__ float inverse_scale(float scale) {
  return fminf(__frcp_rn(scale), FLT_MAX);
}
// Of a row whose absolute maximum (of what is not kept apart) is `absmax`; limit 0: none.
__device__ __forceinline__ float dynamic_scale(QType type, float absmax, float limit = 0) {
  if (limit > 0) absmax = fminf(absmax, limit);
  if (!(absmax > 0)) return 1.0f;
  return __fdiv_rn(absmax, type == QType::kInt8 ? 127.0f : 448.0f);
}
// A dynamic scale never gives a code of -128, a static one may.
__device__ __forceinline__ uint32_t int8_code(float x, float inv_scale) {
  return static_cast<uint32_t>(__float2int_rn(fminf(fmaxf(x * inv_scale, -128.0f), 127.0f))) & 0xffu;
}
__device__ __forceinline__ uint32_t int8_code(float x, float inv_scale, int32_t zero_point) {
  const float q = rintf(x * inv_scale) + static_cast<float>(zero_point);
  return static_cast<uint32_t>(static_cast<int32_t>(fminf(fmaxf(q, -128.0f), 127.0f))) & 0xffu;
}
__device__ __forceinline__ uint32_t e4m3_code(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}
// Four codes of a symmetric 8-bit type, the first in the lowest byte.
__device__ __forceinline__ uint32_t codes_of(QType type, const float* x, float inv_scale) {
  uint32_t r = 0;
  if (type == QType::kInt8) {
#pragma unroll
    for (int i = 0; i < 4; ++i) r |= int8_code(x[i], inv_scale) << (8 * i);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const float2 pair{x[i] * inv_scale, x[i + 1] * inv_scale};
      r |= static_cast<uint32_t>(__nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3)) << (8 * i);
    }
  }
  return r;
}

// Two of them.
__device__ __forceinline__ uint32_t code_pair(QType type, float low, float high, float inv_scale) {
  if (type == QType::kInt8) return int8_code(low, inv_scale) | int8_code(high, inv_scale) << 8;
  const float2 pair{low * inv_scale, high * inv_scale};
  return static_cast<uint32_t>(__nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3));
}

// A QView as a kernel's argument.
struct RowEncoder {
  uint8_t* data = nullptr;
  int64_t stride = 0;  // elements
  QType type = QType::kBF16;
  bool quantized = false, dynamic = false, symmetric = true;
  bool by_fours = false;  // groups of four columns are aligned: written at once
  float* scale = nullptr;
  const int32_t* zero_point = nullptr;
  float absmax_limit = 0, outlier = 0;  // as in QuantArgs
  uint16_t* outliers = nullptr;
  int32_t* outlier_count = nullptr;
  bool by_eights = false;

  RowEncoder() = default;
  explicit RowEncoder(const QView& v)
      : data(static_cast<uint8_t*>(v.data)),
        stride(v.stride),
        type(v.args.type),
        quantized(v.args.quantized()),
        dynamic(v.args.dynamic),
        symmetric(v.args.symmetric),
        by_fours(v.stride % 4 == 0 && reinterpret_cast<uintptr_t>(v.data) % 16 == 0),
        scale(v.scale),
        zero_point(v.zero_point),
        absmax_limit(v.args.absmax_limit),
        outlier(v.args.outlier),
        outliers(v.outliers),
        outlier_count(v.outlier_count),
        by_eights(v.stride % 8 == 0 && reinterpret_cast<uintptr_t>(v.data) % 16 == 0 &&
                  reinterpret_cast<uintptr_t>(v.outliers) % 16 == 0) {}

  // What of x counts for a row's absolute maximum: nothing where it is kept apart.
  __device__ float magnitude(float x) const {
    const float m = fabsf(x);
    return outlier > 0 && m >= outlier ? 0.0f : m;
  }

  // 1 / scale of a row: of the given scale, or of the one that this row's absolute maximum asks for, which
  // the thread with `store` writes.
  __device__ float row_inverse(int64_t row, float absmax, bool store) const {
    if (!quantized) return 1.0f;
    if (!dynamic) return inverse_scale(scale[0]);
    const float s = dynamic_scale(type, absmax, absmax_limit);
    if (store) scale[row] = s;
    return inverse_scale(s);
  }

  // x to columns [col, col + n), n <= 4.
  __device__ void put(int64_t row, int32_t col, const float (&x)[4], int32_t n, float inv_scale) const {
    const int64_t at = row * stride + col;
    if (by_fours && n == 4 && col % 4 == 0) {
      if (type == QType::kF32) {
        *reinterpret_cast<float4*>(data + at * 4) = {x[0], x[1], x[2], x[3]};
      } else if (type == QType::kBF16) {
        const __nv_bfloat162 v[2] = {__floats2bfloat162_rn(x[0], x[1]), __floats2bfloat162_rn(x[2], x[3])};
        *reinterpret_cast<uint2*>(data + at * 2) = *reinterpret_cast<const uint2*>(v);
      } else if (type == QType::kF16) {
        const __half2 v[2] = {__floats2half2_rn(x[0], x[1]), __floats2half2_rn(x[2], x[3])};
        *reinterpret_cast<uint2*>(data + at * 2) = *reinterpret_cast<const uint2*>(v);
      } else if (symmetric) {
        *reinterpret_cast<uint32_t*>(data + at) = codes_of(type, x, inv_scale);
      } else {
        uint32_t codes = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) codes |= int8_code(x[i], inv_scale, zero_point[0]) << (8 * i);
        *reinterpret_cast<uint32_t*>(data + at) = codes;
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < n) put_one(at + i, x[i], inv_scale);
    }
  }

  // x to columns [col, col + 8); how many of them are outliers, which go beside the codes.
  __device__ int32_t put8(int64_t row, int64_t col, float (&x)[8], float inv_scale) const {
    const int64_t at = row * stride + col;
    int32_t n = 0;
    if (!by_eights) {
#pragma unroll
      for (int i = 0; i < 8; ++i) n += put1(row, col + i, x[i], inv_scale);
      return n;
    }
    if (outlier > 0) {
      __nv_bfloat16 kept[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const bool is_kept = fabsf(x[i]) >= outlier;
        kept[i] = __float2bfloat16_rn(is_kept ? x[i] : 0.0f);
        x[i] = is_kept ? 0.0f : x[i];
        n += is_kept;
      }
      *reinterpret_cast<uint4*>(outliers + at) = *reinterpret_cast<const uint4*>(kept);
    }
    if (type == QType::kF32) {
      float4* to = reinterpret_cast<float4*>(data + at * 4);
      to[0] = {x[0], x[1], x[2], x[3]};
      to[1] = {x[4], x[5], x[6], x[7]};
    } else if (type == QType::kBF16) {
      __nv_bfloat162 v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
      *reinterpret_cast<uint4*>(data + at * 2) = *reinterpret_cast<const uint4*>(v);
    } else if (type == QType::kF16) {
      __half2 v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
      *reinterpret_cast<uint4*>(data + at * 2) = *reinterpret_cast<const uint4*>(v);
    } else if (symmetric) {
      *reinterpret_cast<uint2*>(data + at) = {codes_of(type, x, inv_scale), codes_of(type, x + 4, inv_scale)};
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) put_one(at + i, x[i], inv_scale);
    }
    return n;
  }
  // The same for one column.
  __device__ int32_t put1(int64_t row, int64_t col, float x, float inv_scale) const {
    const int64_t at = row * stride + col;
    const bool is_kept = outlier > 0 && fabsf(x) >= outlier;
    if (outlier > 0) outliers[at] = __bfloat16_as_ushort(__float2bfloat16_rn(is_kept ? x : 0.0f));
    put_one(at, is_kept ? 0.0f : x, inv_scale);
    return is_kept;
  }

  __device__ void put_one(int64_t at, float x, float inv_scale) const {
    switch (type) {
      case QType::kF32:
        reinterpret_cast<float*>(data)[at] = x;
        break;
      case QType::kBF16:
        reinterpret_cast<__nv_bfloat16*>(data)[at] = __float2bfloat16_rn(x);
        break;
      case QType::kF16:
        reinterpret_cast<__half*>(data)[at] = __float2half_rn(x);
        break;
      case QType::kInt8:
        data[at] = static_cast<uint8_t>(symmetric ? int8_code(x, inv_scale)
                                                  : int8_code(x, inv_scale, zero_point[0]));
        break;
      case QType::kFp8:
        data[at] = static_cast<uint8_t>(e4m3_code(x * inv_scale));
        break;
      case QType::kInt4:
        break;  // a form of weights alone
    }
  }
};

}  // namespace octet::cuda
