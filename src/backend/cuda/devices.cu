#include <cuda_runtime_api.h>

#include "backend/cuda/devices.h"

namespace octet::cuda {
namespace {

// Kernels are made for compute capability 9.0 (sm_90a): its code runs on nothing else, newer or older.
constexpr int kMajor = 9, kMinor = 0;

std::string version_name(int version) {  // 13000 -> "13.0"
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status check_driver() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) {
    return not_found(
        "cuda: there is no NVIDIA driver on this machine (libcuda.so.1); use --backend cpu, or install it");
  }
  // A driver runs every runtime of its own major version.
  if (driver / 1000 < CUDART_VERSION / 1000) {
    return unsupported("cuda: the NVIDIA driver supports CUDA " + version_name(driver) +
                       ", this build needs " + version_name(CUDART_VERSION / 1000 * 1000) +
                       ": update the driver");
  }
  return {};
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
  if (properties.major != kMajor || properties.minor != kMinor) {
    device.problem = "compute capability " + std::to_string(properties.major) + "." +
                     std::to_string(properties.minor) +
                     ": the kernels are made for 9.0 (H100, H200, GH200) alone";
  }
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
  OCTET_RETURN_IF_ERROR(check_driver());
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    cudaGetLastError();
    if (error == cudaErrorNoDevice) return not_found("cuda: the NVIDIA driver shows no GPU");
    return unsupported(std::string("cuda: the NVIDIA driver does not work: ") + cudaGetErrorString(error));
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    devices.push_back(describe(i));
    if (devices.back().problem.empty()) probe_memory(devices.back());
  }
  return devices;
}

Result<CudaDevice> use_device(int32_t index) {
  OCTET_RETURN_IF_ERROR(check_driver());
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  cudaGetLastError();
  if (count == 0) return not_found("cuda: the NVIDIA driver shows no GPU");
  if (index < 0 || index >= count) {
    return invalid_argument("cuda: --device " + std::to_string(index) + ": there are devices 0 to " +
                            std::to_string(count - 1));
  }
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
