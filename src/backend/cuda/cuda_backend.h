// The program's side of the CUDA backend. The backend itself is a shared object, liboctet_cuda.so, loaded
// when it is asked for: the program links no CUDA and runs where there is none.
//
// The library is what $OCTET_CUDA_LIBRARY names, else liboctet_cuda.so beside the program or in ../lib of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

struct CudaDevice {
  int32_t index = 0;
  std::string name;              // "NVIDIA H100 80GB HBM3"
  int32_t major = 0, minor = 0;  // compute capability
  int32_t multiprocessors = 0;
  int64_t memory_total = 0, memory_free = 0;
  std::string problem;  // why it cannot be used; empty: it can
};

// The GPUs that the driver shows. Errors: kNotFound where the library is not there, kUnsupported where it is
// of another build, or the driver is missing or too old.
Result<std::vector<CudaDevice>> cuda_devices();

}  // namespace octet
