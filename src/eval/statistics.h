// Means with their standard errors, percentiles, and the paired comparison of two models on the same
// questions.
#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace octet {

struct Estimate {
  double value = 0, error = 0;  // mean, and its standard error (0 where there is one value or none)
};
nlohmann::ordered_json to_json(const Estimate& estimate);

// From the sum and the sum of squares of n values; the sample's variance is over n - 1.
Estimate estimate_from_sums(double sum, double sum_of_squares, int64_t n);
Estimate mean_of(const std::vector<double>& values);

// The value at `share` (0 to 1) of the sorted list, linear between neighbours (NumPy's default rule).
double percentile(const std::vector<double>& sorted, double share);

// Two models on the same questions. What counts is where exactly one of them is right.
struct PairedDifference {
  int64_t n = 0, only_baseline = 0, only_model = 0;  // right
  double difference = 0, error = 0;                  // of the two accuracies: model - baseline
  double p_value = 1;  // McNemar's exact test, two-sided: the odds of a split at least as uneven by chance
};
PairedDifference paired_difference(const std::vector<uint8_t>& model_right,
                                   const std::vector<uint8_t>& baseline_right);
nlohmann::ordered_json to_json(const PairedDifference& paired);

}  // namespace octet
