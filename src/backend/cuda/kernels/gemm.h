// Linear layers: d[m, n] = (sum over k of a[m, k] w[n, k]) * a_scale[m] * w_scale[n] + bias[n], added to what
// is there where that is asked for; or SiLU of one half of these times the other half.
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
  // Rows (of data, scale, bias and sums) lie as interleave_gated has them, n a multiple of 16: d[m, n / 2] is
  // silu of the first n / 2 results times the others.
  bool gated = false;
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

// to[16 i + j] = from[8 i + j], to[16 i + 8 + j] = from[n / 2 + 8 i + j] for j < 8: [n, row_bytes] in device
// memory, row_bytes a multiple of 4.
void interleave_gated(const void* from, void* to, int64_t n, int64_t row_bytes, cudaStream_t stream);

// Where results go: bf16 or f32 [m, n]; gated [m, n / 2], f16 and symmetric 8-bit codes of one given scale
// too.
struct GemmResults {
  void* data = nullptr;
  QType type = QType::kBF16;
  int64_t stride = 0;            // elements
  const float* scale = nullptr;  // [1], of codes
  bool add = false;              // to the bf16 or f32 values there; not of gated weights

  GemmResults() = default;
  explicit GemmResults(const View& v, bool add_to = false)
      : data(v.data),
        type(v.type == DType::kF32 ? QType::kF32 : QType::kBF16),
        stride(v.stride),
        add(add_to) {}
  // The rows from `first` on.
  GemmResults tail(int64_t first) const {
    GemmResults d = *this;
    d.data = static_cast<char*>(data) + first * stride * static_cast<int64_t>(qtype_bytes(type));
    return d;
  }
};

// Whether gemm() takes this product.
bool gemm_takes(const QView& a, const GemmWeights& w);
void gemm(const QView& a, const GemmWeights& w, const GemmResults& d, const GemmPlan& plan,
          cudaStream_t stream);

}  // namespace octet::cuda
