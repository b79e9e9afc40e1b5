#include "base/device_rates.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(DeviceRates, OfADeviceThatIsNotKnownThereAreNone) {
  EXPECT_FALSE(known_rates("AMD EPYC, 2 threads, avx512").has_value());
  const auto rates = known_rates("NVIDIA H100 80GB HBM3, CUDA device 0");
  ASSERT_TRUE(rates.has_value());
  EXPECT_LT(rates->memory_bytes_s, 3.36e12);  // its data sheet's, as the next two
  EXPECT_LT(rates->half_flop_s, 989.5e12);
  EXPECT_LT(rates->int8_flop_s, 1979e12);
  EXPECT_GT(rates->fp8_flop_s, rates->half_flop_s);
}

TEST(DeviceRates, WhatTakesLongerBinds) {
  const DeviceRates rates{.memory_bytes_s = 1e12};
  EXPECT_DOUBLE_EQ(seconds_at(rates, 1e15, 5e6, 1e9), 5e-6);
  EXPECT_DOUBLE_EQ(seconds_at(rates, 1e15, 5e6, 8e9), 8e-6);
  EXPECT_DOUBLE_EQ(seconds_at(rates, 0, 5e6, 8e9), 5e-6);
  EXPECT_EQ(seconds_at({}, 0, 5e6, 8e9), 0);
}

}  // namespace
}  // namespace octet
