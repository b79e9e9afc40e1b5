// The GPUs of a machine, and whether this backend's kernels run on them.
#pragma once

#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace octet::cuda {

// Errors: kNotFound where there is no driver or no GPU, kUnsupported where the driver is too old for the
// runtime that is linked in, or does not work (device_checks.h).
Result<std::vector<CudaDevice>> list_devices();

// The device of that index, made this thread's own. Errors as make_cuda_ops.
Result<CudaDevice> use_device(int32_t index);

}  // namespace octet::cuda
