// From the records of a traced step to its parts.
#include <algorithm>
#include <map>

#include "bench/offline.h"
#include "bench/profile.h"

namespace octet {
namespace {

constexpr const char* kOrder[] = {"linear qkv",  "linear o",  "linear gate_up", "linear down",
                                  "linear head", "attention", "rope, KV write", "norm",
                                  "activation",  "quantize",  "embed, gather",  "sampling",
                                  "batch"};

bool is_silu(OpKind kind) {
  return kind == OpKind::kSiluMul || kind == OpKind::kLinearSiluMul;
}

// What the op that follows op `i`, linear layers and conversions aside, makes of a product behind a norm.
const char* product_before(const std::vector<OpRecord>& ops, size_t i) {
  for (++i; i < ops.size(); ++i) {
    const OpKind kind = ops[i].kind;
    if (kind == OpKind::kLinear || kind == OpKind::kQuantize) continue;
    if (kind == OpKind::kRopeWriteKv) return "linear qkv";
    if (kind == OpKind::kSiluMul) return "linear gate_up";
    break;
  }
  return "linear head";
}

double us_at_ceiling(const OpRecord& op, const DeviceRates& c) {
  const bool linear = op.kind == OpKind::kLinear || op.kind == OpKind::kLinearSiluMul;
  const double rate = linear ? product_rate(c, op.input) : c.half_flop_s;
  return 1e6 * seconds_at(c, rate, op.cost.bytes, op.cost.flop);
}

// From the first op to the end of the last, head starts left out.
double traced_seconds(const std::vector<OpRecord>& ops) {
  double seconds = ops.empty() ? 0 : ops.back().end - ops.front().start;
  for (const OpRecord& op : ops)
    if (op.kind == OpKind::kHeadStart) seconds -= op.seconds();
  return seconds;
}

}  // namespace

std::vector<std::string> part_names(const std::vector<OpRecord>& ops) {
  std::vector<std::string> names;
  OpKind producer = OpKind::kStage;  // of the input of the next linear layer
  for (size_t i = 0; i < ops.size(); ++i) {
    switch (ops[i].kind) {
      case OpKind::kStage:
        names.emplace_back("batch");
        break;
      case OpKind::kHeadStart:
        names.emplace_back("head start");
        break;
      case OpKind::kEmbed:
      case OpKind::kGatherRows:
        names.emplace_back("embed, gather");
        break;
      case OpKind::kNorm:
        names.emplace_back("norm");
        break;
      case OpKind::kLinear:
        names.emplace_back(producer == OpKind::kAttention ? "linear o"
                           : is_silu(producer)            ? "linear down"
                                                          : product_before(ops, i));
        break;
      case OpKind::kLinearSiluMul:
        names.emplace_back("linear gate_up");
        break;
      case OpKind::kRopeWriteKv:
        names.emplace_back("rope, KV write");
        break;
      case OpKind::kAttention:
        names.emplace_back("attention");
        break;
      case OpKind::kQuantize:
        names.emplace_back("quantize");
        break;
      case OpKind::kSiluMul:
        names.emplace_back("activation");
        break;
      case OpKind::kSample:
        names.emplace_back("sampling");
        break;
    }
    const OpKind kind = ops[i].kind;
    if (kind == OpKind::kNorm || kind == OpKind::kAttention || is_silu(kind)) producer = kind;
  }
  return names;
}

void take_apart(const std::vector<std::vector<OpRecord>>& steps, const DeviceRates& ceilings, bool runs_ahead,
                StepProfile& step) {
  OCTET_CHECK(!steps.empty());
  const std::vector<OpRecord>& last = steps.back();
  const std::vector<std::string> names = part_names(last);
  for (const auto& ops : steps) OCTET_CHECK(ops.size() == names.size());
  const auto median_us = [&](const auto& seconds) {
    std::vector<double> all;
    for (const auto& ops : steps) all.push_back(1e6 * seconds(ops));
    return percentiles(std::move(all)).p50;
  };
  std::map<std::string, ProfilePart> parts;
  std::map<std::string, double> us_at_ceilings;
  double between_us = 0;
  for (size_t i = 0; i < last.size(); ++i) {
    ProfilePart& part = parts[names[i]];
    ++part.calls;
    part.us += median_us([&](const auto& ops) { return ops[i].seconds(); });
    part.bytes += last[i].cost.bytes;
    part.flop += last[i].cost.flop;
    us_at_ceilings[names[i]] += us_at_ceiling(last[i], ceilings);
    if (i > 0) between_us += median_us([&](const auto& ops) { return ops[i].start - ops[i - 1].end; });
    step.records.push_back({names[i], last[i]});
  }
  step.traced_us = median_us(traced_seconds);
  step.ops_us = 0;
  int32_t calls = 0;
  for (const char* name : kOrder) {
    const auto found = parts.find(name);
    if (found == parts.end()) continue;
    ProfilePart part = found->second;
    part.name = name;
    part.traced_us = part.us;
    step.ops_us += part.us;
    calls += part.calls;
    step.parts.push_back(std::move(part));
  }
  step.rest_us = runs_ahead ? std::max(0.0, step.step_us - step.ops_us) : between_us;
  step.overlap_us = runs_ahead ? std::max(0.0, step.ops_us - step.step_us) : 0;
  step.added_us = calls > 0 ? step.overlap_us / calls : 0;
  double sum = step.rest_us;
  for (ProfilePart& part : step.parts) {
    part.us = std::max(0.0, part.traced_us - part.calls * step.added_us);
    part.ceiling_share = part.us > 0 ? us_at_ceilings[part.name] / part.us : 0;
    sum += part.us;
  }
  step.parts.push_back({.name = runs_ahead ? "idle" : "host", .us = step.rest_us, .traced_us = step.rest_us});
  for (ProfilePart& part : step.parts) part.share = sum > 0 ? part.us / sum : 0;
}

}  // namespace octet
