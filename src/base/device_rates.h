// What a device can do: the rates that measured ones are compared with, and that limits are computed from.
#pragma once

#include <optional>
#include <string>

namespace octet {

// Bytes of memory and operations of products a second. 0: unknown.
struct DeviceRates {
  double memory_bytes_s = 0, half_flop_s = 0, int8_flop_s = 0, fp8_flop_s = 0;
};

// The best that was measured on such a device, by whatever program. Nothing where it is not known.
std::optional<DeviceRates> known_rates(const std::string& device);

// The least time for so many bytes and operations, products at `flop_s`: of both whichever takes longer.
double seconds_at(const DeviceRates& rates, double flop_s, double bytes, double flop);

}  // namespace octet
