// The program's side of the CUDA backend. The backend itself is a shared object, liboctet_cuda.so, loaded
// when it is asked for: the program links no CUDA and runs where there is none.
//
// The library is what $OCTET_CUDA_LIBRARY names, else liboctet_cuda.so beside the program or in ../lib of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/ops.h"
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

// The GPUs that the driver shows. Errors: kNotFound where there is no library, no driver or no GPU,
// kUnsupported where the library is of another build or the driver too old.
Result<std::vector<CudaDevice>> cuda_devices();

struct CudaOptions {
  int32_t device = 0;
  bool batch_invariant =
      false;           // the result for a row does not depend on the rows beside it, in every scheme
  bool replay = true;  // record steps of decodes and replay them
  // Kernels of linear layers: "off" takes the built-in plans; "auto" times each shape once, when a weight is
  // loaded, and keeps what it found in the user's cache; else the file to keep it in.
  std::string kernel_plans = "off";
  std::function<void(const std::string&)> info, warning;  // of the plans; the program's log
};

// Errors: those of cuda_devices, kInvalidArgument for a device that does not exist, kUnsupported for one that
// the kernels are not made for, kResourceExhausted where it has no memory left for a context.
Result<std::unique_ptr<Ops>> make_cuda_ops(const CudaOptions& options);

}  // namespace octet
