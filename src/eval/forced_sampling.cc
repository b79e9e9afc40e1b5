#include "eval/forced_sampling.h"

#include <cmath>

namespace octet {
namespace {

constexpr float kForce = 1e30f;  // finite, so that a NaN stays one

}  // namespace

void add_forced_row(SamplingBatch& sampling, int32_t token) {
  SamplingRow row;
  row.n_logprobs = 0;
  row.bias_begin = static_cast<int32_t>(sampling.biases.size());
  row.bias_end = row.bias_begin + 1;
  sampling.rows.push_back(row);
  sampling.biases.push_back({token, kForce});
}

Status check_forced(const SampledToken& sampled) {
  if (sampled.token >= 0 && std::isfinite(sampled.logprob)) return {};
  return internal_error(
      "the model's logits are not finite numbers: its weights or this scheme overflow on this text");
}

}  // namespace octet
