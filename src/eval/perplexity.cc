#include "eval/perplexity.h"

#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "eval/forced_sampling.h"

namespace octet {
namespace {

using nlohmann::json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Sums {
  double sum = 0, squares = 0;
  void add(double v) {
    sum += v;
    squares += v * v;
  }
  void add(const json& pair) {
    sum += pair.at(0).get<double>();
    squares += pair.at(1).get<double>();
  }
  json to_json() const { return {sum, squares}; }
};

Result<json> score_window(Model& model, Model* baseline, const WindowTokens& window) {
  const StepLimits limits =
      baseline != nullptr ? lesser(step_limits(model), step_limits(*baseline)) : step_limits(model);
  const auto start = std::chrono::steady_clock::now();
  OCTET_ASSIGN_OR_RETURN(const auto ours, window_logprobs(model, window, limits));
  json result = {{"tokens", ours.size()}, {"seconds", seconds_since(start)}};
  Sums nll;
  for (const float logprob : ours) nll.add(-logprob);
  result["nll"] = nll.to_json();
  if (baseline == nullptr) return result;
  OCTET_ASSIGN_OR_RETURN(const auto theirs, window_logprobs(*baseline, window, limits));
  Sums base, difference;
  for (size_t i = 0; i < ours.size(); ++i) {
    base.add(-theirs[i]);
    difference.add(static_cast<double>(theirs[i]) - ours[i]);
  }
  result["baseline_nll"] = base.to_json();
  result["difference"] = difference.to_json();
  return result;
}

}  // namespace

Estimate perplexity_of(const Estimate& nll) {
  const double perplexity = std::exp(nll.value);
  return {perplexity, perplexity * nll.error};
}

std::vector<Unit> window_units(const std::vector<Window>& windows) {
  std::vector<Unit> units;
  for (size_t i = 0; i < windows.size(); ++i)
    units.push_back({fmt::format("window {}", i), windows[i].n_scored()});
  return units;
}

Status check_pair(const Model& model, const Model& baseline) {
  if (model.config().vocab_size != baseline.config().vocab_size) {
    return invalid_argument(fmt::format(
        "the baseline has a vocabulary of {} tokens, the model one of {}: they cannot be compared",
        baseline.config().vocab_size, model.config().vocab_size));
  }
  if (model.cache().page_size != baseline.cache().page_size) {
    return internal_error("model and baseline have different page sizes");
  }
  return {};
}

Result<std::vector<float>> window_logprobs(Model& model, const WindowTokens& window,
                                           const StepLimits& limits) {
  std::vector<float> logprobs;
  SamplingBatch sampling;
  std::vector<SampledToken> sampled(static_cast<size_t>(limits.max_rows));
  OCTET_RETURN_IF_ERROR(
      for_each_step(window, limits, [&](const ForwardBatch& batch, int32_t first_target) -> Status {
        const View logits = model.forward(batch);
        if (first_target < 0) return {};
        sampling.rows.clear();
        sampling.biases.clear();
        for (int32_t i = 0; i < batch.n_logits(); ++i) {
          add_forced_row(sampling, window.ids[static_cast<size_t>(first_target + i)]);
        }
        model.ops().sample(logits, sampling, sampled.data());
        OCTET_RETURN_IF_ERROR(model.ops().synchronize());
        for (int32_t i = 0; i < batch.n_logits(); ++i) {
          const SampledToken& token = sampled[static_cast<size_t>(i)];
          OCTET_RETURN_IF_ERROR(check_forced(token));
          logprobs.push_back(token.logprob);
        }
        return {};
      }));
  return logprobs;
}

Result<PerplexityResult> measure_perplexity(Model& model, Model* baseline, const std::vector<int32_t>& text,
                                            const WindowOptions& options, int32_t bos_id, const UnitRun& run,
                                            Journal& journal) {
  if (baseline != nullptr) OCTET_RETURN_IF_ERROR(check_pair(model, *baseline));
  OCTET_ASSIGN_OR_RETURN(const auto windows, cut_windows(std::ssize(text), options));
  OCTET_ASSIGN_OR_RETURN(const auto units, run_units(window_units(windows), run, journal, [&](size_t i) {
                           return score_window(model, baseline,
                                               window_tokens(text, windows[i], options.bos ? bos_id : -1));
                         }));
  PerplexityResult result;
  Sums nll, base, difference;
  for (const json& unit : units) {
    result.tokens += unit.at("tokens").get<int64_t>();
    result.seconds += unit.at("seconds").get<double>();
    nll.add(unit.at("nll"));
    if (baseline == nullptr) continue;
    base.add(unit.at("baseline_nll"));
    difference.add(unit.at("difference"));
  }
  const auto estimate = [&](const Sums& sums) {
    return estimate_from_sums(sums.sum, sums.squares, result.tokens);
  };
  result.windows = std::ssize(windows);
  result.nll = estimate(nll);
  result.perplexity = perplexity_of(result.nll);
  if (baseline != nullptr) {
    result.baseline_perplexity = perplexity_of(estimate(base));
    result.ratio = perplexity_of(estimate(difference));
  }
  return result;
}

nlohmann::ordered_json to_json(const PerplexityResult& r) {
  nlohmann::ordered_json out = {{"perplexity", r.perplexity.value},
                                {"perplexity_error", r.perplexity.error},
                                {"nll", r.nll.value},
                                {"nll_error", r.nll.error},
                                {"windows", r.windows},
                                {"tokens", r.tokens},
                                {"seconds", r.seconds}};
  if (r.ratio.has_value()) {
    out["baseline_perplexity"] = r.baseline_perplexity->value;
    out["baseline_perplexity_error"] = r.baseline_perplexity->error;
    out["ratio"] = r.ratio->value;
    out["ratio_error"] = r.ratio->error;
  }
  return out;
}

}  // namespace octet
