// What the device can do, measured by the backend's own ops: what an op's time is compared with.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "backend/ops.h"
#include "base/device_rates.h"

namespace octet {

struct Ceilings {
  DeviceRates rates;        // memory: the faster of the next two
  double copy_bytes_s = 0;  // a matrix, once read and once written; bytes of both
  double read_bytes_s = 0;  // a weight, read for one row
  bool documented = false;  // products at the rates that are known of the device: else measured now
};

// Reserves scratch of its own: reserve again before anything else. Errors: the device's.
Result<Ceilings> measure_ceilings(Ops& ops);

// Of products whose inputs are of this type.
double product_rate(const DeviceRates& rates, QType input);

nlohmann::ordered_json to_json(const Ceilings& ceilings);

}  // namespace octet
