// How far a model's next-token distributions are from a baseline's, token by token on the same text: the two
// run side by side, step by step, so nothing but a step's logits is ever kept. The quantities are those that
// llama.cpp's users know.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "eval/perplexity.h"

namespace octet {

struct DivergenceResult {
  PerplexityResult perplexity;  // of the model, with baseline and ratio
  Estimate kl;                  // KL(baseline || model) in nats
  struct Percentile {
    double share, value;
  };
  std::vector<Percentile> kl_percentiles;  // 0 (the least) to 1 (the largest)
  Estimate top1;                           // share of tokens where both find the same token most likely
  // The model's probability of the text's next token less the baseline's: mean, and root mean square.
  Estimate probability_change;
  double probability_change_rms = 0;
};

Result<DivergenceResult> measure_divergence(Model& model, Model& baseline, const std::vector<int32_t>& text,
                                            const WindowOptions& options, int32_t bos_id, const UnitRun& run,
                                            Journal& journal);

nlohmann::ordered_json to_json(const DivergenceResult& result);

}  // namespace octet
