#include "engine/sequence.h"

#include <limits>
#include <memory>

#include <gtest/gtest.h>

namespace octet {
namespace {

constexpr int32_t kContext = 100;
const std::vector<int32_t> kEos = {0};

std::unique_ptr<RequestGroup> make_group(std::vector<int32_t> prompt, SamplingParams sampling,
                                         int32_t n = 1) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling = std::move(sampling);
  request.n = n;
  auto group = std::make_unique<RequestGroup>(1, std::move(request), 40);
  for (Sequence& sequence : group->choices) sequence.start(kContext, 4);
  return group;
}

TEST(PenaltyCounts, CountsDistinctTokens) {
  PenaltyCounts counts;
  counts.reserve(1000);
  const size_t capacity = counts.capacity();
  for (int32_t token = 0; token < 500; ++token) counts.add_prompt(token * 64);
  for (int32_t token = 0; token < 500; ++token) counts.add_prompt(token * 64);
  for (int32_t i = 0; i < 3; ++i) {
    for (int32_t token = 250; token < 750; ++token) counts.add_output(token * 64);
  }
  ASSERT_EQ(counts.list().size(), 750u);
  EXPECT_EQ(counts.capacity(), capacity);
  for (const TokenPenalty& p : counts.list()) EXPECT_EQ(p.output_count, p.token < 250 * 64 ? 0 : 3);
}

TEST(Sequence, ChoicesDrawWithTheirOwnSeeds) {
  const auto group = make_group({5}, {}, 3);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(group->choices[i].seed, 40 + i);
}

TEST(Sequence, EndsAtMaxTokens) {
  const auto group = make_group({5, 6}, {.max_tokens = 2});
  Sequence& s = group->choices[0];
  EXPECT_EQ(s.accept(7, kEos, kContext), FinishReason::kNone);
  EXPECT_EQ(s.accept(8, kEos, kContext), FinishReason::kLength);
  EXPECT_EQ(s.tokens, (std::vector<int32_t>{5, 6, 7, 8}));
}

TEST(Sequence, EndsAtTheEndOfTheContext) {
  const auto group = make_group({5, 6}, {.max_tokens = 50});
  EXPECT_EQ(group->choices[0].accept(7, kEos, 4), FinishReason::kNone);
  EXPECT_EQ(group->choices[0].accept(8, kEos, 4), FinishReason::kLength);
}

TEST(Sequence, StopTokensEndItAndAreNotKept) {
  const auto group = make_group({5}, {.max_tokens = 9, .stop_token_ids = {33}}, 2);
  EXPECT_EQ(group->choices[0].accept(0, kEos, kContext), FinishReason::kStop);
  EXPECT_EQ(group->choices[1].accept(33, kEos, kContext), FinishReason::kStop);
  EXPECT_EQ(group->choices[0].n_output(), 0);
}

TEST(Sequence, IgnoreEosKeepsStopTokens) {
  const auto group = make_group({5}, {.max_tokens = 9, .stop_token_ids = {33}, .ignore_eos = true});
  EXPECT_EQ(group->choices[0].accept(0, kEos, kContext), FinishReason::kNone);
  EXPECT_EQ(group->choices[0].accept(33, kEos, kContext), FinishReason::kStop);
}

TEST(Sequence, MinTokensComeBeforeStopTokens) {
  const auto group = make_group({5}, {.max_tokens = 9, .min_tokens = 1});
  EXPECT_TRUE(group->choices[0].must_go_on(0));
  EXPECT_EQ(group->choices[0].accept(0, kEos, kContext), FinishReason::kNone);
  EXPECT_FALSE(group->choices[0].must_go_on(1));
  EXPECT_EQ(group->choices[0].accept(0, kEos, kContext), FinishReason::kStop);
}

TEST(Sequence, CountsThePromptForRepetitionAlone) {
  const auto repetition = make_group({5, 6, 5}, {.repetition_penalty = 1.1f});
  EXPECT_EQ(repetition->choices[0].penalties.list().size(), 2u);
  const auto presence = make_group({5, 6, 5}, {.presence_penalty = 1});
  EXPECT_EQ(presence->choices[0].penalties.list().size(), 0u);
  EXPECT_EQ(presence->choices[0].accept(5, kEos, kContext), FinishReason::kNone);
  ASSERT_EQ(presence->choices[0].penalties.list().size(), 1u);
  EXPECT_EQ(presence->choices[0].penalties.list()[0].output_count, 1);
  const auto none = make_group({5, 6, 5}, {});
  EXPECT_EQ(none->choices[0].penalties.capacity(), 0u);
}

TEST(Sequence, StartTakesTheMemoryForTheWholeOutput) {
  const auto group = make_group({5, 6}, {.presence_penalty = 1, .max_tokens = 30, .ignore_eos = true});
  Sequence& s = group->choices[0];
  const auto* tokens = s.tokens.data();
  const auto* penalties = s.penalties.list().data();
  EXPECT_GE(s.table.pages.capacity(), 8u);
  for (int32_t i = 0; i < 30; ++i) (void)s.accept(i, kEos, kContext);
  EXPECT_EQ(s.tokens.data(), tokens);
  EXPECT_EQ(s.penalties.list().data(), penalties);
}

TEST(RequestGroup, PromptLogprobsAreNotTakenFromTheCacheUnknown) {
  const auto plain = make_group({5, 6, 7}, {});
  EXPECT_EQ(plain->max_cached(), std::numeric_limits<int32_t>::max());
  const auto wanting = make_group({5, 6, 7}, {.prompt_logprobs = 0});
  EXPECT_EQ(wanting->max_cached(), 0);
  wanting->prompt_logprobs.resize(1);
  EXPECT_EQ(wanting->max_cached(), 1);
  wanting->prompt_logprobs.resize(2);
  EXPECT_EQ(wanting->max_cached(), std::numeric_limits<int32_t>::max());
}

}  // namespace
}  // namespace octet
