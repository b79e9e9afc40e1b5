#include "engine/scheduler.h"

#include <cmath>
#include <memory>

#include <gtest/gtest.h>

namespace octet {
namespace {

constexpr int32_t kEos = 0, kPageSize = 4;

struct Limits {
  int32_t n_pages = 100, max_batch = 4, max_step_tokens = 16, max_rows = 16;
  bool prefix_cache = true;
};

class SchedulerTest : public testing::Test {
 protected:
  void set_up(Limits l) {
    pages_ = std::make_unique<BlockManager>(l.n_pages, kPageSize, l.prefix_cache);
    scheduler_ = std::make_unique<Scheduler>(
        SchedulerLimits{l.max_batch, l.max_step_tokens, l.max_rows, l.n_pages * kPageSize, {kEos}}, *pages_);
  }

  RequestGroup& add(int32_t n_prompt, SamplingParams sampling = {.max_tokens = 100}, int32_t priority = 0,
                    int32_t n = 1) {
    Request request;
    request.prompt.assign(n_prompt, static_cast<int32_t>(groups_.size()) + 10);
    request.sampling = std::move(sampling);
    request.priority = priority;
    request.n = n;
    groups_.push_back(std::make_unique<RequestGroup>(groups_.size(), std::move(request), 0));
    scheduler_->add(*groups_.back());
    return *groups_.back();
  }

  // The plan in short: "request:first+tokens", a star where it samples.
  std::string plan() {
    const StepPlan& plan = scheduler_->plan();
    n_rows_ = plan.n_rows;
    preempted_ = plan.preempted;
    std::string text;
    for (const PlanEntry& e : plan.entries) {
      if (!text.empty()) text += ' ';
      text += std::to_string(e.sequence->group->id);
      if (e.sequence->group->request.n > 1) text += static_cast<char>('a' + e.sequence->choice);
      text += ":" + std::to_string(e.first) + "+" + std::to_string(e.n_tokens) + (e.samples ? "*" : "");
    }
    return text;
  }

  std::vector<StepResult> commit(int32_t token = 7) {
    sampled_.assign(n_rows_, SampledToken{});
    for (SampledToken& s : sampled_) s.token = token;
    const auto results = scheduler_->commit(sampled_);
    return {results.begin(), results.end()};
  }

