#include "eval/statistics.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "base/check.h"

namespace octet {
namespace {

// P(X <= k) for X ~ Binomial(n, 1/2)
double binomial_half_cdf(int64_t n, int64_t k) {
  const auto size = static_cast<double>(n);
  double total = 0;
  for (int64_t i = 0; i <= k; ++i) {
    const auto x = static_cast<double>(i);
    total += std::exp(std::lgamma(size + 1) - std::lgamma(x + 1) - std::lgamma(size - x + 1) -
                      size * std::log(2.0));
  }
  return total;
}

}  // namespace

nlohmann::ordered_json to_json(const Estimate& estimate) {
  return {{"value", estimate.value}, {"error", estimate.error}};
}

Estimate estimate_from_sums(double sum, double sum_of_squares, int64_t n) {
  if (n == 0) return {};
  const auto size = static_cast<double>(n);
  const double mean = sum / size;
  if (n == 1) return {mean, 0};
  const double variance = std::max(0.0, (sum_of_squares - sum * mean) / (size - 1));
  return {mean, std::sqrt(variance / size)};
}

Estimate mean_of(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = values.empty() ? 0 : sum / static_cast<double>(values.size());
  for (const double v : values) squares += (v - mean) * (v - mean);
  Estimate spread = estimate_from_sums(0, squares, static_cast<int64_t>(values.size()));
  return {mean, spread.error};
}

double percentile(const std::vector<double>& sorted, double share) {
  OCTET_CHECK(!sorted.empty() && share >= 0 && share <= 1);
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

PairedDifference paired_difference(const std::vector<uint8_t>& model_right,
                                   const std::vector<uint8_t>& baseline_right) {
  OCTET_CHECK(model_right.size() == baseline_right.size());
  PairedDifference paired;
  paired.n = static_cast<int64_t>(model_right.size());
  if (paired.n == 0) return paired;
  for (size_t i = 0; i < model_right.size(); ++i) {
    paired.only_model += model_right[i] != 0 && baseline_right[i] == 0 ? 1 : 0;
    paired.only_baseline += model_right[i] == 0 && baseline_right[i] != 0 ? 1 : 0;
  }
  const int64_t split = paired.only_model + paired.only_baseline;
  const auto sum = static_cast<double>(paired.only_model - paired.only_baseline);
  const Estimate estimate = estimate_from_sums(sum, static_cast<double>(split), paired.n);
  paired.difference = estimate.value;
  paired.error = estimate.error;
  paired.p_value =
      std::min(1.0, 2 * binomial_half_cdf(split, std::min(paired.only_model, paired.only_baseline)));
  return paired;
}

nlohmann::ordered_json to_json(const PairedDifference& paired) {
  return {{"difference", paired.difference},
          {"error", paired.error},
          {"only_model_right", paired.only_model},
          {"only_baseline_right", paired.only_baseline},
          {"mcnemar_p_value", paired.p_value}};
}

}  // namespace octet
