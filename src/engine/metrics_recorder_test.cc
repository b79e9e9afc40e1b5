#include "engine/metrics_recorder.h"

#include <numeric>

#include <gtest/gtest.h>

namespace octet {
namespace {

using std::chrono::milliseconds;
const Clock::time_point kStart = Clock::time_point{} + std::chrono::hours(1);

TEST(Histogram, CountsByUpperBound) {
  Histogram h({1, 2, 4});
  for (const double v : {0.5, 1.0, 1.5, 4.0, 5.0, 100.0}) h.observe(v);
  EXPECT_EQ(h.counts, (std::vector<uint64_t>{2, 1, 1, 2}));  // a bound belongs to its own bucket
  EXPECT_EQ(h.count, 6u);
  EXPECT_DOUBLE_EQ(h.sum, 112);
}

TEST(Histogram, WithoutBoundsCountsAll) {
  Histogram h;
  h.observe(3);
  EXPECT_EQ(h.counts, (std::vector<uint64_t>{1}));
}

TEST(RateWindow, AveragesAndForgets) {
  RateWindow rate;
  for (int i = 0; i < 60; ++i) rate.add(kStart + milliseconds(100 * i), 10);
  const auto end = kStart + milliseconds(5900);
  EXPECT_DOUBLE_EQ(rate.per_second(end), 100);
  EXPECT_LT(rate.per_second(end + milliseconds(2000)), 50);
  EXPECT_EQ(rate.per_second(end + milliseconds(10'000)), 0);
}

class MetricsRecorderTest : public testing::Test {
 protected:
  MetricsRecorderTest() : group_(1, request(), 0) { group_.submitted_at = kStart; }
  static Request request() {
    Request r;
    r.prompt = {1, 2, 3};
    r.n = 2;
    return r;
  }
  void admit(Clock::time_point now) {
    StepPlan plan;
    for (Sequence& s : group_.choices) plan.admitted.push_back(&s);
    recorder_.planned(plan, now);
  }
  void commit(FinishReason finish, Clock::time_point now) {
    std::vector<StepResult> results;
    for (Sequence& s : group_.choices)
      results.push_back({&s, &sampled_, finish, finish == FinishReason::kStop});
    recorder_.committed(results, now - milliseconds(7), now);
  }
  SampledToken sampled_;
  RequestGroup group_;
  MetricsRecorder recorder_;
};

TEST_F(MetricsRecorderTest, MeasuresARequestFromSubmission) {
  admit(kStart + milliseconds(100));
  commit(FinishReason::kNone, kStart + milliseconds(300));
  commit(FinishReason::kNone, kStart + milliseconds(350));
  commit(FinishReason::kStop, kStart + milliseconds(400));
  const EngineMetrics m = recorder_.snapshot(kStart + milliseconds(400));
  EXPECT_EQ(m.steps, 3u);
  EXPECT_EQ(m.prompt_tokens, 3u);  // once a request
  EXPECT_EQ(m.generated_tokens, 6u);
  EXPECT_EQ(m.finished_stop, 2u);
  EXPECT_EQ(m.ttft.count, 2u);
  EXPECT_NEAR(m.ttft.sum, 0.6, 1e-9);
  EXPECT_NEAR(m.queue_time.sum, 0.2, 1e-9);
  EXPECT_NEAR(m.prefill_time.sum, 0.4, 1e-9);
  EXPECT_NEAR(m.decode_time.sum, 0.2, 1e-9);
  EXPECT_NEAR(m.e2e.sum, 0.8, 1e-9);
  EXPECT_EQ(m.inter_token.count, 4u);
  EXPECT_NEAR(m.inter_token.sum, 0.2, 1e-9);
  EXPECT_NEAR(m.step_time.sum, 0.021, 1e-9);
  EXPECT_NEAR(m.output_tokens_per_second, 2, 1e-9);
}

TEST_F(MetricsRecorderTest, CountsAPreemptedSequenceOnce) {
  group_.choices[0].n_cached_prompt = 2;
  group_.choices[0].n_prompt = group_.choices[1].n_prompt = 3;
  admit(kStart);
  StepPlan plan;
  plan.preempted.push_back(&group_.choices[0]);
  recorder_.planned(plan, kStart);
  admit(kStart + milliseconds(50));
  const EngineMetrics m = recorder_.snapshot(kStart);
  EXPECT_EQ(m.preemptions, 1u);
  EXPECT_EQ(m.queue_time.count, 2u);
  EXPECT_EQ(m.prefix_queries, 6u);
  EXPECT_EQ(m.prefix_hits, 2u);
}

TEST_F(MetricsRecorderTest, TellsCompleteTextsFromCancelledOnes) {
  admit(kStart);
  commit(FinishReason::kNone, kStart);
  recorder_.cancelled(group_.choices[0], true, kStart);
  recorder_.cancelled(group_.choices[1], false, kStart);
  const EngineMetrics m = recorder_.snapshot(kStart);
  EXPECT_EQ(m.finished_stop, 1u);
  EXPECT_EQ(m.finished_cancelled, 1u);
  EXPECT_EQ(m.e2e.count, 1u);
}

TEST_F(MetricsRecorderTest, ErrorsAreNoTokens) {
  admit(kStart);
  commit(FinishReason::kError, kStart);
  const EngineMetrics m = recorder_.snapshot(kStart);
  EXPECT_EQ(m.generated_tokens, 0u);
  EXPECT_EQ(m.finished_error, 2u);
  EXPECT_EQ(m.ttft.count, 0u);
}

TEST_F(MetricsRecorderTest, GaugesGiveTheShareOfPages) {
  recorder_.set_gauges(3, 4, 5, 20);
  const EngineMetrics m = recorder_.snapshot(kStart);
  EXPECT_EQ(m.running, 3);
  EXPECT_EQ(m.waiting, 4);
  EXPECT_DOUBLE_EQ(m.kv_usage, 0.25);
}

}  // namespace
}  // namespace octet
