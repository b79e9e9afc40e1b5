#include "report/limits.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

// Llama-3.1-8B.
const ModelShape kShape{6.979e9, 0.5253e9, 65536, 131072};

// Figures computed before, step by step, by another program.
struct Known {
  const char* scheme;
  int32_t input_len, output_len, max_batch;
  double kv_bytes, output_tok_s;
};
constexpr Known kKnown[] = {
    {"bf16", 2048, 128, 1, 2, 187},           {"bf16", 2048, 128, 64, 2, 2149},
    {"bf16", 2048, 128, 256, 2, 2427},        {"fp8", 2048, 128, 16, 2, 2316},
    {"fp8-static", 2048, 128, 256, 1, 4327},  {"int8", 2048, 128, 64, 2, 3475},
    {"int8-minmax", 2048, 128, 256, 1, 4744}, {"bf16", 128, 2048, 16, 2, 2764},
    {"bf16", 128, 2048, 256, 2, 14180},       {"fp8", 128, 2048, 1, 2, 369},
    {"fp8", 128, 2048, 256, 2, 16121},        {"fp8", 128, 2048, 64, 1, 14886},
    {"int8", 128, 2048, 256, 1, 27823},       {"bf16", 128, 128, 64, 2, 9641},
    {"int8", 128, 128, 256, 2, 36211},        {"fp8", 128, 128, 256, 1, 38953},
};

TEST(Limits, AreThoseOfAnotherProgram) {
  const DeviceRates rates{
      .memory_bytes_s = 3.02e12, .half_flop_s = 780e12, .int8_flop_s = 1579e12, .fp8_flop_s = 1375e12};
  for (const Known& k : kKnown) {
    const auto cost = scheme_cost(k.scheme, rates);
    ASSERT_TRUE(cost.has_value()) << k.scheme;
    const double limit =
        limit_output_tok_s(kShape, rates, *cost, {k.input_len, k.output_len, k.max_batch, k.kv_bytes});
    EXPECT_NEAR(limit / k.output_tok_s, 1, 0.02)
        << k.scheme << " " << k.input_len << "/" << k.output_len << " batch " << k.max_batch << ": " << limit;
  }
}

TEST(Limits, FollowWhatAStepReads) {
  const DeviceRates rates{1e12, 1e15, 1e15, 0};
  const ModelShape shape{1e9, 1e8, 0, 0};
  const SchemeCost half = *scheme_cost("bf16", rates), int8 = *scheme_cost("int8", rates);
  // One token in, many out, no cache: the weights alone, (1e9 + 1e8) * 2 bytes a step.
  EXPECT_NEAR(limit_output_tok_s(shape, rates, half, {1, 1000, 1}), 1e12 / 2.2e9, 1);
  EXPECT_NEAR(limit_output_tok_s(shape, rates, int8, {1, 1000, 1}), 1e12 / 1.2e9, 1);
  EXPECT_NEAR(limit_output_tok_s(shape, rates, int8, {1, 1000, 1, 2, true}), 1e12 / 1.1e9, 1);
}

TEST(Limits, OfWhatIsNotKnownThereAreNone) {
  EXPECT_FALSE(known_rates("AMD EPYC, 2 threads, avx512").has_value());
  const DeviceRates rates{1e12, 1e15, 1e15, 0};  // no fp8
  EXPECT_FALSE(scheme_cost("fp8", rates).has_value());
  EXPECT_FALSE(scheme_cost("mixed", rates).has_value());
  EXPECT_FALSE(scheme_cost("int8", {}).has_value());
  EXPECT_DOUBLE_EQ(scheme_cost("w8a16-fp8", rates)->weight_bytes, 1);
}

}  // namespace
}  // namespace octet
