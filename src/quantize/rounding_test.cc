#include "quantize/rounding.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr int64_t kRows = 20, kColumns = 64, kTokens = 300;

std::vector<float> normal(size_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> draw;
  std::vector<float> values(n);
  for (float& v : values) v = draw(generator);
  return values;
}

// Inputs whose channels go together: neighbours share half of what they are.
ObservedRows correlated_rows() {
  ObservedRows rows{QType::kBF16, kTokens, kColumns, {}};
  const auto noise = normal(kTokens * (kColumns + 4), 1);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < kColumns; ++c) {
      float sum = 0;
      for (int64_t i = 0; i < 4; ++i) sum += noise[static_cast<size_t>(t * (kColumns + 4) + c + i)];
      rows.values.push_back(f32_to_bf16(sum * (c == 7 ? 8.0f : 1.0f)));
    }
  }
  return rows;
}

float value_of(const HostLinear& w, int64_t row, int64_t column) {
  const auto groups = group_count(w.scheme.weight, w.k);
  const size_t byte = static_cast<size_t>(row) * code_bytes(w.scheme.weight.type, w.k);
  const float scale = w.scheme.weight.scale == QScale::kTensor
                          ? w.scale[0]
                          : w.scale[static_cast<size_t>(
                                row * groups + (groups > 1 ? column / w.scheme.weight.group_size : 0))];
  switch (w.scheme.weight.type) {
    case QType::kFp8:
      return scale * e4m3_to_f32(w.codes[byte + static_cast<size_t>(column)]);
    case QType::kInt4:
      return scale * static_cast<float>(
                         (w.codes[byte + static_cast<size_t>(column / 2)] >> (column % 2 * 4) & 0xf) - 8);
    default:
      return scale * static_cast<float>(static_cast<int8_t>(w.codes[byte + static_cast<size_t>(column)]));
  }
}

// sum over rows of (w - q) H (w - q)^T
double error(const std::vector<float>& w, const HostLinear& q, const std::vector<float>& h) {
  double sum = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<double> d;
    for (int64_t c = 0; c < kColumns; ++c)
      d.push_back(w[static_cast<size_t>(r * kColumns + c)] - value_of(q, r, c));
    for (size_t i = 0; i < d.size(); ++i) {
      for (size_t j = 0; j < d.size(); ++j) sum += d[i] * h[i * d.size() + j] * d[j];
    }
  }
  return sum;
}

class Rounding : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Ops> ops_ = std::move(make_cpu_ops({1, "generic"})).value();
};

TEST(Gram, IsTheSumOfProducts) {
  const auto ops = std::move(make_cpu_ops({1, "generic"})).value();
  const ObservedRows rows = correlated_rows();
  std::vector<float> s(kColumns, 1.0f);
  s[3] = 2;
  const auto h = gram(*ops, rows, kTokens - 10, s);
  ASSERT_TRUE(h.ok()) << h.status().message();
  std::vector<float> x(kColumns);
  double expected = 0;
  for (int64_t t = 0; t < kTokens - 10; ++t) {
    rows.read(t, x.data());
    expected += static_cast<double>(x[3]) * x[5] / 2;
  }
  EXPECT_NEAR((*h)[3 * kColumns + 5], expected, 1e-4 * std::fabs(expected));
  EXPECT_EQ((*h)[3 * kColumns + 5], (*h)[5 * kColumns + 3]);
}

TEST_P(Rounding, EachStepMakesTheErrorSmaller) {
  const auto scheme = scheme_by_name(GetParam());
  ASSERT_TRUE(scheme.ok());
  const auto h = gram(*ops_, correlated_rows(), kTokens, {});
  ASSERT_TRUE(h.ok());
  std::vector<float> diagonal;
  for (size_t c = 0; c < kColumns; ++c) diagonal.push_back((*h)[c * kColumns + c]);
  const auto w = normal(kRows * kColumns, 2);
  ThreadPool one(1), three(3);
  const Compensation compensation = make_compensation(*h, kColumns, one);
  const HostLinear mse = round_weight(w, kColumns, *scheme, diagonal, nullptr, one);
  const HostLinear gptq = round_weight(w, kColumns, *scheme, diagonal, &compensation, three);
  EXPECT_LT(error(w, gptq, *h), 0.7 * error(w, mse, *h));
  EXPECT_EQ(gptq.codes, round_weight(w, kColumns, *scheme, diagonal, &compensation, one).codes);
  EXPECT_EQ(make_compensation(*h, kColumns, three).factor, compensation.factor);
}

TEST_P(Rounding, WithoutCorrelationEveryColumnIsRoundedToNearest) {
  const auto scheme = scheme_by_name(GetParam());
  ASSERT_TRUE(scheme.ok());
  std::vector<float> h(kColumns * kColumns), diagonal(kColumns);
  for (size_t c = 0; c < kColumns; ++c)
    h[c * kColumns + c] = diagonal[c] = static_cast<float>(c % 5);  // some are 0
  const auto w = normal(kRows * kColumns, 3);
  ThreadPool pool(1);
  const Compensation compensation = make_compensation(h, kColumns, pool);
  EXPECT_EQ(round_weight(w, kColumns, *scheme, diagonal, &compensation, pool).codes,
            round_weight(w, kColumns, *scheme, diagonal, nullptr, pool).codes);
}

INSTANTIATE_TEST_SUITE_P(Schemes, Rounding, testing::Values("int8", "fp8", "fp8-static", "w4a16:32"));

}  // namespace
}  // namespace octet