  std::unique_ptr<BlockManager> pages_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<RequestGroup>> groups_;
  std::vector<SampledToken> sampled_;
  std::vector<Sequence*> preempted_;
  int32_t n_rows_ = 0;
};

TEST_F(SchedulerTest, NothingToDo) {
  set_up({});
  EXPECT_EQ(plan(), "");
  EXPECT_EQ(plan(), "");  // an empty plan needs no commit
}

TEST_F(SchedulerTest, CutsPromptsByTheTokenBudgetAndMixesThemWithDecodes) {
  set_up({});
  add(5);
  add(20);
  add(3);
  EXPECT_EQ(plan(), "0:0+5* 1:0+11");
  commit();
  EXPECT_EQ(plan(), "0:5+1* 1:11+9* 2:0+3*");
  commit();
  EXPECT_EQ(plan(), "0:6+1* 1:20+1* 2:3+1*");
}

TEST_F(SchedulerTest, DecodesComeBeforePromptsThatCameEarlier) {
  set_up({.max_step_tokens = 4});
  add(2);
  EXPECT_EQ(plan(), "0:0+2*");
  commit();
  add(100, {.max_tokens = 2}, -1);  // better priority, a long prompt
  for (int32_t i = 0; i < 5; ++i) {
    const std::string p = plan();
    EXPECT_EQ(p.substr(0, 6), "0:" + std::to_string(2 + i) + "+1*") << p;
    commit();
  }
}

TEST_F(SchedulerTest, FillsTheBatchAndNoMore) {
  set_up({.max_batch = 2});
  for (int32_t i = 0; i < 3; ++i) add(2, {.max_tokens = 2});
  EXPECT_EQ(plan(), "0:0+2* 1:0+2*");
  EXPECT_EQ(scheduler_->n_waiting(), 1);
  commit();
  EXPECT_EQ(plan(), "0:2+1* 1:2+1*");
  EXPECT_EQ(commit().size(), 2u);
  EXPECT_EQ(plan(), "2:0+2*");
}

TEST_F(SchedulerTest, PriorityFirstThenArrival) {
  set_up({.max_batch = 1});
  add(1, {.max_tokens = 1}, 1);
  add(1, {.max_tokens = 1}, 0);
  add(1, {.max_tokens = 1}, 0);
  add(1, {.max_tokens = 1}, -1);
  for (const char* expected : {"3:0+1*", "1:0+1*", "2:0+1*", "0:0+1*"}) {
    EXPECT_EQ(plan(), expected);
    commit();
  }
}

TEST_F(SchedulerTest, NobodyOvertakesOneThatLacksPages) {
  set_up({.n_pages = 10});
  add(14);
  EXPECT_EQ(plan(), "0:0+14*");
  commit();
  add(30);  // eight pages; six are free
  add(1);
  EXPECT_EQ(plan(), "0:14+1*");
  EXPECT_EQ(scheduler_->n_waiting(), 2);
}

TEST_F(SchedulerTest, KeepsAPageForThoseThatMayGrowAlone) {
  set_up({.n_pages = 6, .prefix_cache = false});
  add(7, {.max_tokens = 4});  // three pages in the end
  add(6, {.max_tokens = 2});  // two, of which it has both
  EXPECT_EQ(plan(), "0:0+7* 1:0+6*");
  commit();
  add(3, {.max_tokens = 5});  // one page of the two that are free; the other one is for 0
  add(3);                     // none is left for 2
  EXPECT_EQ(plan(), "0:7+1* 1:6+1* 2:0+3*");
  EXPECT_EQ(scheduler_->n_waiting(), 1);
}

TEST_F(SchedulerTest, FillsACacheThatIsJustLargeEnoughForItsBatch) {
  set_up({.n_pages = 8, .prefix_cache = false});  // of four sequences of 8 tokens
  for (int32_t i = 0; i < 3; ++i) add(5, {.max_tokens = 3});
  EXPECT_EQ(plan(), "0:0+5* 1:0+5* 2:0+5*");
  commit();
  add(5, {.max_tokens = 3});
  EXPECT_EQ(plan(), "0:5+1* 1:5+1* 2:5+1* 3:0+5*");
}

TEST_F(SchedulerTest, PreemptsTheLatestOfTheLowestPriorityAndTakesItBack) {
  set_up({.n_pages = 6});
  RequestGroup& low = add(7, {.max_tokens = 100}, 1);
  add(7);
  EXPECT_EQ(plan(), "1:0+7* 0:0+7*");
  commit(7);
  EXPECT_EQ(plan(), "1:7+1* 0:7+1*");
  for (int32_t i = 0; i < 4; ++i) {
    commit(7);
    plan();
  }
  EXPECT_TRUE(preempted_.empty());
  EXPECT_EQ(pages_->n_free(), 0);
  commit(7);  // both have 13 tokens now, and three pages each
  EXPECT_EQ(plan(), "1:12+1*");
  EXPECT_EQ(preempted_, std::vector<Sequence*>{&low.choices[0]});
  EXPECT_EQ(low.choices[0].n_tokens(), 13);  // what it was given stays
  EXPECT_EQ(low.choices[0].n_computed, 0);
  scheduler_->commit(std::vector<SampledToken>(1, SampledToken{.token = kEos}));
  // Alone again: the page that 1 needed was the last of its three, the others are still cached.
  EXPECT_EQ(plan(), "0:8+5*");
}

TEST_F(SchedulerTest, ASequenceMayBeItsOwnVictim) {
  set_up({.n_pages = 4, .prefix_cache = false});
  add(7);
  add(3);
  EXPECT_EQ(plan(), "0:0+7* 1:0+3*");  // one page is left
  commit();
  EXPECT_EQ(plan(), "0:7+1* 1:3+1*");
  commit();
  EXPECT_EQ(plan(), "0:8+1*");  // takes the last page, and 1 needs one
  ASSERT_EQ(preempted_.size(), 1u);
  EXPECT_EQ(preempted_[0]->group->id, 1u);
}

TEST_F(SchedulerTest, ChoicesShareThePrompt) {
  set_up({});
  add(9, {.max_tokens = 100}, 0, 3);
  add(2);  // passes the choices that wait for the prompt
  EXPECT_EQ(plan(), "0a:0+9* 1:0+2*");
  commit();
  EXPECT_EQ(plan(), "0a:9+1* 1:2+1* 0b:8+1* 0c:8+1*");
  EXPECT_EQ(pages_->n_used(), 2 + 3 + 1);
  commit();
  EXPECT_EQ(plan(), "0a:10+1* 0b:9+1* 0c:9+1* 1:3+1*");
}

TEST_F(SchedulerTest, TheNextChoiceComputesThePromptWhenTheFirstIsCancelled) {
  set_up({});
  RequestGroup& group = add(30, {}, 0, 2);
  EXPECT_EQ(plan(), "0a:0+16");
  commit();
  scheduler_->cancel(group.choices[0]);
  EXPECT_EQ(plan(), "0b:16+14*");
}

TEST_F(SchedulerTest, ChoicesDoNotWaitWithoutAPrefixCache) {
  set_up({.prefix_cache = false});
  add(3, {}, 0, 2);
  EXPECT_EQ(plan(), "0a:0+3* 0b:0+3*");
}

TEST_F(SchedulerTest, PromptLogprobsTakeRowsAndWaitForThem) {
  set_up({.max_rows = 4});
  RequestGroup& group = add(7, {.prompt_logprobs = 1});
  add(2);
  EXPECT_EQ(plan(), "0:0+4");
  EXPECT_EQ(n_rows_, 4);
  commit(10);  // each row answers with the prompt's next token
  EXPECT_EQ(group.prompt_logprobs.size(), 4u);
  EXPECT_EQ(plan(), "0:4+3* 1:0+2*");
  EXPECT_EQ(n_rows_, 2 + 1 + 1);
  commit(10);
  EXPECT_EQ(group.prompt_logprobs.size(), 6u);
  EXPECT_EQ(plan(), "0:7+1* 1:2+1*");
}

TEST_F(SchedulerTest, PromptLogprobsDoNotComeFromThePrefixCache) {
  set_up({});
  RequestGroup& first = add(9);
  plan();
  commit(kEos);
  EXPECT_EQ(first.choices[0].state, SequenceState::kFinished);
  for (auto& [logprobs, expected] : {std::pair(0, "1:0+9*"), std::pair(-1, "2:8+1*")}) {
    Request request = first.request;
    request.sampling.prompt_logprobs = logprobs;
    groups_.push_back(std::make_unique<RequestGroup>(groups_.size(), request, 0));
    scheduler_->add(*groups_.back());
    EXPECT_EQ(plan(), expected);
    sampled_.assign(n_rows_, SampledToken{.token = 10});
    sampled_.back().token = kEos;
    EXPECT_EQ(scheduler_->commit(sampled_)[0].finish, FinishReason::kStop);
  }
}

TEST_F(SchedulerTest, PromptLogprobsAreComputedOnce) {
  set_up({});
  RequestGroup& group = add(11, {.prompt_logprobs = 0}, 0, 2);
  EXPECT_EQ(plan(), "0a:0+11*");
  EXPECT_EQ(n_rows_, 11);
  commit(10);
  EXPECT_EQ(plan(), "0a:11+1* 0b:8+3*");
  EXPECT_EQ(n_rows_, 2);
  EXPECT_EQ(group.prompt_logprobs.size(), 10u);
}

TEST_F(SchedulerTest, NobodySharesWhatABrokenStepWrote) {
  set_up({});
  const Request request = add(9).request;
  EXPECT_EQ(plan(), "0:0+9*");
  commit(-1);
  groups_.push_back(std::make_unique<RequestGroup>(1, request, 0));
  scheduler_->add(*groups_.back());
  EXPECT_EQ(plan(), "1:0+9*");
}

TEST_F(SchedulerTest, CancelsWhoeverWaitsRunsOrHasEnded) {
  set_up({.max_batch = 1});
  RequestGroup &running = add(9), &waiting = add(9);
  plan();
  commit();
  scheduler_->cancel(waiting.choices[0]);
  EXPECT_EQ(scheduler_->n_waiting(), 0);
  scheduler_->cancel(running.choices[0]);
  scheduler_->cancel(running.choices[0]);
  EXPECT_EQ(pages_->n_used(), 0);
  EXPECT_EQ(plan(), "");
}

TEST_F(SchedulerTest, BrokenNumbersEndTheSequence) {
  set_up({});
  add(2);
  add(2);
  RequestGroup& with_logprobs = add(3, {.prompt_logprobs = 0});
  EXPECT_EQ(plan(), "0:0+2* 1:0+2* 2:0+3*");
  sampled_.assign(n_rows_, SampledToken{.token = 12});
  sampled_[0].token = -1;
  sampled_[1].logprob = NAN;
  sampled_[2].token = 11;  // not the prompt's
  const auto results = scheduler_->commit(sampled_);
  ASSERT_EQ(results.size(), 3u);
  for (const StepResult& r : results) EXPECT_EQ(r.finish, FinishReason::kError);
  EXPECT_TRUE(with_logprobs.prompt_logprobs.empty());
  EXPECT_EQ(pages_->n_used(), 0);
  EXPECT_EQ(plan(), "");
}

TEST_F(SchedulerTest, AStopTokenEndsTheSequence) {
  set_up({});
  add(2);
  plan();
  const auto results = commit(kEos);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].finish, FinishReason::kStop);
  EXPECT_TRUE(results[0].is_stop_token);
  EXPECT_EQ(results[0].sampled->token, kEos);
}

TEST_F(SchedulerTest, OneSequenceMayFillTheWholeCache) {
  set_up({.n_pages = 2});
  add(5);
  plan();
  FinishReason finish = commit()[0].finish;
  for (int32_t n_tokens = 6; n_tokens < 8; ++n_tokens) {
    EXPECT_EQ(finish, FinishReason::kNone);
    EXPECT_EQ(plan(), "0:" + std::to_string(n_tokens - 1) + "+1*");
    EXPECT_TRUE(preempted_.empty());
    finish = commit()[0].finish;
  }
  plan();
  EXPECT_EQ(finish, FinishReason::kLength);
  EXPECT_EQ(pages_->n_used(), 0);
}

}  // namespace
}  // namespace octet
