// The stopwatch of Ops::mark: one event a mark, made when it is first needed and used again afterwards.
#pragma once

#include <vector>

#include <cuda_runtime_api.h>

namespace octet::cuda {

class Marks {
 public:
  Marks() = default;
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;
  ~Marks() {
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
  }

  cudaError_t mark(cudaStream_t stream) {
    if (n_set_ == events_.size()) {
      cudaEvent_t event = nullptr;
      if (const cudaError_t error = cudaEventCreate(&event); error != cudaSuccess) return error;
      events_.push_back(event);
    }
    return cudaEventRecord(events_[n_set_++], stream);
  }

  // Waits for the last one. Seconds of each since the first.
  cudaError_t take(std::vector<double>& seconds) {
    const size_t n = n_set_;
    n_set_ = 0;
    if (n == 0) return cudaSuccess;
    if (const cudaError_t error = cudaEventSynchronize(events_[n - 1]); error != cudaSuccess) return error;
    // Differences of neighbours: the API's float milliseconds would lose digits over a long time.
    seconds.assign(1, 0);
    for (size_t i = 1; i < n; ++i) {
      float milliseconds = 0;
      if (const cudaError_t error = cudaEventElapsedTime(&milliseconds, events_[i - 1], events_[i]);
          error != cudaSuccess)
        return error;
      seconds.push_back(seconds.back() + 1e-3 * static_cast<double>(milliseconds));
    }
    return cudaSuccess;
  }

 private:
  std::vector<cudaEvent_t> events_;
  size_t n_set_ = 0;
};

}  // namespace octet::cuda
