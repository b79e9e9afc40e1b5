// A block takes a row: once for its absolute maximum, once more (from the cache) for the codes. Bound by the
// transfer of the values to the device, which runs beside it.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backend/cuda/device/reduce.cuh"
#include "backend/cuda/kernels/encode.cuh"
#include "backend/cuda/kernels/quantize_weights.h"

namespace octet::cuda {
namespace {

// absmax over the largest code, rounded up to a bfloat16 value; 1 for rows that are all zero, or so small
// that the quotient is.
__device__ float weight_scale(float absmax, QType type) {
  const float scale = dynamic_scale(type, absmax);
  const float rounded = __uint_as_float((__float_as_uint(scale) + 0xffffu) & 0xffff0000u);
  return rounded == 0 ? 1.0f : rounded;
}

template <class T>
__global__ void quantize_rows(const T* values, int64_t k, QType type, uint8_t* codes, int64_t row_bytes,
                              float* scale) {
  __shared__ float scratch[32];
  const T* row = values + blockIdx.x * k;
  uint8_t* out = codes + blockIdx.x * row_bytes;
  if (type == QType::kBF16 || type == QType::kF16) {
    for (int64_t i = threadIdx.x; i < k; i += blockDim.x) {
      const auto v = static_cast<float>(row[i]);
      reinterpret_cast<uint16_t*>(out)[i] = type == QType::kBF16
                                                ? __bfloat16_as_ushort(__float2bfloat16_rn(v))
                                                : __half_as_ushort(__float2half_rn(v));
    }
    return;
  }
  float absmax = 0;
  for (int64_t i = threadIdx.x; i < k; i += blockDim.x)
    absmax = fmaxf(absmax, fabsf(static_cast<float>(row[i])));
  absmax = block_reduce<Max>(absmax, scratch, 0.0f);
  const float s = weight_scale(absmax, type), inverse = inverse_scale(s);
  if (threadIdx.x == 0) scale[blockIdx.x] = s;
  for (int64_t i = threadIdx.x; i < k; i += blockDim.x) {
    const auto v = static_cast<float>(row[i]);
    out[i] = static_cast<uint8_t>(type == QType::kInt8 ? int8_code(v, inverse) : e4m3_code(v * inverse));
  }
}

}  // namespace

bool can_quantize_weights(const QuantArgs& args) {
  if (args.type == QType::kBF16 || args.type == QType::kF16) return true;
  return (args.type == QType::kInt8 || args.type == QType::kFp8) && args.scale == QScale::kChannel &&
         args.symmetric;
}

void quantize_weights(const void* values, DType type, int64_t rows, int64_t k, const QuantArgs& args,
                      uint8_t* codes, int64_t row_bytes, float* scale, cudaStream_t stream) {
  if (rows == 0) return;
  const dim3 grid(static_cast<unsigned>(rows)), block(256);
  const auto run = [&](auto* source) {
    quantize_rows<<<grid, block, 0, stream>>>(source, k, args.type, codes, row_bytes, scale);
  };
  switch (type) {
    case DType::kF32:
      return run(static_cast<const float*>(values));
    case DType::kF16:
      return run(static_cast<const __half*>(values));
    case DType::kBF16:
      return run(static_cast<const __nv_bfloat16*>(values));
    default:
      OCTET_CHECK(false) << "values of type " << dtype_name(type);
  }
}

}  // namespace octet::cuda
