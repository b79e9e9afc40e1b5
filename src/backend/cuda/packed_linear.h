// A linear layer's weight on the device, and which kernel multiplies by it.
#pragma once

#include <memory>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_planner.h"
#include "backend/cuda/kernels/linear.h"

namespace octet::cuda {

class CudaLinear final : public PackedLinear {
 public:
  // Copies the weight, or quantizes its values on the device.
  Status load(const LinearWeights& weights, Ops& ops, Uploader& uploader, GemmPlanner& planner,
              cudaStream_t stream);
  // d = the product, or d += the product.
  void multiply(const QView& a, const View& d, bool add, cudaStream_t stream) const;
  // out = quant(silu(gate) * up) of a weight that was loaded as `gated`; scratch: bf16 [a.rows, n].
  void multiply_gated(const QView& a, const View& scratch, const QView& out, cudaStream_t stream) const;

 private:
  Status load_codes(const LinearWeights& weights, uint8_t* codes, Uploader& uploader, cudaStream_t stream);
  Status load_values(const LinearWeights& weights, Ops& ops, uint8_t* codes, float* scale, Uploader& uploader,
                     cudaStream_t stream);

  // The product by the tensor cores, or two for parts of the tokens.
  void run(const QView& a, const GemmResults& d, cudaStream_t stream) const;
  Status describe(int32_t* sums, GemmPlanner& planner, cudaStream_t stream);

  Buffer memory_;
  DeviceWeight weight_;
  GemmWeights gemm_;  // the same for the tensor cores; no data where they cannot take it
  std::shared_ptr<const ShapePlans> plans_;
};

}  // namespace octet::cuda
