#include "bench/profile.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "bench/fixed_batch.h"
#include "bench/offline.h"
#include "model/model_sizes.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kMostHeadStart = 64;
constexpr int32_t kTracedSteps = 4;  // in a repeat

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int32_t most(const std::vector<int32_t>& values) {
  return values.empty() ? 1 : *std::ranges::max_element(values);
}

int64_t pages_of(int32_t sequences, int32_t tokens, int32_t page_size) {
  return int64_t{sequences} * ((tokens + page_size - 1) / page_size);
}

class Profiler {
 public:
  Profiler(Model& model, TracingOps& ops, const ProfileOptions& options, const ProfileReport& report)
      : model_(model), ops_(ops), o_(options), report_(report) {}

  Status fill_cache();
  Result<StepProfile> profile(const std::string& phase, int32_t batch, int32_t queries, int32_t context);

 private:
  struct Timing {
    std::vector<double> steps;  // seconds of each, or of one in the mean where they overlap
    double host = 0;            // that asking for one takes
  };

  ForwardBatch batch_of(int32_t sequences, int32_t queries, int32_t context) const {
    return fixed_batch({.sequences = sequences,
                        .queries = queries,
                        .context = context,
                        .page_size = model_.cache().page_size,
                        .n_pages = model_.cache().n_pages,
                        .vocab_size = model_.config().vocab_size});
  }
  // Asks for a step; its results go where those of the step before last went.
  Fence launch(const ForwardBatch& batch);
  Result<Timing> untraced(const ForwardBatch& batch, int32_t steps);
  Result<std::vector<OpRecord>> traced(const ForwardBatch& batch);
  Status set_head_start(const ForwardBatch& batch, double step_seconds);

  Model& model_;
  TracingOps& ops_;
  const ProfileOptions& o_;
  const ProfileReport& report_;
  SamplingBatch sampling_;
  std::vector<SampledToken> sampled_[kMaxFences];
  size_t n_launched_ = 0;
};

// One sequence is computed, as long as any will be; the others' pages are copies of its pages.
Status Profiler::fill_cache() {
  const KvCache& cache = model_.cache();
  const int32_t length = model_.max_context();
  for (int32_t begin = 0; begin < length; begin += model_.max_step_tokens()) {
    const int32_t end = std::min(length, begin + model_.max_step_tokens());
    launch(batch_of(1, end - begin, end));
    OCTET_RETURN_IF_ERROR(ops_.synchronize());
  }
  const int32_t filled = std::min((length + cache.page_size - 1) / cache.page_size, cache.n_pages);
  const int32_t n = cache.n_pages - filled;
  if (n == 0) return {};
  std::vector<int32_t> from(static_cast<size_t>(n));
  for (int32_t i = 0; i < n; ++i) from[static_cast<size_t>(i)] = i % filled;
  OCTET_ASSIGN_OR_RETURN(const Buffer rows, ops_.allocate(from.size() * sizeof(int32_t)));
  ops_.upload(rows.data(), from.data(), from.size() * sizeof(int32_t));
  const DType type = ops_.info().activation;
  for (const Buffer& layer : cache.layers) {
    const auto page_bytes = layer.bytes() / static_cast<size_t>(cache.n_pages);
    const auto cols = static_cast<int64_t>(page_bytes / dtype_bytes(type, 1));
    const View source{layer.data(), type, filled, cols, cols};
    const View target{layer.as<char>() + static_cast<size_t>(filled) * page_bytes, type, n, cols, cols};
    ops_.gather_rows(source, rows.as<int32_t>(), n, target);
  }
  return ops_.synchronize();
}

Fence Profiler::launch(const ForwardBatch& batch) {
  sampling_.rows.assign(static_cast<size_t>(batch.n_logits()), SamplingRow{});
  auto& sampled = sampled_[n_launched_++ % kMaxFences];
  sampled.resize(sampling_.rows.size());
  const View logits = model_.forward(batch);
  ops_.sample(logits, sampling_, sampled.data());
  return ops_.fence();
}

// As the engine does: on a device that runs ahead the next step is asked for while one runs. Elsewhere each
// step has a time of its own, so that a median leaves out those that something else held up.
Result<Profiler::Timing> Profiler::untraced(const ForwardBatch& batch, int32_t steps) {
  OCTET_RETURN_IF_ERROR(ops_.synchronize());
  const size_t open = ops_.info().runs_ahead ? 2 : 1;
  std::vector<Fence> fences;
  size_t n_waited = 0;
  Timing timing;
  const auto start = Clock::now();
  for (int32_t i = 0; i < steps; ++i) {
    const auto asked = Clock::now();
    fences.push_back(launch(batch));
    timing.host += since(asked) / steps;
    if (fences.size() - n_waited == open) OCTET_RETURN_IF_ERROR(ops_.wait(fences[n_waited++]));
    if (open == 1) timing.steps.push_back(since(asked));
  }
  while (n_waited < fences.size()) OCTET_RETURN_IF_ERROR(ops_.wait(fences[n_waited++]));
  if (open > 1) timing.steps.push_back(since(start) / steps);
  return timing;
}

