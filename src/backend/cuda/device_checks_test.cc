#include "backend/cuda/device_checks.h"

#include <gtest/gtest.h>

namespace octet::cuda {
namespace {

DriverFacts works() {
  return {.driver = 13000, .runtime = 13000, .n_devices = 1, .error = {}};
}

void expect_message(const Status& status, StatusCode code, const std::string& message) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_EQ(status.message(), message);
}

TEST(DeviceChecks, ADriverOfTheSameMajorVersionOrANewerOneWillDo) {
  EXPECT_TRUE(check_driver(works()).ok());
  DriverFacts facts = works();
  facts.runtime = 13020;  // a newer minor version
  EXPECT_TRUE(check_driver(facts).ok());
  facts.driver = 14000;
  EXPECT_TRUE(check_driver(facts).ok());
}

TEST(DeviceChecks, ADriverTooOldIsToldBothVersions) {
  DriverFacts facts = works();
  facts.driver = 12090;
  facts.runtime = 13020;
  facts.n_devices = 0;
  facts.error = "CUDA driver version is insufficient for CUDA runtime version";  // follows from it
  expect_message(check_driver(facts), StatusCode::kUnsupported,
                 "cuda: the NVIDIA driver supports CUDA 12.9, this build needs 13.0: update the driver");
}

TEST(DeviceChecks, NoDriverIsNotFoundWhateverElseIsMissing) {
  expect_message(
      check_driver({.driver = 0, .runtime = 13000, .n_devices = 0, .error = "insufficient driver"}),
      StatusCode::kNotFound,
      "cuda: there is no NVIDIA driver on this machine (libcuda.so.1); use --backend cpu, or install it");
}

TEST(DeviceChecks, ADriverThatFailsAndOneWithoutGpusDiffer) {
  DriverFacts facts = works();
  facts.n_devices = 0;
  expect_message(check_driver(facts), StatusCode::kNotFound,
                 "cuda: the NVIDIA driver shows no GPU; use --backend cpu");
  facts.error = "system not yet initialized";
  expect_message(check_driver(facts), StatusCode::kUnsupported,
                 "cuda: the NVIDIA driver does not work: system not yet initialized");
}

TEST(DeviceChecks, AnIndexOutOfRangeIsToldTheRange) {
  EXPECT_TRUE(check_device_index(0, 1).ok());
  EXPECT_TRUE(check_device_index(7, 8).ok());
  expect_message(check_device_index(8, 8), StatusCode::kInvalidArgument,
                 "cuda: --device 8: there are devices 0 to 7");
  expect_message(check_device_index(-1, 1), StatusCode::kInvalidArgument,
                 "cuda: --device -1: there is device 0 alone");
}

TEST(DeviceChecks, KernelsRunOnHopperAlone) {
  EXPECT_EQ(capability_problem(9, 0), "");
  EXPECT_EQ(capability_problem(8, 9),
            "compute capability 8.9: the kernels are made for 9.0 (H100, H200, GH200) alone");
  for (const auto& [major, minor] : {std::pair{8, 0}, {9, 1}, {10, 0}, {12, 0}})
    EXPECT_NE(capability_problem(major, minor), "") << major << "." << minor;
}

}  // namespace
}  // namespace octet::cuda
