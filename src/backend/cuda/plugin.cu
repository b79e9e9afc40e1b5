#include "backend/cuda/abi.h"
#include "backend/cuda/devices.h"
#include "backend/cuda/plugin.h"

namespace {

constexpr octet::CudaPlugin kPlugin{octet::kCudaAbi, octet::cuda::list_devices};

}  // namespace

extern "C" __attribute__((visibility("default"))) const octet::CudaPlugin* octet_cuda_plugin() {
  return &kPlugin;
}
