// What was asked, and in which order it is measured: how far each scheme is from the model as it is stored,
// then, with that one unloaded, how long its steps take.
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "bench/sweep.h"
#include "cli/advise.h"
#include "cli/advise_quality.h"
#include "cli/calibration_options.h"
#include "cli/eval_candidates.h"
#include "cli/eval_session.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

struct FolderRemover {
  std::string path;
  ~FolderRemover() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

Result<ServedWorkload> served_workload(const AdviseArgs& args) {
  ServedWorkload workload;
  ThroughputOptions& r = workload.requests;
  auto lengths = parse_workload(args.workload);
  if (!lengths.ok()) return lengths.status().with_context("--workload");
  if (lengths->requests_per_sequence > 0) {
    return invalid_argument("--workload '" + args.workload + "': --requests says how many, not xN");
  }
  r.input_len = lengths->input_len;
  r.output_len = lengths->output_len;
  if (args.max_batch < 1) return invalid_argument("--max-batch must be at least 1");
  if (args.rate < 0 || !std::isfinite(args.rate)) return invalid_argument("--rate must not be negative");
  workload.max_batch = args.max_batch;
  r.rate = args.rate;
  r.requests = args.requests > 0 ? args.requests : args.rate > 0 ? 100 : args.max_batch;
  return workload;
}

Result<double> parse_milliseconds(const std::string& text) {
  if (text.empty()) return 0.0;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  if (error != std::errc() || !(value > 0) || (unit != "ms" && unit != "s")) {
    return invalid_argument("--ttft '" + text + "': expected a time such as 200ms or 1.5s");
  }
  return unit == "s" ? 1e3 * value : value;
}

// ---- what is measured

struct Entry {
  Candidate candidate;
  std::string kv;
  std::optional<ModelArgs> load;
  std::optional<QualityFigures> quality;
};

ModelArgs with_kv(ModelArgs load, const std::string& kv) {
  load.options.kv_dtype = kv;
  return load;
}

// The model as it is stored comes first: the others are measured against it.
Result<std::vector<Entry>> entries(const AdviseArgs& args, const std::string& stored_scheme) {
  OCTET_ASSIGN_OR_RETURN(auto list, candidates(args.model, args.schemes));
  const bool random = !args.model.random_weights.empty();
  list.insert(list.begin(), Candidate{stored_scheme, baseline_args(args.model, args.model.model)});
  std::set<std::string> seen;
  std::vector<Entry> found;
  for (auto& candidate : list) {
    if (!seen.insert(candidate.name).second) continue;
    if (random) candidate.calibrated = false;  // any scales are as good
    for (const auto& kv : args.kv_dtypes) {
      OCTET_RETURN_IF_ERROR(kv_quant_by_name(kv, QType::kBF16).status());
      found.push_back({candidate, kv});
    }
  }
  return found;
}

// Qualities that were measured before.
Status take_qualities(const AdviseArgs& args, std::vector<Entry>& list, Advice& advice) {
  OCTET_ASSIGN_OR_RETURN(const auto figures, read_quality(args.quality_from));
  advice.quality_text = args.quality_from;
  for (auto& entry : list) {
    const bool is_stored = entry.candidate.name == list.front().candidate.name;
    const auto row = figures.find(is_stored ? "baseline" : entry.candidate.name);
    if (row == figures.end()) {
      return not_found("--quality-from " + args.quality_from + ": there is no row of scheme '" +
                       entry.candidate.name + "'; leave it out of --schemes, or measure it");
    }
    entry.quality = row->second;
  }
  return {};
}

// `text` stays empty where nothing is measured.
Status measure_qualities(const AdviseArgs& args, std::vector<Entry>& list, Advice& advice,
                         QualityText& text) {
  if (advice.requirements.bounds.empty() || !args.quality_from.empty()) return {};
  if (!args.model.random_weights.empty()) {
    return invalid_argument("--quality: random weights have none; give --quality-from FILE or a checkpoint");
  }
  OCTET_ASSIGN_OR_RETURN(Session baseline, open_quality_baseline(args));
  OCTET_ASSIGN_OR_RETURN(text, quality_text(args, baseline));
  advice.quality_text = text.label;
  for (auto& entry : list) {
    const std::string name = entry.candidate.name + ", KV " + entry.kv;
    if (&entry == &list.front() && entry.kv == "auto") {
      entry.quality = QualityFigures{};  // it is what the others are compared with
      continue;
    }
    auto figures = measure_quality(*entry.load, baseline, text, name);
    if (!figures.ok()) return figures.status().with_context(name);
    entry.quality = *figures;
  }
  return {};
}

Status read_requirements(const AdviseArgs& args, Advice& advice) {
  OCTET_ASSIGN_OR_RETURN(advice.workload, served_workload(args));
  OCTET_ASSIGN_OR_RETURN(advice.requirements.bounds, parse_quality(args.quality));
  OCTET_ASSIGN_OR_RETURN(advice.requirements.ttft_ms, parse_milliseconds(args.ttft));
  if (!args.memory.empty()) {
    OCTET_ASSIGN_OR_RETURN(advice.requirements.memory, parse_size("--memory", args.memory));
  }
  if (args.windows < 1) return invalid_argument("--windows must be at least 1");
  for (const auto& [option, value] :
       {std::pair{"--data", args.data}, {"--quality-from", args.quality_from}}) {
    if (!value.empty() && advice.requirements.bounds.empty()) {
      return invalid_argument(std::string(option) + " goes with --quality");
    }
    if (!value.empty() && !fs::exists(value))
      return not_found(std::string(option) + " " + value + ": not there");
  }
  if (!args.quality_from.empty() && args.kv_dtypes.size() > 1) {
    return invalid_argument(
        "--quality-from: its rows are of one KV cache; give one of --kv-dtypes, or measure with --data");
  }
  if (const ModelOptions& o = args.model.options;
      !args.recipe.empty() && !(o.exclude.empty() && o.overrides.empty())) {
    return invalid_argument("--recipe: a recipe cannot say what --exclude and --override do; leave them out");
  }
  return {};
}

}  // namespace

