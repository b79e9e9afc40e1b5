#include <gtest/gtest.h>

#include "advise/choice.h"
#include "advise/measure_steps.h"

namespace octet {
namespace {

TEST(QualityBound, ReadsWhatTheHelpShows) {
  const auto bounds = parse_quality("kl<0.02,ppl<1%,top1>95%");
  ASSERT_TRUE(bounds.ok()) << bounds.status().message();
  ASSERT_EQ(bounds->size(), 3u);
  const QualityFigures figures{0.01, 0.02, 0.96};
  EXPECT_DOUBLE_EQ((*bounds)[0].used(figures), 0.5);
  EXPECT_DOUBLE_EQ((*bounds)[1].used(figures), 2.0);
  EXPECT_NEAR((*bounds)[2].used(figures), 0.8, 1e-9);
  EXPECT_DOUBLE_EQ(quality_used(*bounds, figures), 2.0);
  EXPECT_EQ(describe((*bounds)[1], figures), "ppl +2.00%");
  EXPECT_TRUE(parse_quality("")->empty());
}

TEST(QualityBound, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"kl", "no < or >"},    {"kl<", "no number"},    {"kl<x", "no number"}, {"kl>0.1", "lower"},
      {"top1<0.9", "higher"}, {"mmlu>0.5", "'mmlu'"},  {"kl<-1", "above 0"},  {"kl<nan", "above 0"},
      {"top1>100%", "100%"},  {"ppl<1.01", "percent"}, {"kl<2%", "nats"},     {"kl<0.1,", "no < or >"},
  };
  for (const auto& [text, expected] : cases) {
    const auto bounds = parse_quality(text);
    ASSERT_FALSE(bounds.ok()) << text;
    EXPECT_NE(bounds.status().message().find(expected), std::string::npos) << bounds.status().message();
  }
}

StepShape decode(int32_t batch, int32_t context) {
  StepShape shape;
  for (int32_t i = 0; i < batch; ++i) shape.add(context, 1);
  shape.rows = batch;
  return shape;
}

StepShape prefill(int32_t n) {
  StepShape shape;
  shape.add(0, n);
  shape.rows = 1;
  return shape;
}

// A machine whose weights take `weights` seconds to read and a token `token` to compute.
double machine(const StepShape& s, double weights, double token) {
  return std::max(weights, token * s.tokens) + 2e-5 * s.rows + 1e-8 * s.decode_keys + 3e-9 * s.prefill_keys;
}

std::vector<StepPoint> timed(double weights, double token) {
  std::vector<StepPoint> points;
  std::vector<StepShape> shapes;
  for (const int32_t batch : {1, 2, 4, 8, 16}) {
    for (const int32_t context : {16, 500}) shapes.push_back(decode(batch, context));
  }
  for (const int32_t n : {8, 16, 64, 256, 512}) shapes.push_back(prefill(n));
  for (const auto& shape : shapes) points.push_back({shape, machine(shape, weights, token)});
  return points;
}

TEST(StepModel, FindsTheTimesOfAMachineWithARoof) {
  const auto model = StepModel::fit(timed(4e-3, 1e-4));
  ASSERT_TRUE(model.ok());
  EXPECT_LT(model->mean_error(), 0.02);
  for (const auto& shape : {decode(3, 200), decode(12, 100), prefill(300), prefill(400)}) {
    EXPECT_NEAR(model->seconds(shape) / machine(shape, 4e-3, 1e-4), 1, 0.08) << shape.tokens;
  }
  EXPECT_FALSE(StepModel::fit({}).ok());
}

TEST(StepModel, NoiseGivesNoNegativeTimes) {
  auto points = timed(4e-3, 1e-4);
  for (size_t i = 0; i < points.size(); ++i) points[i].seconds *= i % 3 == 0 ? 1.4 : 0.8;
  const auto model = StepModel::fit(points);
  ASSERT_TRUE(model.ok());
  for (int32_t n = 1; n < 4000; n *= 2) {
    EXPECT_GT(model->seconds(prefill(n)), 0);
    EXPECT_LE(model->seconds(decode(n, 10)), model->seconds(decode(n, 1000)));
  }
}

// One request has no one to wait for: its times are sums of steps.
TEST(Predict, OneRequestIsTheSumOfItsSteps) {
  const auto model = StepModel::fit(timed(4e-3, 1e-4));
  ThroughputOptions one{.input_len = 256, .output_len = 8, .requests = 1};
  const auto served = predict_throughput(*model, {64, 16, 4, 512}, one);
  ASSERT_TRUE(served.ok());
  double decodes = 0;
  for (int32_t i = 0; i < 7; ++i) decodes += model->seconds(decode(1, 256 + i));
  EXPECT_NEAR(served->ttft_ms.mean, 1e3 * model->seconds(prefill(256)), 1e-6);
  EXPECT_NEAR(served->tpot_ms.mean, 1e3 * decodes / 7, 1e-6);
  EXPECT_EQ(served->output_tokens, 8);
  EXPECT_FALSE(predict_throughput(*model, {10, 16, 4, 512}, one).ok()) << "longer than the cache";
}

TEST(Predict, BatchesArrivalsAndSmallCaches) {
  const auto model = StepModel::fit(timed(4e-3, 1e-4));
  const ThroughputOptions all{.input_len = 64, .output_len = 64, .requests = 16};
  const auto together = *predict_throughput(*model, {256, 16, 16, 512}, all);
  const auto by_fours = *predict_throughput(*model, {256, 16, 4, 512}, all);
  const auto squeezed = *predict_throughput(*model, {16, 16, 16, 512}, all);
  EXPECT_GT(together.output_tok_s, 1.5 * by_fours.output_tok_s);
  EXPECT_GT(together.output_tok_s, 1.5 * squeezed.output_tok_s);
  ThroughputOptions slow = all;
  slow.rate = 0.1;  // nobody meets anybody
  const auto alone = *predict_throughput(*model, {256, 16, 16, 512}, slow);
  EXPECT_NEAR(alone.ttft_ms.p50, 1e3 * model->seconds(prefill(64)), 1e-6);
  EXPECT_GT(alone.seconds, arrival_seconds(slow).back());
}

