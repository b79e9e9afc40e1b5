// Which of the measured variants serves a workload best within its bounds, and at which other points another
// one would.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "advise/predict.h"
#include "advise/quality_bound.h"

namespace octet {

// A scheme with a KV cache, as measured.
struct Variant {
  std::string scheme, kv;
  std::optional<QualityFigures> quality;  // none where nobody asked
  MemoryPlan memory;                      // for the workload asked about
  int32_t max_step_tokens = 0;
  bool runs_ahead = false;  // of its backend
  std::vector<StepPoint> points;
  StepModel step;

  std::string name() const { return scheme + ", KV " + kv; }
};

struct Requirements {
  std::vector<QualityBound> bounds;
  int64_t memory = 0;  // bytes; 0: what the device has
  double ttft_ms = 0;  // of nine requests in ten; 0: any
};

struct ServedWorkload {
  ThroughputOptions requests;
  int32_t max_batch = 0;
  int32_t max_context = 0;  // of the model; 0: any
};

struct Outcome {
  size_t variant = 0;
  ThroughputResult served;
  int64_t memory = 0;
  double quality_used = 0;  // of the tightest bound
  std::string why_not;      // the bound that it breaks; empty: it may be used
  // What is to be least: the time of all requests where they come at once, that of one where they arrive.
  double cost = 0;
};

Outcome evaluate(const std::vector<Variant>& variants, size_t index, const ServedWorkload& workload,
                 const Requirements& requirements);

// All variants, those that may be used first, each part by cost.
std::vector<Outcome> rank(const std::vector<Variant>& variants, const ServedWorkload& workload,
                          const Requirements& requirements);

// A point at which something else is best.
struct Change {
  std::string when;  // "16 sequences in a batch"
  std::string what;  // the variant there
  double gain = 0;   // how much faster than the recommended one would be there
};
struct WhatIf {
  std::vector<Change> changes;
  std::vector<std::string> looked_at;  // points where the answer stays
};
WhatIf what_if(const std::vector<Variant>& variants, const ServedWorkload& workload,
               const Requirements& requirements, size_t recommended);

}  // namespace octet
