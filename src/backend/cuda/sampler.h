// Sampling as the backend's callers see it: requests go to the device in pinned memory, results come back the
// same way and reach the caller's memory when it waits for a fence behind them.
#pragma once

#include <deque>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/fault.h"
#include "backend/cuda/kernels/sample.h"

namespace octet::cuda {

class Sampler {
 public:
  static size_t device_bytes(const OpsLimits& limits);

  // `memory` has device_bytes(limits) bytes and outlives this.
  Sampler(const OpsLimits& limits, std::byte* memory, cudaStream_t stream, Fault& fault);

  void sample(const View& logits, const SamplingBatch& batch, SampledToken* out);
  // Calls of sample so far.
  uint64_t n_calls() const { return n_calls_; }
  // Copies to the callers what the first `n_calls` calls sampled; the stream has passed them.
  void deliver(uint64_t n_calls);
  // The tokens of the last call, on the device.
  const int32_t* tokens() const { return tokens_; }

 private:
  static constexpr int kOpenCalls = 4;  // more than there are fences
  struct Call {
    SampledToken* out = nullptr;
    int32_t n = 0;
  };
  void launch(const View& logits, const SamplingBatch& batch, int32_t first, int32_t n);
  SampledToken* results(uint64_t call) const {
    return results_.as<SampledToken>() + call % kOpenCalls * max_rows_;
  }

  cudaStream_t stream_;
  Fault& fault_;
  size_t max_rows_, max_entries_;
  PinnedRing<3> inputs_;
  PinnedMemory results_;  // [kOpenCalls, max_rows]
  Event events_[kOpenCalls];
  Call calls_[kOpenCalls];
  uint64_t n_calls_ = 0, n_delivered_ = 0;
  // Device memory.
  std::byte* staged_;      // as inputs_
  float* saved_;           // [max_entries]
  SampledToken* sampled_;  // [max_rows]
  int32_t* tokens_;        // [max_rows]
};

}  // namespace octet::cuda
