// The GPUs of a machine, and whether this backend's kernels run on them.
#pragma once

#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace octet::cuda {

// Errors: kUnsupported where there is no driver, or one too old for the runtime that is linked in.
Result<std::vector<CudaDevice>> list_devices();

}  // namespace octet::cuda
