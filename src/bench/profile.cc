#include "bench/profile.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "bench/fixed_batch.h"
#include "bench/offline.h"

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
  const int32_t length = most(o_.contexts);
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

// Of the KV cache: for the largest decode step that fits, whatever a server would leave to others.
Result<int64_t> cache_bytes(const Checkpoint& checkpoint, const Ops& ops, const ModelOptions& model,
                            const ProfileOptions& options) {
  ModelOptions whole = model;
  whole.kv_bytes = int64_t{1} << 50;
  OCTET_ASSIGN_OR_RETURN(const MemoryPlan plan, Model::plan(checkpoint, ops, whole));
  const int64_t page_bytes = plan.page_size * plan.kv_bytes_per_token;
  const int64_t available = ops.info().memory_available;
  const int64_t room = model.kv_bytes > 0 ? model.kv_bytes
                       : available > 0    ? available - (plan.total() - plan.kv_cache)
                                          : whole.kv_bytes;
  int64_t pages = pages_of(1, model.max_context, plan.page_size);
  for (const int32_t context : options.contexts) {
    for (const int32_t batch : options.batches) {
      const int64_t needed = pages_of(batch, context, plan.page_size);
      if (needed * page_bytes <= room) pages = std::max(pages, needed);
    }
  }
  return model.kv_bytes > 0 ? std::min(model.kv_bytes, pages * page_bytes) : pages * page_bytes;
}

Status measure_decode(Profiler& profiler, const Model& model, const ProfileOptions& options,
                      ProfileVariant& variant) {
  const KvCache& cache = model.cache();
  for (const int32_t context : options.contexts) {
    for (const int32_t batch : options.batches) {
      const int64_t needed = pages_of(batch, context, cache.page_size);
      if (needed > cache.n_pages) {
        const int64_t bytes = needed * cache.page_size * model.memory().kv_bytes_per_token;
        variant.left_out.push_back(
            fmt::format("{} sequences of {} tokens: their cache of {} MiB does not fit", batch, context,
                        (bytes >> 20) + 1));
        continue;
      }
      OCTET_ASSIGN_OR_RETURN(auto step, profiler.profile("decode", batch, 1, context));
      variant.steps.push_back(std::move(step));
    }
  }
  if (!variant.steps.empty() || variant.left_out.empty()) return {};
  return invalid_argument(variant.left_out.front() +
                          "; give more --kv-memory, or smaller --batches or --contexts");
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
  model.max_batch = most(options.batches);
  model.max_step_tokens = std::max({model.max_step_tokens, model.max_batch, most(options.prompts)});
  model.max_context = std::max(most(options.contexts), most(options.prompts));
  OCTET_ASSIGN_OR_RETURN(auto made, make_ops());
  auto owned = std::make_unique<TracingOps>(std::move(made));
  TracingOps& ops = *owned;
  OCTET_ASSIGN_OR_RETURN(model.kv_bytes, cache_bytes(*checkpoint, ops, model, options));
  OCTET_ASSIGN_OR_RETURN(const auto loaded, Model::load(checkpoint, std::move(owned), model));
  variant.runs_as = loaded->scheme_name();
  variant.kv_runs_as = loaded->kv_name();
  // A layer has about ten ops, and more where its linear layers run apart.
  OCTET_RETURN_IF_ERROR(ops.prepare(static_cast<size_t>(loaded->config().n_layers) * 24 + 32));
  report.mark_us = 1e6 * ops.mark_seconds();

  Profiler profiler(*loaded, ops, options, report);
  OCTET_RETURN_IF_ERROR(profiler.fill_cache());
  OCTET_RETURN_IF_ERROR(measure_decode(profiler, *loaded, options, variant));
  for (const int32_t tokens : options.prompts) {
    OCTET_ASSIGN_OR_RETURN(auto step, profiler.profile("prefill", 1, tokens, tokens));
    variant.steps.push_back(std::move(step));
  }
  return variant;
}

}  // namespace octet
