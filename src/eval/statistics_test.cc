#include "eval/statistics.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

TEST(Statistics, MeanAndItsError) {
  // 1 2 3 4: variance 5/3, error sqrt(5/12)
  const Estimate e = mean_of({1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(e.value, 2.5);
  EXPECT_NEAR(e.error, 0.6454972244, 1e-9);
  const Estimate sums = estimate_from_sums(10, 30, 4);
  EXPECT_DOUBLE_EQ(sums.value, 2.5);
  EXPECT_NEAR(sums.error, 0.6454972244, 1e-9);
  EXPECT_EQ(mean_of({7}).error, 0);
  EXPECT_EQ(mean_of({}).value, 0);
}

TEST(Statistics, AShareIsAMeanOfZerosAndOnes) {
  // 30 of 100: sqrt(0.3 * 0.7 / 99)
  EXPECT_NEAR(estimate_from_sums(30, 30, 100).error, 0.0460566186, 1e-9);
}

TEST(Statistics, PercentilesAreLinearBetweenNeighbours) {
  const std::vector<double> sorted = {10, 20, 30, 50};
  EXPECT_DOUBLE_EQ(percentile(sorted, 0), 10);
  EXPECT_DOUBLE_EQ(percentile(sorted, 0.5), 25);
  EXPECT_DOUBLE_EQ(percentile(sorted, 0.9), 44);
  EXPECT_DOUBLE_EQ(percentile(sorted, 1), 50);
  EXPECT_DOUBLE_EQ(percentile({3}, 0.99), 3);
}

TEST(Statistics, McNemarCountsOnlyWhereOneIsRight) {
  // Both right twice, both wrong once, only the model right once, only the baseline six times.
  const std::vector<uint8_t> model = {1, 1, 0, 1, 0, 0, 0, 0, 0, 0},
                             baseline = {1, 1, 0, 0, 1, 1, 1, 1, 1, 1};
  const PairedDifference d = paired_difference(model, baseline);
  EXPECT_EQ(d.only_model, 1);
  EXPECT_EQ(d.only_baseline, 6);
  EXPECT_DOUBLE_EQ(d.difference, -0.5);
  // Two-sided: 2 * (C(7,0) + C(7,1)) / 2^7
  EXPECT_NEAR(d.p_value, 2 * 8.0 / 128, 1e-12);
  // Differences: one +1, six -1, three 0; variance (7 - 10 * 0.25) / 9
  EXPECT_NEAR(d.error, std::sqrt(4.5 / 9 / 10), 1e-12);
}

TEST(Statistics, McNemarOfEqualModelsIsOne) {
  EXPECT_DOUBLE_EQ(paired_difference({1, 0}, {1, 0}).p_value, 1);
  EXPECT_DOUBLE_EQ(paired_difference({1, 0}, {0, 1}).p_value, 1);
  EXPECT_EQ(paired_difference({}, {}).n, 0);
}

TEST(Statistics, McNemarOfManyQuestionsIsFinite) {
  std::vector<uint8_t> model(14042, 0), baseline(14042, 0);
  for (size_t i = 0; i < 1500; ++i) (i % 2 == 0 ? model : baseline)[i] = 1;
  const double even = paired_difference(model, baseline).p_value;
  EXPECT_GT(even, 0.97);
  for (size_t i = 2000; i < 2200; ++i) model[i] = 1;
  EXPECT_LT(paired_difference(model, baseline).p_value, 1e-5);
}

}  // namespace
}  // namespace octet