// A step is planned when 7/10 of the one before it are over: who comes after that waits for one more.
TEST(Predict, WhatIsPlannedAheadIsMissed) {
  const auto model = StepModel::fit(timed(4e-3, 1e-4));
  const double first = model->seconds(prefill(64)), step = model->seconds(decode(1, 66));
  const auto ttft_of_second = [&](double steps, bool runs_ahead) {
    ThroughputOptions two{.input_len = 64, .output_len = 64, .requests = 2};
    two.arrivals = {0, first + steps * step};
    return 2e-3 * predict_throughput(*model, {64, 16, 4, 512, runs_ahead}, two)->ttft_ms.mean - first;
  };
  const double error = 0.02 * step;  // decodes get longer with their contexts
  EXPECT_NEAR(ttft_of_second(1.8, true) - ttft_of_second(1.5, true), 0.7 * step, error);
  EXPECT_NEAR(ttft_of_second(1.8, false) - ttft_of_second(1.5, false), -0.3 * step, error);
  EXPECT_NEAR(ttft_of_second(1.5, true), ttft_of_second(1.5, false), error);
}

Variant variant(const std::string& scheme, double weights, double token, double kl, int64_t weight_bytes) {
  Variant v;
  v.scheme = scheme;
  v.kv = "bf16";
  v.quality = QualityFigures{kl, 0, 1};
  v.memory.weights = weight_bytes;
  v.memory.page_size = 16;
  v.memory.kv_bytes_per_token = 1000;
  v.max_step_tokens = 512;
  v.points = timed(weights, token);
  v.step = *StepModel::fit(v.points);
  return v;
}

class ChoiceTest : public testing::Test {
 protected:
  // 16 bits: exact and slow; "light": fast where weights are read, slow in products; "quick": fast, coarse.
  std::vector<Variant> variants_ = {variant("bf16", 8e-3, 2e-4, 0, 16 << 20),
                                    variant("light", 3e-3, 3e-4, 0.01, 6 << 20),
                                    variant("quick", 4e-3, 1e-4, 0.05, 8 << 20)};
  ServedWorkload workload_{{.input_len = 16, .output_len = 100, .requests = 8}, 8};
  std::string best(const Requirements& requirements) {
    const auto ranked = rank(variants_, workload_, requirements);
    return ranked[0].why_not.empty() ? variants_[ranked[0].variant].scheme : "none";
  }
};

TEST_F(ChoiceTest, TheFastestWithinTheBounds) {
  EXPECT_EQ(best({}), "light");
  EXPECT_EQ(best({.bounds = *parse_quality("kl<0.005")}), "bf16");
  EXPECT_EQ(best({.memory = 7 << 20}), "light");
  EXPECT_EQ(best({.memory = 5 << 20}), "none");
  EXPECT_EQ(best({.ttft_ms = 0.5}), "none");
  workload_.requests = {.input_len = 500, .output_len = 2, .requests = 8};
  EXPECT_EQ(best({}), "quick");
  EXPECT_EQ(best({.bounds = *parse_quality("kl<0.02")}), "bf16");
}

TEST_F(ChoiceTest, SaysWhatWouldChangeTheAnswer) {
  workload_.requests = {.input_len = 400, .output_len = 20, .requests = 8};
  const Requirements bounded{.bounds = *parse_quality("kl<0.02")};
  const auto ranked = rank(variants_, workload_, bounded);
  ASSERT_EQ(variants_[ranked[0].variant].scheme, "bf16");
  EXPECT_EQ(ranked.back().why_not, "kl 0.05, not kl<0.02");
  const auto changes = what_if(variants_, workload_, bounded, ranked[0].variant);
  bool looser = false, shorter = false;
  for (const auto& change : changes.changes) {
    looser = looser || (change.when.find("kl 0.05") != std::string::npos && change.what == "quick, KV bf16");
    shorter = shorter || change.when == "prompts of 100 tokens";
    EXPECT_GT(change.gain, 0) << change.when;
  }
  EXPECT_TRUE(looser);
  EXPECT_EQ(shorter, [&] {
    auto other = workload_;
    other.requests.input_len = 100;
    return rank(variants_, other, bounded)[0].variant != ranked[0].variant;
  }());
}

TEST(MeasureSteps, RoundsAreJoinedAndComparedByShape) {
  const std::vector<StepPoint> first = {{decode(1, 16), 1}, {decode(2, 16), 2}, {prefill(8), 4}};
  std::vector<StepPoint> second = first;
  second[1].seconds = 4;
  EXPECT_EQ(mean_of_rounds(first, second)[1].seconds, 3);
  EXPECT_EQ(mean_of_rounds(first, second)[2].seconds, 4);
  EXPECT_EQ(time_ratio(first, second), 1);  // one step that was held up is not the machine
  for (StepPoint& point : second) point.seconds *= 1.5;
  EXPECT_EQ(time_ratio(first, second), 1.5);
  EXPECT_EQ(time_ratio(first, {{prefill(8), 2}, {prefill(99), 9}}), 0.5);
  EXPECT_EQ(time_ratio(first, {{prefill(99), 9}}), 1);
}

}  // namespace
}  // namespace octet
