// Perplexity: exp of the mean negative log-likelihood of a text's tokens, and, beside a baseline, the ratio
// of the two with the error of a paired comparison (both see the same tokens, so most of the noise cancels).
#pragma once

#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "eval/statistics.h"
#include "eval/units.h"
#include "eval/windows.h"

namespace octet {

struct PerplexityResult {
  Estimate perplexity, nll;  // nll in nats a token
  int64_t windows = 0, tokens = 0;
  double seconds = 0;  // in the model; of earlier runs too
  std::optional<Estimate> baseline_perplexity, ratio;
};

// Log-probability of each scored token of a window, in order.
Result<std::vector<float>> window_logprobs(Model& model, const WindowTokens& window,
                                           const StepLimits& limits);

// `baseline` may be null. `bos_id` is used where options.bos says so.
Result<PerplexityResult> measure_perplexity(Model& model, Model* baseline, const std::vector<int32_t>& text,
                                            const WindowOptions& options, int32_t bos_id, const UnitRun& run,
                                            Journal& journal);

nlohmann::ordered_json to_json(const PerplexityResult& result);

// Of an estimate of nats a token.
Estimate perplexity_of(const Estimate& nll);

// One unit a window: "window 0", with the tokens that it scores.
std::vector<Unit> window_units(const std::vector<Window>& windows);

// Both models must have the same vocabulary and page size for a side by side run.
Status check_pair(const Model& model, const Model& baseline);

}  // namespace octet
