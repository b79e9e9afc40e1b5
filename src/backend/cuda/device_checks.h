// Whether this backend can use a driver and its GPUs, from what they say of themselves. No call of CUDA's:
// part of the program as of liboctet_cuda.so, so that it is tested where there is no GPU.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace octet::cuda {

// Versions as CUDA counts them: 13000 is 13.0.
struct DriverFacts {
  int32_t driver = 0;   // the newest CUDA that the driver supports; 0: there is no driver
  int32_t runtime = 0;  // that this backend was built with
  int32_t n_devices = 0;
  std::string error;  // what the driver says where it cannot count its devices; empty: it can
};

// Errors: kNotFound where there is no driver or no GPU, kUnsupported where the driver is too old or does not
// work.
Status check_driver(const DriverFacts& facts);

// Whether --device can be that index. Errors: kInvalidArgument.
Status check_device_index(int32_t index, int32_t n_devices);

// Why the kernels do not run on a GPU of this compute capability; empty: they do.
std::string capability_problem(int32_t major, int32_t minor);

}  // namespace octet::cuda
