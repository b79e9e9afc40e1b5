// d = (a . w^T) * scales + bias for every scheme and shape: the path of what the tensor core kernels do not
// take. Sums of int8 codes are exact; others are float sums in the order of k, so a row's bits depend on that
// row alone.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// A weight in device memory.
struct DeviceWeight {
  QuantArgs args;
  int64_t n = 0, k = 0;
  const uint8_t* codes = nullptr;  // [n, row_bytes], rows of code_bytes(k) and zeros behind
  int64_t row_bytes = 0;           // a multiple of 16
  const float* scale = nullptr;    // [n], [n, groups] kGroup, null for 16 and 32 bit
  const float* bias = nullptr;     // [n] or null
};

// d: f32 or bf16. `add`: to what is there.
void generic_linear(const QView& a, const DeviceWeight& w, const View& d, bool add, cudaStream_t stream);

}  // namespace octet::cuda
