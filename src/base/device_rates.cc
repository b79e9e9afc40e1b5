#include "base/device_rates.h"

#include <algorithm>

namespace octet {

std::optional<DeviceRates> known_rates(const std::string& device) {
  // Memory: 1 GB of weights read for one row (copies, which write as much as they read, reach 3.02e12).
  // Products: of 2,048 to 8,192 tokens in the largest layers of Llama-3.1-8B (docs/kernels.md).
  if (device.find("H100 80GB HBM3") != std::string::npos)
    return DeviceRates{
        .memory_bytes_s = 3.08e12, .half_flop_s = 812e12, .int8_flop_s = 1579e12, .fp8_flop_s = 1444e12};
  return std::nullopt;
}

double seconds_at(const DeviceRates& rates, double flop_s, double bytes, double flop) {
  return std::max(rates.memory_bytes_s > 0 ? bytes / rates.memory_bytes_s : 0,
                  flop_s > 0 ? flop / flop_s : 0);
}

}  // namespace octet
