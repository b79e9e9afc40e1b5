// What the server counts itself, beside the engine's metrics. I/O thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <utility>

#include "engine/metrics.h"

namespace octet {

struct RequestStats {
  RequestStats() : prompt_tokens(token_bounds()), output_tokens(token_bounds()) {}

  int64_t open_generations = 0;
  std::map<int, uint64_t> responses;       // by HTTP status
  uint64_t dropped_clients = 0;            // too slow
  Histogram prompt_tokens, output_tokens;  // a finished sequence
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

 private:
  static std::vector<double> token_bounds() {
    return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
  }
};

}  // namespace octet
