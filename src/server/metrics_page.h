// What monitoring reads: Prometheus text under the names that dashboards made for vLLM look for, and a small
// JSON for the page.
#pragma once

#include <string>

#include "engine/metrics.h"
#include "server/request_stats.h"

namespace octet {

struct MetricsInput {
  const EngineMetrics& engine;
  const RequestStats& requests;
  std::string model, scheme, kv_cache;
  int32_t max_context = 0;
  int64_t connections = 0;
  bool draining = false;
};

std::string metrics_text(const MetricsInput& input);
std::string status_json(const MetricsInput& input);

}  // namespace octet
