#include "backend/cuda/abi.h"
#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/devices.h"
#include "backend/cuda/plugin.h"

namespace {

constexpr octet::CudaPlugin kPlugin{octet::kCudaAbi, octet::cuda::list_devices, octet::cuda::make_ops};

}  // namespace

extern "C" __attribute__((visibility("default"))) const octet::CudaPlugin* octet_cuda_plugin() {
  return &kPlugin;
}
