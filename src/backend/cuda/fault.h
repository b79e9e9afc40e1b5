// The first thing that went wrong on the device. CUDA's errors of kernels are for good: every later call
// fails too, so one message is kept, and ops go on without looking.
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include "base/status.h"

namespace octet::cuda {

class Fault {
 public:
  void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess || !ok()) return;
    message_ = std::string("cuda: ") + what + ": " + cudaGetErrorString(error) + " (" +
               cudaGetErrorName(error) + "); the device cannot be used any more, start the program again";
  }
  bool ok() const { return message_.empty(); }
  Status status() const { return ok() ? Status() : internal_error(message_); }

 private:
  std::string message_;
};

}  // namespace octet::cuda
