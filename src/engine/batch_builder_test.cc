#include "engine/batch_builder.h"

#include <cmath>
#include <memory>

#include <gtest/gtest.h>

namespace octet {
namespace {

using Ints = std::vector<int32_t>;

class BatchBuilderTest : public testing::Test {
 protected:
  BatchBuilderTest() : limits_{4, 16, 16, 32, {0, 1}}, builder_(limits_, 4) {}

  Sequence& add(Ints prompt, Ints output, Ints pages, SamplingParams sampling = {}) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling = std::move(sampling);
    groups_.push_back(std::make_unique<RequestGroup>(groups_.size(), std::move(request), 77));
    Sequence& sequence = groups_.back()->choices[0];
    sequence.start(limits_.max_context, 4);
    for (const int32_t token : output) (void)sequence.accept(token, {}, limits_.max_context);
    sequence.table.pages = std::move(pages);
    return sequence;
  }

  const SchedulerLimits limits_;
  BatchBuilder builder_;
  std::vector<std::unique_ptr<RequestGroup>> groups_;
};

TEST_F(BatchBuilderTest, LaysOutADecodeAndAChunk) {
  StepPlan plan;
  plan.entries = {{&add({10, 11, 12, 13}, {14}, {7, 3}), 4, 1, 0, 0, true},
                  {&add({20, 21, 22, 23, 24, 25, 26, 27, 28}, {}, {5, 2, 9}), 3, 4, 0, 0, false}};
  builder_.build(plan);
  const ForwardBatch& b = builder_.batch();
  EXPECT_EQ(b.token_ids, (Ints{14, 23, 24, 25, 26}));
  EXPECT_EQ(b.positions, (Ints{4, 3, 4, 5, 6}));
  EXPECT_EQ(b.slots, (Ints{3 * 4, 5 * 4 + 3, 2 * 4, 2 * 4 + 1, 2 * 4 + 2}));
  EXPECT_EQ(b.query_start, (Ints{0, 1, 5}));
  EXPECT_EQ(b.context_lens, (Ints{5, 7}));
  EXPECT_EQ(b.page_table_stride, 3);
  EXPECT_EQ(b.page_table, (Ints{7, 3, 0, 5, 2, 9}));
  EXPECT_EQ(b.logit_rows, (Ints{0}));
  ASSERT_EQ(builder_.sampling().rows.size(), 1u);
}

TEST_F(BatchBuilderTest, CarriesTheSamplingParameters) {
  SamplingParams s;
  s.temperature = 0.5f;
  s.top_k = -1;
  s.top_p = 0.9f;
  s.min_p = 0.1f;
  s.n_logprobs = 3;
  s.logit_bias = {{5, 1.5f}, {6, -100}};
  StepPlan plan;
  plan.entries = {{&add({10}, {11, 12}, {0}, s), 2, 1, 0, 0, true}};
  builder_.build(plan);
  const SamplingRow& row = builder_.sampling().rows[0];
  EXPECT_EQ(row.temperature, 0.5f);
  EXPECT_EQ(row.top_k, 0);
  EXPECT_EQ(row.top_p, 0.9f);
  EXPECT_EQ(row.min_p, 0.1f);
  EXPECT_EQ(row.n_logprobs, 3);
  EXPECT_EQ(row.seed, 77u);
  EXPECT_EQ(row.n_generated, 2u);
  EXPECT_EQ(row.penalty_begin, row.penalty_end);
  ASSERT_EQ(row.bias_end - row.bias_begin, 2);
  EXPECT_EQ(builder_.sampling().biases[1].token, 6);
  EXPECT_EQ(builder_.sampling().biases[1].bias, -100);
}

TEST_F(BatchBuilderTest, PenaltiesOfEachRowAreItsOwn) {
  SamplingParams repetition, presence;
  repetition.repetition_penalty = 1.2f;
  presence.presence_penalty = 0.5f;
  StepPlan plan;
  plan.entries = {{&add({10, 11, 10}, {11}, {0}, repetition), 3, 1, 0, 0, true},
                  {&add({10}, {12, 12}, {1}, presence), 2, 1, 0, 0, true}};
  builder_.build(plan);
  const auto& [rows, penalties, biases] = builder_.sampling();
  ASSERT_EQ(penalties.size(), 3u);
  EXPECT_EQ(rows[0].penalty_end, 2);
  EXPECT_EQ(rows[1].penalty_begin, 2);
  EXPECT_EQ(penalties[0].token, 10);
  EXPECT_EQ(penalties[0].output_count, 0);
  EXPECT_EQ(penalties[1].output_count, 1);
  EXPECT_EQ(penalties[2].token, 12);
  EXPECT_EQ(penalties[2].output_count, 2);
  EXPECT_TRUE(biases.empty());
}

TEST_F(BatchBuilderTest, ForbidsStopTokensBeforeMinTokens) {
  SamplingParams s;
  s.min_tokens = 1;
  s.stop_token_ids = {9};
  Sequence& young = add({10}, {}, {0}, s);
  Sequence& old = add({10}, {11}, {0}, s);
  s.ignore_eos = true;
  Sequence& ignoring = add({10}, {}, {0}, s);
  StepPlan plan;
  for (Sequence* x : {&young, &old, &ignoring}) plan.entries.push_back({x, x->n_tokens() - 1, 1, 0, 0, true});
  builder_.build(plan);
  const auto& [rows, penalties, biases] = builder_.sampling();
  EXPECT_EQ(rows[0].bias_end - rows[0].bias_begin, 3);
  EXPECT_EQ(rows[1].bias_end - rows[1].bias_begin, 0);
  EXPECT_EQ(rows[2].bias_end - rows[2].bias_begin, 1);
  for (const TokenBias& b : biases) EXPECT_TRUE(std::isinf(b.bias) && b.bias < 0);
  EXPECT_EQ(biases.back().token, 9);
}

TEST_F(BatchBuilderTest, PromptLogprobsForceTheNextPromptToken) {
  SamplingParams s;
  s.prompt_logprobs = 2;
  s.n_logprobs = 4;
  StepPlan plan;
  plan.entries = {{&add({10, 11, 12, 13}, {}, {0}, s), 1, 3, 1, 3, true}};
  builder_.build(plan);
  EXPECT_EQ(builder_.batch().logit_rows, (Ints{0, 1, 2}));
  const auto& [rows, penalties, biases] = builder_.sampling();
  ASSERT_EQ(rows.size(), 3u);
  for (int32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(rows[i].temperature, 0);
    EXPECT_EQ(rows[i].n_logprobs, 2);
    ASSERT_EQ(rows[i].bias_end - rows[i].bias_begin, 1);
    EXPECT_EQ(biases[rows[i].bias_begin].token, 12 + i);
    EXPECT_GT(biases[rows[i].bias_begin].bias, 1e20f);
  }
  EXPECT_EQ(rows[2].n_logprobs, 4);
}

}  // namespace
}  // namespace octet
