#include "advise/choice.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace octet {
namespace {

double mebibytes(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Pages for a full batch, or as many as the bound leaves.
int64_t pages_at(const Variant& variant, const ServedWorkload& workload, int64_t memory_bound) {
  const MemoryPlan& plan = variant.memory;
  const int64_t length = workload.requests.input_len + workload.requests.output_len;
  const int64_t pages = (length + plan.page_size - 1) / plan.page_size * workload.max_batch;
  if (memory_bound == 0) return pages;
  const int64_t left = memory_bound - (plan.total() - plan.kv_cache);
  return std::min(pages, left / (plan.kv_bytes_per_token * plan.page_size));
}

double cost_of(const ThroughputResult& served, const ThroughputOptions& requests) {
  if (requests.rate <= 0) return 1e3 * served.seconds;
  return served.ttft_ms.mean + served.tpot_ms.mean * (requests.output_len - 1);
}

ServedWorkload with_batch(ServedWorkload workload, int32_t batch) {
  workload.max_batch = batch;
  workload.requests.requests = std::max(workload.requests.requests, batch);
  return workload;
}

// The schemes that break the quality bounds alone and are faster than the recommended one: how much looser
// they would have to be.
void look_at_looser_bounds(const std::vector<Variant>& variants, const ServedWorkload& workload,
                           const Requirements& requirements, double recommended_cost, WhatIf& found) {
  if (requirements.bounds.empty()) return;
  Requirements loose = requirements;
  loose.bounds.clear();
  const auto ranked = rank(variants, workload, loose);
  for (const Outcome& outcome : ranked) {  // fastest first
    const Variant& variant = variants[outcome.variant];
    if (!outcome.why_not.empty() || outcome.cost >= recommended_cost || !variant.quality) continue;
    if (quality_used(requirements.bounds, *variant.quality) < 1) continue;
    std::string needs;
    for (const auto& bound : requirements.bounds) {
      if (bound.used(*variant.quality) < 1) continue;
      needs += (needs.empty() ? "" : ", ") + describe(bound, *variant.quality);
    }
    found.changes.push_back(
        {"a bound that lets " + needs + " pass", variant.name(), recommended_cost / outcome.cost - 1});
  }
}

}  // namespace

Outcome evaluate(const std::vector<Variant>& variants, size_t index, const ServedWorkload& workload,
                 const Requirements& requirements) {
  const Variant& variant = variants[index];
  Outcome outcome;
  outcome.variant = index;
  const int64_t pages = pages_at(variant, workload, requirements.memory);
  const int64_t fixed = variant.memory.total() - variant.memory.kv_cache;
  outcome.memory =
      fixed + std::max<int64_t>(pages, 0) * variant.memory.kv_bytes_per_token * variant.memory.page_size;
  if (variant.quality) outcome.quality_used = quality_used(requirements.bounds, *variant.quality);
  const int64_t length = workload.requests.input_len + workload.requests.output_len;
  if (pages * variant.memory.page_size < length) {
    outcome.memory = fixed + length * variant.memory.kv_bytes_per_token;
    outcome.why_not = fmt::format("needs {:.1f} MiB with a cache for one request", mebibytes(outcome.memory));
    return outcome;
  }
  const auto served =
      predict_throughput(variant.step,
                         {static_cast<int32_t>(pages), variant.memory.page_size, workload.max_batch,
                          std::max(variant.max_step_tokens, workload.max_batch), variant.runs_ahead},
                         workload.requests);
  OCTET_CHECK(served.ok()) << served.status().message();
  outcome.served = *served;
  outcome.cost = cost_of(*served, workload.requests);
  if (outcome.quality_used >= 1) {
    for (const auto& bound : requirements.bounds) {
      if (bound.used(*variant.quality) < 1) continue;
      outcome.why_not = describe(bound, *variant.quality) + ", not " + bound.text;
      break;
    }
  } else if (requirements.ttft_ms > 0 && served->ttft_ms.p90 > requirements.ttft_ms) {
    outcome.why_not =
        fmt::format("TTFT {:.1f} ms (p90), not {:g}", served->ttft_ms.p90, requirements.ttft_ms);
  }
  return outcome;
}

std::vector<Outcome> rank(const std::vector<Variant>& variants, const ServedWorkload& workload,
                          const Requirements& requirements) {
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < variants.size(); ++i) {
    outcomes.push_back(evaluate(variants, i, workload, requirements));
  }
  std::stable_sort(outcomes.begin(), outcomes.end(), [](const Outcome& a, const Outcome& b) {
    if (a.why_not.empty() != b.why_not.empty()) return a.why_not.empty();
    return a.cost < b.cost;
  });
  return outcomes;
}

WhatIf what_if(const std::vector<Variant>& variants, const ServedWorkload& workload,
               const Requirements& requirements, size_t recommended) {
  WhatIf found;
  const auto look = [&](const std::string& when, const ServedWorkload& other) {
    const auto ranked = rank(variants, other, requirements);
    if (ranked.front().variant == recommended) {
      found.looked_at.push_back(when);
      return;
    }
    const Outcome here = evaluate(variants, recommended, other, requirements);
    if (!ranked.front().why_not.empty()) {
      found.changes.push_back({when, "nothing meets the bounds: " + here.why_not});
      return;
    }
    found.changes.push_back({when, variants[ranked.front().variant].name(),
                             here.cost > 0 ? here.cost / ranked.front().cost - 1 : 0});
  };
  const int32_t batch = workload.max_batch;
  for (const int32_t other : std::set{1, std::max(1, batch / 4), batch * 4}) {
    if (other == batch) continue;
    look(fmt::format("--max-batch {}", other), with_batch(workload, other));
  }
  for (const double factor : {0.25, 4.0}) {
    ServedWorkload other = workload;
    other.requests.input_len = std::max(1, static_cast<int32_t>(workload.requests.input_len * factor));
    if (other.max_context > 0 && other.requests.input_len + other.requests.output_len > other.max_context)
      continue;  // the model cannot
    look(fmt::format("prompts of {} tokens", other.requests.input_len), other);
  }
  if (workload.requests.rate > 0) {
    for (const double factor : {0.5, 2.0}) {
      ServedWorkload other = workload;
      other.requests.rate *= factor;
      look(fmt::format("{:g} requests a second", other.requests.rate), other);
    }
  }
  look_at_looser_bounds(variants, workload, requirements,
                        evaluate(variants, recommended, workload, requirements).cost, found);
  return found;
}

}  // namespace octet
