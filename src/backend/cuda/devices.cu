#include <cuda_runtime_api.h>

#include "backend/cuda/device_checks.h"
#include "backend/cuda/devices.h"

namespace octet::cuda {
namespace {

// How many devices there are: one at least.
Result<int32_t> count_devices() {
  DriverFacts facts{.runtime = CUDART_VERSION};
  cudaDriverGetVersion(&facts.driver);
  if (const cudaError_t error = cudaGetDeviceCount(&facts.n_devices); error != cudaSuccess) {
    cudaGetLastError();
    facts.n_devices = 0;
    if (error != cudaErrorNoDevice) facts.error = cudaGetErrorString(error);
  }
  OCTET_RETURN_IF_ERROR(check_driver(facts));
  return facts.n_devices;
}

CudaDevice describe(int index) {
  CudaDevice device;
  device.index = index;
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    device.name = "device " + std::to_string(index);
    device.problem = std::string("the driver cannot describe it: ") + cudaGetErrorString(error);
    return device;
  }
  device.name = properties.name;
  device.major = properties.major;
  device.minor = properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.memory_total = static_cast<int64_t>(properties.totalGlobalMem);
  device.problem = capability_problem(properties.major, properties.minor);
  return device;
}

// Makes the device's context, which is what can fail on a GPU that others use.
void probe_memory(CudaDevice& device) {
  size_t free_bytes = 0, total_bytes = 0;
  cudaError_t error = cudaSetDevice(device.index);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (error != cudaSuccess) {
    cudaGetLastError();
    device.problem = std::string("cannot be used now: ") + cudaGetErrorString(error);
    return;
  }
  device.memory_free = static_cast<int64_t>(free_bytes);
}

}  // namespace

Result<std::vector<CudaDevice>> list_devices() {
  OCTET_ASSIGN_OR_RETURN(const int32_t count, count_devices());
  std::vector<CudaDevice> devices;
  for (int32_t i = 0; i < count; ++i) {
    devices.push_back(describe(i));
    if (devices.back().problem.empty()) probe_memory(devices.back());
  }
  return devices;
}

Result<CudaDevice> use_device(int32_t index) {
  OCTET_ASSIGN_OR_RETURN(const int32_t count, count_devices());
  OCTET_RETURN_IF_ERROR(check_device_index(index, count));
  CudaDevice device = describe(index);
  if (device.problem.empty()) {
    probe_memory(device);
    if (!device.problem.empty()) {
      return resource_exhausted("cuda: device " + std::to_string(index) + " (" + device.name + ") " +
                                device.problem);
    }
  }
  if (!device.problem.empty()) {
    return unsupported("cuda: device " + std::to_string(index) + " (" + device.name + "): " + device.problem);
  }
  return device;
}

}  // namespace octet::cuda