Result<std::vector<OpRecord>> Profiler::traced(const ForwardBatch& batch) {
  OCTET_RETURN_IF_ERROR(ops_.synchronize());
  ops_.start();
  launch(batch);
  auto records = ops_.stop();
  OCTET_RETURN_IF_ERROR(ops_.synchronize());
  return records;
}

// As many untraced steps as take twice as long as the host takes to ask for a traced one.
Status Profiler::set_head_start(const ForwardBatch& batch, double step_seconds) {
  ops_.set_head_start(0);
  if (!ops_.info().runs_ahead) return {};
  OCTET_RETURN_IF_ERROR(traced(batch).status());
  ops_.set_head_start(1);
  OCTET_ASSIGN_OR_RETURN(const auto records, traced(batch));
  double host = 0;
  for (const OpRecord& op : records)
    if (op.kind == OpKind::kHeadStart) host = records.back().host_end - op.host_end;
  ops_.set_head_start(
      std::clamp(static_cast<int32_t>(std::ceil(2 * host / step_seconds)), 1, kMostHeadStart));
  return {};
}

Result<StepProfile> Profiler::profile(const std::string& phase, int32_t batch, int32_t queries,
                                      int32_t context) {
  const ForwardBatch step_batch = batch_of(batch, queries, context);
  OCTET_RETURN_IF_ERROR(untraced(step_batch, 2).status());  // kernels are loaded, the step is recorded
  OCTET_ASSIGN_OR_RETURN(const Timing few, untraced(step_batch, 3));
  const double once = percentiles(few.steps).p50;
  OCTET_RETURN_IF_ERROR(set_head_start(step_batch, once));
  const auto steps = static_cast<int32_t>(std::clamp(o_.seconds / once, 2.0, 1000.0));
  std::vector<double> step_us, host_us;
  std::vector<std::vector<OpRecord>> records;
  for (int32_t repeat = 0; repeat < o_.repeats; ++repeat) {
    OCTET_ASSIGN_OR_RETURN(const Timing timing, untraced(step_batch, steps));
    for (const double seconds : timing.steps) step_us.push_back(1e6 * seconds);
    host_us.push_back(1e6 * timing.host);
    for (int32_t i = 0; i < kTracedSteps; ++i) {
      OCTET_ASSIGN_OR_RETURN(auto ops, traced(step_batch));
      records.push_back(std::move(ops));
    }
  }
  StepProfile profile{.phase = phase, .batch = batch, .context = context, .tokens = batch * queries};
  profile.step_us = percentiles(step_us).p50;
  profile.host_us = percentiles(host_us).p50;
  take_apart(records, report_.ceilings.rates, report_.runs_ahead, profile);
  return profile;
}

// A step that is asked for.
struct Step {
  std::string phase;
  int32_t batch = 0, queries = 0, context = 0;

  std::string name() const {
    if (phase == "prefill") return fmt::format("prefill of {} tokens", context);
    return fmt::format("{} sequence{} of {} tokens", batch, batch == 1 ? "" : "s", context);
  }
};

std::vector<Step> asked_steps(const ProfileOptions& options) {
  std::vector<Step> steps;
  for (const int32_t context : options.contexts)
    for (const int32_t batch : options.batches) steps.push_back({"decode", batch, 1, context});
  for (const int32_t tokens : options.prompts) steps.push_back({"prefill", 1, tokens, tokens});
  return steps;
}

