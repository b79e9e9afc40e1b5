// Linear layers: d[m, n] = (sum over k of a[m, k] w[n, k]) * a_scale[m] * w_scale[n] + bias[n].
//
// Operands are of one type: e4m3, int8 (sums exact in s32), bf16 or f16. What these kernels cannot take (rows
// that do not begin at multiples of 16 bytes, operands of two types, outliers beside the codes) is for
// others. A launch is dependent (device/pdl.h) and reads weights before the kernel before it has ended: no
// kernel of the stream may write them while steps run.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels/gemm_plan.h"
#include "tensor/view.h"

namespace octet::cuda {

// TMA's description of a matrix: CUtensorMap, without its header.
struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

// A weight in device memory.
struct GemmWeights {
  QType type = QType::kBF16;
  int64_t n = 0, k = 0;
  const void* data = nullptr;            // [n, row_bytes]
  int64_t row_bytes = 0;                 // a multiple of 16
  const float* scale = nullptr;          // [n], null for 16 bit
  const float* bias = nullptr;           // [n] or null
  const int32_t* column_sums = nullptr;  // [n] sum of a row's codes: int8 whose inputs have a zero point
  TensorMap map_64{}, map_96{}, map_112{},
      map_128{};  // boxes of so many rows by 128 bytes: describe_gemm_weights
};

// Once a device, before the first product. Errors: kUnsupported where the driver cannot describe tensors to
// TMA.
Status prepare_gemm();
// Fills in the maps. Errors: kInternal, which would be a mistake of ours.
Status describe_gemm_weights(GemmWeights& w);
// sums[i] = sum over k of codes[i, k]; codes int8 [n, row_bytes] in device memory.
void column_sums(const int8_t* codes, int64_t n, int64_t k, int64_t row_bytes, int32_t* sums,
                 cudaStream_t stream);

// Whether gemm() takes this product.
bool gemm_takes(const QView& a, const GemmWeights& w);
// d f32 or bf16 [a.rows, w.n].
void gemm(const QView& a, const GemmWeights& w, const View& d, const GemmPlan& plan, cudaStream_t stream);

}  // namespace octet::cuda
