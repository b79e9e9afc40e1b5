// Counters and histograms of the engine, written by its thread, read by anyone (metrics endpoint, page,
// bench).
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace octet {

// Cumulative histogram as Prometheus wants it; bounds in seconds, ascending.
struct Histogram {
  std::vector<double> bounds;
  std::vector<uint64_t> counts;  // [bounds.size() + 1], not cumulative; the last is +Inf
  double sum = 0;
  uint64_t count = 0;

  explicit Histogram(std::vector<double> upper_bounds = {});
  void observe(double value);
};

struct EngineMetrics {
  // gauges
  int64_t running = 0, waiting = 0, swapped = 0;
  double kv_usage = 0;  // share of the KV pages that hold something needed now, [0, 1]
  int64_t kv_pages_total = 0, kv_pages_used = 0;
  // counters
  uint64_t prompt_tokens = 0, generated_tokens = 0, preemptions = 0, steps = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;  // in tokens
  uint64_t finished_stop = 0, finished_length = 0, finished_cancelled = 0, finished_error = 0;
  // histograms, seconds
  Histogram ttft, inter_token, e2e, queue_time, prefill_time, decode_time, step_time;
  double output_tokens_per_second = 0;  // over the last few seconds
};

}  // namespace octet