// The steps that the memory has room for, and the model's sizes for them: a cache for the largest. The others
// are named in `left_out`.
Result<std::vector<Step>> choose_steps(const Checkpoint& checkpoint, const Ops& ops,
                                       const ProfileOptions& options, ModelOptions& model,
                                       std::vector<std::string>& left_out) {
  model.max_batch = most(options.batches);
  model.max_step_tokens = std::max({model.max_step_tokens, model.max_batch, most(options.prompts)});
  model.max_context = std::max(most(options.contexts), most(options.prompts));
  const int64_t given = model.kv_bytes;
  model.kv_bytes = int64_t{1} << 50;  // no limit yet: what there is room for is found here
  OCTET_ASSIGN_OR_RETURN(ModelSizes sizes, model_sizes(checkpoint, ops, model));
  MemoryPlan& plan = sizes.plan;
  plan.kv_cache = 0;
  OCTET_RETURN_IF_ERROR(check_memory(plan, ops.info().memory_available));
  const int64_t room = given > 0 ? given : room_for_cache(ops.info(), plan.total()).value_or(model.kv_bytes);

  const auto bytes_of = [&](const Step& s) {
    return pages_of(s.batch, s.context, plan.page_size) * plan.page_size * plan.kv_bytes_per_token;
  };
  const auto too_large = [&](const Step& s) {
    return fmt::format("{}: a cache of {} MiB does not fit into {} MiB", s.name(), (bytes_of(s) >> 20) + 1,
                       room >> 20);
  };
  const std::vector<Step> asked = asked_steps(options);
  std::vector<Step> steps;
  int64_t largest = 0;
  model.max_context = 1;
  for (const Step& step : asked) {
    if (bytes_of(step) > room) {
      left_out.push_back(too_large(step));
      continue;
    }
    steps.push_back(step);
    largest = std::max(largest, bytes_of(step));
    model.max_context = std::max(model.max_context, step.context);
  }
  if (steps.empty() && !asked.empty()) {
    return resource_exhausted(too_large(*std::ranges::min_element(asked, {}, bytes_of)) +
                              "; give more --kv-memory, smaller --batches or --contexts, or an 8-bit "
                              "--schemes or --kv-dtypes");
  }
  model.kv_bytes = largest;
  return steps;
}

}  // namespace

Status check_profile(const ProfileOptions& o, const ModelConfig& config) {
  const auto positive = [](const std::vector<int32_t>& v) {
    return std::ranges::all_of(v, [](int32_t x) { return x > 0; });
  };
  if (!positive(o.batches) || !positive(o.contexts) || !positive(o.prompts) || o.repeats < 1)
    return invalid_argument("--batches, --contexts, --prefill and --repeats must be at least 1");
  if (!(o.seconds > 0)) return invalid_argument("--seconds must be more than 0");
  for (const auto& [option, value] :
       {std::pair{"--contexts", most(o.contexts)}, std::pair{"--prefill", most(o.prompts)}}) {
    if (value > config.max_context)
      return invalid_argument(std::string(option) + " " + std::to_string(value) +
                              ": the model was made for " + std::to_string(config.max_context) +
                              " tokens at most");
  }
  return {};
}

Result<ProfileReport> begin_profile(const Checkpoint& checkpoint, const OpsFactory& make_ops) {
  ProfileReport report;
  report.model = checkpoint.config.name;
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops());
  report.backend = ops->info().name;
  report.device = ops->info().device;
  report.runs_ahead = ops->info().runs_ahead;
  OCTET_ASSIGN_OR_RETURN(report.ceilings, measure_ceilings(*ops));
  return report;
}

Result<ProfileVariant> profile_variant(std::shared_ptr<Checkpoint> checkpoint, const OpsFactory& make_ops,
                                       ModelOptions model, const ProfileOptions& options,
                                       ProfileReport& report) {
  ProfileVariant variant{.scheme = model.scheme.empty() ? "stored" : model.scheme,
                         .kv_dtype = model.kv_dtype};
  OCTET_ASSIGN_OR_RETURN(auto made, make_ops());
  auto owned = std::make_unique<TracingOps>(std::move(made));
  TracingOps& ops = *owned;
  OCTET_ASSIGN_OR_RETURN(const auto steps, choose_steps(*checkpoint, ops, options, model, variant.left_out));
  OCTET_ASSIGN_OR_RETURN(const auto loaded, Model::load(checkpoint, std::move(owned), model));
  variant.runs_as = loaded->scheme_name();
  variant.kv_runs_as = loaded->kv_name();
  // A layer has about ten ops, and more where its linear layers run apart.
  OCTET_RETURN_IF_ERROR(ops.prepare(static_cast<size_t>(loaded->config().n_layers) * 24 + 32));
  report.mark_us = 1e6 * ops.mark_seconds();

  Profiler profiler(*loaded, ops, options, report);
  OCTET_RETURN_IF_ERROR(profiler.fill_cache());
  for (const Step& step : steps) {
    OCTET_ASSIGN_OR_RETURN(auto profile,
                           profiler.profile(step.phase, step.batch, step.queries, step.context));
    variant.steps.push_back(std::move(profile));
  }
  return variant;
}

}  // namespace octet
