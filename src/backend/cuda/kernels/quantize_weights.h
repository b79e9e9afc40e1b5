// Weights into their codes on the device, with the bits of tensor/quantize_rows.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// Whether quantize_weights can: 16 bit, or 8 bit with one scale a channel.
bool can_quantize_weights(const QuantArgs& args);

// values [rows, k] of `type` (f32, f16 or bf16) without gaps -> codes, rows row_bytes apart, and scale [rows]
// of 8-bit types.
void quantize_weights(const void* values, DType type, int64_t rows, int64_t k, const QuantArgs& args,
                      uint8_t* codes, int64_t row_bytes, float* scale, cudaStream_t stream);

}  // namespace octet::cuda
