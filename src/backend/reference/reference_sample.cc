#include "backend/reference/reference_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/philox.h"
#include "backend/sampling_math.h"

namespace octet::reference {
namespace {

// Token ids by (value descending, id ascending).
std::vector<int32_t> ranking(const std::vector<float>& values) {
  std::vector<int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return ids;
}

void log_probabilities(const std::vector<float>& raw, int32_t n_top, SampledToken& out) {
  const float max = *std::max_element(raw.begin(), raw.end());
  double total = 0;
  for (const float l : raw) total += std::exp(double{l} - max);
  const auto logprob = [&](int32_t token) {
    return static_cast<float>(double{raw[token]} - max - std::log(total));
  };
  out.logprob = logprob(out.token);
  if (n_top == 0) return;
  const auto ranked = ranking(raw);
  out.n_top = std::min(n_top, static_cast<int32_t>(ranked.size()));
  for (int32_t i = 0; i < out.n_top; ++i) {
    out.top_tokens[i] = ranked[i];
    out.top_logprobs[i] = logprob(ranked[i]);
  }
}

int32_t draw(const std::vector<float>& adjusted, const SamplingRow& row) {
  std::vector<float> z(adjusted);
  for (float& v : z) v /= row.temperature;
  std::vector<int32_t> kept = ranking(z);
  const float max = z[kept[0]];
  const auto weight = [&](int32_t id) { return std::exp(double{z[id]} - max); };

  if (row.top_k > 0 && row.top_k < static_cast<int32_t>(kept.size())) {
    const float kth = z[kept[row.top_k - 1]];
    std::erase_if(kept, [&](int32_t id) { return z[id] < kth; });
  }
  if (row.top_p < 1) {
    double total = 0, mass = 0;
    for (const int32_t id : kept) total += weight(id);
    size_t n = 0;
    while (n < kept.size() && (n == 0 || mass < row.top_p * total)) mass += weight(kept[n++]);
    kept.resize(n);
  }
  std::erase_if(kept, [&](int32_t id) { return weight(id) < row.min_p; });

  std::sort(kept.begin(), kept.end());
  double total = 0, running = 0;
  for (const int32_t id : kept) total += weight(id);
  const double target = sampling_uniform(row.seed, row.n_generated) * total;
  for (const int32_t id : kept) {
    running += weight(id);
    if (running > target) return id;
  }
  return kept.back();
}

}  // namespace

void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) {
  for (int64_t r = 0; r < logits.rows; ++r) {
    const SamplingRow& row = sampling.rows[r];
    const std::vector<float> raw(logits.row<const float>(r), logits.row<const float>(r) + logits.cols);
    std::vector<float> adjusted(raw);
    adjust_logits(sampling, row, adjusted.data());
    out[r] = {};
    if (is_broken(raw.data())) continue;
    out[r].token = row.temperature == 0 ? ranking(adjusted)[0] : draw(adjusted, row);
    if (row.n_logprobs >= 0) log_probabilities(raw, std::min(row.n_logprobs, kMaxLogprobs), out[r]);
  }
}

}  // namespace octet::reference
