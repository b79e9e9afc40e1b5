#include "eval/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "eval/logit_rows.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr double kShares[] = {0, 0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1};

// What is kept of a token.
struct TokenPair {
  double nll = 0, baseline_nll = 0, kl = 0;
  bool same_top = false;
};

// A model's logits of a step in memory that the host may read.
class HostLogits {
 public:
  Status take(Model& model, const View& logits) {
    cols_ = logits.cols;
    data_.resize(static_cast<size_t>(logits.rows * cols_));
    model.ops().download(data_.data(), logits.data, data_.size() * sizeof(float));
    return model.ops().synchronize();  // says where the device failed
  }
  const float* row(int64_t i) const { return data_.data() + i * cols_; }  // [vocab]
  int64_t cols() const { return cols_; }

 private:
  std::vector<float> data_;  // [rows, vocab]
  int64_t cols_ = 0;
};

TokenPair compare_rows(const float* model, const float* baseline, int64_t n, int32_t target) {
  const LogitSummary ours = summarize_logits(model, n), theirs = summarize_logits(baseline, n);
  return {-ours.log_prob(model[target]), -theirs.log_prob(baseline[target]),
          kl_divergence(baseline, theirs, model, ours, n), ours.argmax == theirs.argmax};
}

class SideBySide {
 public:
  SideBySide(Model& model, Model& baseline)
      : model_(model),
        baseline_(baseline),
        limits_(lesser(step_limits(model), step_limits(baseline))),
        pool_(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))) {}

  Result<std::vector<TokenPair>> compare(const WindowTokens& window) {
    std::vector<TokenPair> pairs;
    OCTET_RETURN_IF_ERROR(
        for_each_step(window, limits_, [&](const ForwardBatch& batch, int32_t first_target) -> Status {
          const auto start = std::chrono::steady_clock::now();
          const View logits = model_.forward(batch);
          if (first_target >= 0) OCTET_RETURN_IF_ERROR(ours_.take(model_, logits));
          seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
          const View baseline_logits = baseline_.forward(batch);
          if (first_target < 0) return {};
          OCTET_RETURN_IF_ERROR(theirs_.take(baseline_, baseline_logits));
          const size_t first = pairs.size();
          pairs.resize(first + static_cast<size_t>(batch.n_logits()));
          pool_.parallel_for(batch.n_logits(), 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
              pairs[first + static_cast<size_t>(i)] =
                  compare_rows(ours_.row(i), theirs_.row(i), ours_.cols(),
                               window.ids[static_cast<size_t>(first_target + i)]);
            }
          });
          for (size_t i = first; i < pairs.size(); ++i) {
            if (std::isfinite(pairs[i].kl + pairs[i].nll + pairs[i].baseline_nll)) continue;
            return internal_error("logits are not finite numbers: the weights of " +
                                  std::string(std::isfinite(pairs[i].nll) ? "the baseline" : "the model") +
                                  " or its scheme overflow on this text");
          }
          return {};
        }));
    return pairs;
  }

  // In the model (not the baseline), since the last call.
  double take_seconds() { return std::exchange(seconds_, 0.0); }

 private:
  Model& model_;
  Model& baseline_;
  const StepLimits limits_;
  ThreadPool pool_;
  HostLogits ours_, theirs_;
  double seconds_ = 0;
};

json to_unit(const std::vector<TokenPair>& pairs, double seconds) {
  json unit = {
      {"seconds", seconds}, {"nll", json::array()}, {"baseline_nll", json::array()}, {"kl", json::array()}};
  int64_t same = 0;
  for (const TokenPair& pair : pairs) {
    unit["nll"].push_back(static_cast<float>(pair.nll));
    unit["baseline_nll"].push_back(static_cast<float>(pair.baseline_nll));
    unit["kl"].push_back(static_cast<float>(pair.kl));
    same += pair.same_top ? 1 : 0;
  }
  unit["same_top"] = same;
  return unit;
}

DivergenceResult summarize(const std::vector<json>& units) {
  std::vector<double> nll, base, ratio, kl, change;
  double squares = 0;
  int64_t same = 0;
  DivergenceResult result;
  for (const json& unit : units) {
    const auto ours = unit.at("nll").get<std::vector<double>>(),
               theirs = unit.at("baseline_nll").get<std::vector<double>>();
    for (size_t i = 0; i < ours.size(); ++i) {
      nll.push_back(ours[i]);
      base.push_back(theirs[i]);
      ratio.push_back(ours[i] - theirs[i]);
      change.push_back(std::exp(-ours[i]) - std::exp(-theirs[i]));
      squares += change.back() * change.back();
    }
    for (const auto& value : unit.at("kl")) kl.push_back(value.get<double>());
    same += unit.at("same_top").get<int64_t>();
    result.perplexity.seconds += unit.at("seconds").get<double>();
  }
  PerplexityResult& p = result.perplexity;
  p.windows = std::ssize(units);
  p.tokens = std::ssize(nll);
  p.nll = mean_of(nll);
  p.perplexity = perplexity_of(p.nll);
  p.baseline_perplexity = perplexity_of(mean_of(base));
  p.ratio = perplexity_of(mean_of(ratio));
  result.kl = mean_of(kl);
  std::sort(kl.begin(), kl.end());
  for (const double share : kShares) result.kl_percentiles.push_back({share, percentile(kl, share)});
  result.top1 = estimate_from_sums(static_cast<double>(same), static_cast<double>(same), p.tokens);
  result.probability_change = mean_of(change);
  result.probability_change_rms = std::sqrt(squares / static_cast<double>(p.tokens));
  return result;
}

}  // namespace

Result<DivergenceResult> measure_divergence(Model& model, Model& baseline, const std::vector<int32_t>& text,
                                            const WindowOptions& options, int32_t bos_id, const UnitRun& run,
                                            Journal& journal) {
  OCTET_RETURN_IF_ERROR(check_pair(model, baseline));
  OCTET_ASSIGN_OR_RETURN(const auto windows, cut_windows(std::ssize(text), options));
  SideBySide pair(model, baseline);
  OCTET_ASSIGN_OR_RETURN(
      const auto units, run_units(window_units(windows), run, journal, [&](size_t i) -> Result<json> {
        OCTET_ASSIGN_OR_RETURN(const auto tokens,
                               pair.compare(window_tokens(text, windows[i], options.bos ? bos_id : -1)));
        return to_unit(tokens, pair.take_seconds());
      }));
  return summarize(units);
}

nlohmann::ordered_json to_json(const DivergenceResult& r) {
  nlohmann::ordered_json percentiles = nlohmann::ordered_json::array();
  for (const auto& p : r.kl_percentiles) percentiles.push_back({{"share", p.share}, {"kl", p.value}});
  nlohmann::ordered_json out = {{"kl", r.kl.value},
                                {"kl_error", r.kl.error},
                                {"kl_percentiles", percentiles},
                                {"top1", r.top1.value},
                                {"top1_error", r.top1.error},
                                {"probability_change", r.probability_change.value},
                                {"probability_change_error", r.probability_change.error},
                                {"probability_change_rms", r.probability_change_rms}};
  out.update(to_json(r.perplexity));
  return out;
}

}  // namespace octet
