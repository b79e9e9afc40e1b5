// The ops that work on rows of activations, one block a row: embed, norm, quantize, silu_mul, gather_rows
// of backend/ops.h. Inputs are bf16 (quantize also takes f32); results are in whatever form their consumer
// wants.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// sampled [rows of the step before]: the tokens that ids below 0 stand for (batch.h, from_row).
void embed(const BatchView& batch, const int32_t* sampled, const View& table, const View& x,
           cudaStream_t stream);
void norm(const View& x, const float* gamma, float eps, const QView& out, cudaStream_t stream);
void quantize(const View& x, const QView& out, cudaStream_t stream);
void silu_mul(const View& gate_up, const QView& out, cudaStream_t stream);
void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out, cudaStream_t stream);

}  // namespace octet::cuda
