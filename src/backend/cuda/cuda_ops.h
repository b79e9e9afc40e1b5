// The CUDA backend: the contract of backend/ops.h on one Hopper GPU. This file and its source hold memory,
// the stream and the dispatch; what computes is in kernels/.
#pragma once

#include <memory>

#include "backend/cuda/cuda_backend.h"
#include "backend/ops.h"

namespace octet::cuda {

Result<std::unique_ptr<Ops>> make_ops(const CudaOptions& options);

}  // namespace octet::cuda
