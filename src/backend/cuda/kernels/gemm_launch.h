// From a plan to a kernel of one operand type; a file a type, so that they compile side by side.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels/gemm_plan.h"

namespace octet::cuda {

// The kernel of a plan, or null where this type has none. `gated`: see GemmOutput; the other kernel does
// either.
template <class Type>
const void* stream_entry(const GemmPlan& plan);
template <class Type>
const void* tile_entry(const GemmPlan& plan, bool gated);

}  // namespace octet::cuda
