#include "backend/cuda/device_checks.h"

namespace octet::cuda {
namespace {

// Kernels are made for compute capability 9.0 (sm_90a): its code runs on nothing else, newer or older.
constexpr int32_t kMajor = 9, kMinor = 0;

std::string version_name(int32_t version) {  // 13000 -> "13.0"
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

Status check_driver(const DriverFacts& facts) {
  if (facts.driver == 0) {
    return not_found(
        "cuda: there is no NVIDIA driver on this machine (libcuda.so.1); use --backend cpu, or install it");
  }
  // A driver runs every runtime of its own major version, and of older ones.
  if (facts.driver / 1000 < facts.runtime / 1000) {
    return unsupported("cuda: the NVIDIA driver supports CUDA " + version_name(facts.driver) +
                       ", this build needs " + version_name(facts.runtime / 1000 * 1000) +
                       ": update the driver");
  }
  if (!facts.error.empty()) return unsupported("cuda: the NVIDIA driver does not work: " + facts.error);
  if (facts.n_devices == 0) return not_found("cuda: the NVIDIA driver shows no GPU; use --backend cpu");
  return {};
}

Status check_device_index(int32_t index, int32_t n_devices) {
  if (index >= 0 && index < n_devices) return {};
  return invalid_argument(
      "cuda: --device " + std::to_string(index) + ": there " +
      (n_devices == 1 ? "is device 0 alone" : "are devices 0 to " + std::to_string(n_devices - 1)));
}

std::string capability_problem(int32_t major, int32_t minor) {
  if (major == kMajor && minor == kMinor) return "";
  return "compute capability " + std::to_string(major) + "." + std::to_string(minor) +
         ": the kernels are made for 9.0 (H100, H200, GH200) alone";
}

}  // namespace octet::cuda
