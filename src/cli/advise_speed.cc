// How long each scheme's steps take, by turns, and at the end whether the machine still is what it was.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "advise/measure_steps.h"
#include "base/log.h"
#include "cli/advise_quality.h"
#include "model/model_sizes.h"

namespace octet {
namespace {

constexpr double kRoundSeconds = 0.08;  // on each step in a round; there are two
constexpr double kCheckSeconds = 0.04;  // on each step at the end
constexpr double kShort = 60;           // of a workload that is run as a check, seconds

// Room in the cache for the whole workload, or for as much as the device holds; 0: not even one request.
Result<int64_t> cache_bytes(ModelArgs& load, const AdviseArgs& args, const ThroughputOptions& requests) {
  load.options.max_batch = args.max_batch;
  load.options.max_context = requests.input_len + requests.output_len;
  load.options.kv_bytes = int64_t{1} << 50;
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(load));
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(load));
  OCTET_ASSIGN_OR_RETURN(const ModelSizes sizes, model_sizes(*checkpoint, *ops, load.options));
  const MemoryPlan& plan = sizes.plan;
  const int64_t left = room_for_cache(ops->info(), plan.total() - plan.kv_cache).value_or(plan.kv_cache);
  const int64_t one = plan.kv_cache / args.max_batch;
  return left < one ? 0 : std::min(plan.kv_cache, left);
}

Result<std::vector<StepPoint>> time_steps(Model& model, const Advice& advice, double seconds) {
  const ThroughputOptions& requests = advice.workload.requests;
  return measure_steps(model, {requests.input_len, requests.output_len, seconds});
}

}  // namespace

Status measure_speed(const AdviseArgs& args, const std::string& scheme, ModelArgs load,
                     const std::optional<QualityFigures>& quality, Advice& advice) {
  OCTET_ASSIGN_OR_RETURN(load.options.kv_bytes, cache_bytes(load, args, advice.workload.requests));
  const std::string name = scheme + ", KV " + load.options.kv_dtype;
  if (load.options.kv_bytes == 0) {
    advice.left_out.push_back(name + ": does not fit into the device's memory");
    return {};
  }
  OCTET_ASSIGN_OR_RETURN(Session session, open_session(load, false));
  Variant variant;
  variant.scheme = scheme;
  variant.kv = session.model->kv_name();
  variant.quality = quality;
  variant.memory = session.model->memory();
  variant.max_step_tokens = session.model->max_step_tokens();
  variant.runs_ahead = session.model->ops().info().runs_ahead;
  log_info(name + ": timing steps");
  OCTET_ASSIGN_OR_RETURN(variant.points, time_steps(*session.model, advice, kRoundSeconds));
  OCTET_ASSIGN_OR_RETURN(variant.step, StepModel::fit(variant.points));
  advice.device = session.model->ops().info().device;
  advice.variants.push_back(std::move(variant));
  advice.loads.push_back(std::move(load));
  advice.candidates.push_back(scheme);
  return {};
}

Status time_again(Advice& advice) {
  for (size_t i = advice.variants.size(); i-- > 0;) {
    Variant& variant = advice.variants[i];
    OCTET_ASSIGN_OR_RETURN(const Session session, open_session(advice.loads[i], false));
    log_info(variant.name() + ": timing steps again");
    OCTET_ASSIGN_OR_RETURN(const auto points, time_steps(*session.model, advice, kRoundSeconds));
    variant.points = mean_of_rounds(variant.points, points);
    OCTET_ASSIGN_OR_RETURN(variant.step, StepModel::fit(variant.points));
  }
  return {};
}

Status check_advice(const AdviseArgs& args, Advice& advice) {
  ModelArgs load = advice.loads[advice.best().variant];
  const Variant& variant = advice.recommended();
  if (const int64_t cache = advice.best().memory - (variant.memory.total() - variant.memory.kv_cache);
      cache < load.options.kv_bytes) {
    load.options.kv_bytes = cache;  // as --memory leaves
  }
  load.no_prefix_cache = true;
  load.max_waiting = advice.workload.requests.requests;
  OCTET_ASSIGN_OR_RETURN(Session session, open_session(load, false));
  OCTET_ASSIGN_OR_RETURN(const auto points, time_steps(*session.model, advice, kCheckSeconds));
  advice.slower_now = time_ratio(variant.points, points);
  if (args.no_check || (!args.check && advice.best().served.seconds > kShort)) return {};
  OCTET_RETURN_IF_ERROR(start_engine(session, load));
  OCTET_ASSIGN_OR_RETURN(
      advice.measured, bench_throughput(*session.engine, session.model->config(), advice.workload.requests));
  return {};
}

}  // namespace octet
