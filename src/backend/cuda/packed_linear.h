// A linear layer's weight on the device, and which kernel multiplies by it.
#pragma once

#include <vector>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/linear.h"

namespace octet::cuda {

// Steps of more tokens have the plan of these.
inline constexpr int64_t kMostPlannedTokens = 16384;

class CudaLinear final : public PackedLinear {
 public:
  // batch_invariant: a row's bits depend on that row alone, whatever its scheme.
  explicit CudaLinear(bool batch_invariant) : batch_invariant_(batch_invariant) {}
  // Copies the weight, or quantizes its values on the device.
  Status load(const LinearWeights& weights, Ops& ops, Uploader& uploader, cudaStream_t stream);
  void multiply(const QView& a, const View& d, cudaStream_t stream) const;

 private:
  Status load_codes(const LinearWeights& weights, uint8_t* codes, Uploader& uploader, cudaStream_t stream);
  Status load_values(const LinearWeights& weights, Ops& ops, uint8_t* codes, float* scale, Uploader& uploader,
                     cudaStream_t stream);

  Status describe(int32_t* sums, cudaStream_t stream);

  bool batch_invariant_;
  Buffer memory_;
  DeviceWeight weight_;
  GemmWeights gemm_;             // the same for the tensor cores; no data where they cannot take it
  std::vector<GemmPlan> plans_;  // by number of tokens: gemm_buckets(kMostPlannedTokens)
};

}  // namespace octet::cuda
