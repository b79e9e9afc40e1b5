#include "eval/logit_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace octet {
namespace {

std::vector<float> random_row(size_t n, float spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(3, spread);
  std::vector<float> row(n);
  for (float& v : row) v = normal(random);
  return row;
}

double log_sum_exp(const std::vector<float>& row) {
  const double max = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float v : row) sum += std::exp(v - max);
  return max + std::log(sum);
}

TEST(LogitRows, SummaryIsThatOfDoubles) {
  for (const size_t n : {1, 2, 3, 7, 8, 9, 31, 500, 1023, 1025, 49152}) {
    for (const float spread : {0.0f, 0.1f, 3.0f, 40.0f}) {
      const auto row = random_row(n, spread, n);
      const LogitSummary summary = summarize_logits(row.data(), static_cast<int64_t>(n));
      const auto best = std::max_element(row.begin(), row.end());
      EXPECT_EQ(summary.argmax, best - row.begin());
      EXPECT_EQ(summary.max, *best);
      EXPECT_NEAR(summary.log_sum_exp, log_sum_exp(row), 1e-6 * (1 + std::abs(summary.log_sum_exp)))
          << n << " " << spread;
    }
  }
}

TEST(LogitRows, EveryInstructionSetGivesTheSame) {
  if (&logit_kernels() == &kLogitKernelsGeneric) GTEST_SKIP() << "this CPU has no AVX2";
  for (const size_t n : {1, 5, 9, 777, 5000}) {
    const auto p = random_row(n, 2, n), q = random_row(n, 2, n + 1);
    const auto size = static_cast<int64_t>(n);
    const auto &a = kLogitKernelsGeneric, &b = kLogitKernelsAvx2;
    EXPECT_EQ(a.max(p.data(), size), b.max(p.data(), size));
    const float max = a.max(p.data(), size);
    EXPECT_NEAR(a.sum_exp(p.data(), max, size) / b.sum_exp(p.data(), max, size), 1, 1e-6);
    EXPECT_NEAR(a.weighted_difference(p.data(), max, q.data(), max, size),
                b.weighted_difference(p.data(), max, q.data(), max, size), 1e-4);
  }
}

TEST(LogitRows, DivergenceIsThatOfDoubles) {
  for (const size_t n : {2, 5, 64, 512, 49152}) {
    for (const float noise : {0.001f, 0.1f, 1.0f, 10.0f}) {
      const auto p = random_row(n, 3, n);
      auto q = random_row(n, noise, 99);
      for (size_t i = 0; i < n; ++i) q[i] += p[i];
      const double zp = log_sum_exp(p), zq = log_sum_exp(q);
      double expected = 0;
      for (size_t i = 0; i < n; ++i) expected += std::exp(p[i] - zp) * ((p[i] - zp) - (q[i] - zq));
      const auto size = static_cast<int64_t>(n);
      const double kl = kl_divergence(p.data(), summarize_logits(p.data(), size), q.data(),
                                      summarize_logits(q.data(), size), size);
      EXPECT_NEAR(kl, expected, 2e-6 + 1e-5 * expected) << n << " " << noise;
    }
  }
}

TEST(LogitRows, DivergenceByHand) {
  // p = (1/2, 1/2), q = (1/4, 3/4): 1/2 ln 2 + 1/2 ln(2/3)
  const float p[] = {0, 0}, q[] = {0, std::log(3.0f)};
  EXPECT_NEAR(kl_divergence(p, summarize_logits(p, 2), q, summarize_logits(q, 2), 2), 0.143841036, 1e-7);
  EXPECT_EQ(kl_divergence(p, summarize_logits(p, 2), p, summarize_logits(p, 2), 2), 0);
}

TEST(LogitRows, WhatIsNotFiniteShows) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const size_t place : {0, 5, 36}) {
      auto row = random_row(37, 1, 1);
      row[place] = bad;
      EXPECT_FALSE(std::isfinite(summarize_logits(row.data(), 37).log_sum_exp)) << bad << " at " << place;
    }
  }
  auto row = random_row(37, 1, 1);
  row[3] = -std::numeric_limits<float>::infinity();  // a token that cannot come is no mistake
  EXPECT_TRUE(std::isfinite(summarize_logits(row.data(), 37).log_sum_exp));
}

}  // namespace
}  // namespace octet