Result<Advice> measure_variants(const AdviseArgs& args) {
  Advice advice;
  OCTET_RETURN_IF_ERROR(read_requirements(args, advice));
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  advice.model = checkpoint->config.name;
  advice.workload.max_context = checkpoint->config.max_context;
  const auto& requests = advice.workload.requests;
  if (requests.input_len + requests.output_len > checkpoint->config.max_context) {
    return invalid_argument(fmt::format("--workload {}: the model was made for {} tokens at most",
                                        args.workload, checkpoint->config.max_context));
  }
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(args.model));
  if (const int64_t available = ops->info().memory_available; available > 0) {
    int64_t& bound = advice.requirements.memory;
    bound = bound > 0 ? std::min(bound, available) : available;
  }
  OCTET_ASSIGN_OR_RETURN(const auto stored, assign_schemes(*checkpoint, {}));
  OCTET_ASSIGN_OR_RETURN(auto list,
                         entries(args, scheme_name(stored.rbegin()->second, checkpoint->smoothed())));
  for (const auto& entry : list) {  // what cannot be loaded is told now, not after minutes
    if (entry.candidate.calibrated) continue;
    ModelOptions options = with_kv(entry.candidate.model, entry.kv).options;
    options.max_batch = args.max_batch;
    OCTET_RETURN_IF_ERROR(Model::plan(*checkpoint, *ops, options).status());
  }
  if (!args.quality_from.empty()) OCTET_RETURN_IF_ERROR(take_qualities(args, list, advice));
  FolderRemover temporary;
  if (args.checkpoints.empty()) {
    temporary.path = (fs::temp_directory_path() / fmt::format("octet-advise-{}", getpid())).string();
  }
  CalibrationTextOptions calibration = args.calibration;
  calibration.seed = args.model.seed;
  CandidateMaker maker(args.model, calibration, args.checkpoints.empty() ? temporary.path : args.checkpoints);
  for (auto& entry : list) {
    OCTET_ASSIGN_OR_RETURN(const ModelArgs load, maker.prepare(entry.candidate));
    entry.load = with_kv(load, entry.kv);
  }
  QualityText text;
  OCTET_RETURN_IF_ERROR(measure_qualities(args, list, advice, text));
  for (const auto& entry : list) {
    OCTET_RETURN_IF_ERROR(measure_speed(args, entry.candidate.name, *entry.load, entry.quality, advice)
                              .with_context(entry.candidate.name));
  }
  OCTET_RETURN_IF_ERROR(time_again(advice));
  if (advice.variants.empty()) return resource_exhausted("no scheme fits: " + advice.left_out.front());
  advice.ranked = rank(advice.variants, advice.workload, advice.requirements);
  if (!args.recipe.empty() && !text.tokens.empty()) {
    OCTET_RETURN_IF_ERROR(add_plan_by_layer(args, text, advice).with_context("plan by layer"));
    advice.ranked = rank(advice.variants, advice.workload, advice.requirements);
  }
  if (!advice.found()) return advice;
  advice.what_if = what_if(advice.variants, advice.workload, advice.requirements, advice.best().variant);
  OCTET_RETURN_IF_ERROR(check_advice(args, advice));
  return advice;
}

}  // namespace octet
