// Linear layers: d[m, n] = (sum over k of a[m, k] w[n, k]) * a_scale[m] * w_scale[n] + bias[n].
//
//   GemmPlans plans(policy);                        // at start: tuned, or read from a cache file
//   gemm(a, w, d, plans.find(...), stream);         // in a step: one launch, no allocation
//
// Operands are of one type: fp8 (e4m3), int8 (sums exact in s32), bf16 or f16. What the fast kernels cannot
// do (k of odd bytes, rows not aligned, operands of two types) is done by a plain one, for which find() and
// gemm() fall back by themselves. Launches are dependent (device/pdl.h): they read weights before the kernel
// before them ends, so weights must not be written by the stream's kernels while steps run.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels/gemm_plan.h"
#include "tensor/view.h"

namespace octet::cuda {

// TMA's description of a matrix: CUtensorMap, without its header.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

// A weight in device memory. Made by make_gemm_weights, which describes it to TMA once.
struct GemmWeights {
  QType type = QType::kBF16;
  int64_t n = 0, k = 0, stride = 0;      // stride in elements: gemm_stride(type, k) for the fast kernels
  const void* data = nullptr;            // [n, stride], 16-byte aligned
  const float* scale = nullptr;          // [n], null for 16 bit
  const float* bias = nullptr;           // [n] or null
  const int32_t* column_sums = nullptr;  // [n] sum of a row's codes: int8 whose inputs have a zero point
  TensorMap map_64{}, map_128{};         // boxes of 64 and of 128 rows
  bool aligned = false;                  // the maps are there
};

// Errors: kUnsupported where the driver cannot describe tensors to TMA.
Result<GemmWeights> make_gemm_weights(QType type, int64_t n, int64_t k, int64_t stride, const void* data,
                                      const float* scale, const float* bias, const int32_t* column_sums);

// sums[i] = sum over k of codes[i, k]; codes int8 [n, stride] in device memory.
void column_sums(const int8_t* codes, int64_t n, int64_t k, int64_t stride, int32_t* sums,
                 cudaStream_t stream);

// Takes the kernels' shared memory from the driver; once a device, before the first product.
Status prepare_gemm();

// d f32 or bf16 [a.rows, w.n]. a.type must be w.type for the fast kernels; the plain one also multiplies
// 16-bit or f32 inputs by 8-bit weights. a.outliers, where there, are added by a second launch: d += outliers
// . w^T * w_scale.
void gemm(const QView& a, const GemmWeights& w, const View& d, const GemmPlan& plan, cudaStream_t stream);

}  // namespace octet::cuda
