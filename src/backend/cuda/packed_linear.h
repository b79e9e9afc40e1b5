// A linear layer's weight on the device, and which kernel multiplies by it.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels/linear.h"

namespace octet::cuda {

class CudaLinear final : public PackedLinear {
 public:
  // Copies the weight, or quantizes its values on the device.
  Status load(const LinearWeights& weights, Ops& ops, Uploader& uploader, cudaStream_t stream);
  void multiply(const QView& a, const View& d, cudaStream_t stream) const;

 private:
  Status load_codes(const LinearWeights& weights, uint8_t* codes, Uploader& uploader, cudaStream_t stream);
  Status load_values(const LinearWeights& weights, Ops& ops, uint8_t* codes, float* scale, Uploader& uploader,
                     cudaStream_t stream);

  Buffer memory_;
  DeviceWeight weight_;
};

}  // namespace octet::cuda
