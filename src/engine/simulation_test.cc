// The scheduler, the block manager and the batch builder under random load, with a cache that is far too
// small. What must hold in every step is checked in every step; what a sequence was given is compared with
// what it would have got alone.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "engine/batch_builder.h"
#include "engine/fake_executor.h"
#include "engine/scheduler.h"

namespace octet {
namespace {

struct Setting {
  uint64_t seed;
  int32_t n_pages, page_size, max_batch, max_step_tokens, max_rows;
  bool prefix_cache;
  bool ahead = false;  // a second step is planned before the first is committed
};

class Simulation {
 public:
  explicit Simulation(const Setting& setting)
      : setting_(setting),
        random_(setting.seed),
        executor_({setting.n_pages,
                   setting.page_size,
                   setting.max_batch,
                   setting.max_step_tokens,
                   setting.max_rows,
                   setting.n_pages * setting.page_size,
                   kVocab,
                   {0, 1},
                   setting.ahead}),
        pages_(setting.n_pages, setting.page_size, setting.prefix_cache),
        scheduler_({setting.max_batch, setting.max_step_tokens, setting.max_rows, max_context(), {0, 1}},
                   pages_),
        builder_(scheduler_.limits(), setting.page_size) {
    for (auto& prefix : prefixes_) prefix = random_tokens(uniform(1, max_context() / 2));
  }

  void run(int64_t n_requests) {
    while (n_requests > 0 || !open_.empty()) {
      // Bursts and lulls, so that the queue is long at times and the engine empty at others.
      while (n_requests > 0 && chance(n_steps_ % 400 < 200 ? 0.5 : 0.05)) {
        submit();
        --n_requests;
      }
      if (chance(0.03)) cancel_one();
      step();
      ASSERT_FALSE(testing::Test::HasFailure()) << "in step " << n_steps_ << ", seed " << setting_.seed;
    }
    while (scheduler_.n_open() > 0) commit();  // for nothing: all have ended
    EXPECT_EQ(pages_.n_used(), 0);
    EXPECT_EQ(scheduler_.n_waiting(), 0);
    EXPECT_TRUE(scheduler_.running().empty());
    EXPECT_TRUE(scheduler_.plan().empty());
  }

  int64_t n_steps_ = 0, n_preemptions_ = 0, n_cached_tokens_ = 0, n_cancelled_ = 0, n_compared_ = 0,
          n_ahead_ = 0, n_dropped_ = 0;

 private:
  static constexpr int32_t kVocab = 50;
  struct Output {
    std::vector<int32_t> tokens;
  };
  struct Open {
    std::unique_ptr<RequestGroup> group;
    std::vector<Output> outputs;
    bool started = false;
  };
  struct Launched {
    std::vector<SampledToken> sampled;
    std::vector<std::unique_ptr<RequestGroup>> ended;  // it may name them
  };

  int32_t uniform(int32_t low, int32_t high) { return std::uniform_int_distribution(low, high)(random_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(random_); }
  int32_t max_context() const { return setting_.n_pages * setting_.page_size; }
  std::vector<int32_t> random_tokens(int32_t n) {
    std::vector<int32_t> tokens(n);
    std::ranges::generate(tokens, [&] { return uniform(2, kVocab - 1); });
    return tokens;
  }

  void submit() {
    Request request;
    if (chance(0.5)) request.prompt = prefixes_[uniform(0, 2)];
    const auto own = random_tokens(uniform(1, max_context() / 3));
    request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.n = chance(0.2) ? uniform(2, 4) : 1;
    request.priority = chance(0.2) ? uniform(-1, 1) : 0;
    SamplingParams& s = request.sampling;
    s.max_tokens = chance(0.1) ? 10'000 : uniform(1, 40);
    s.min_tokens = chance(0.2) ? uniform(0, s.max_tokens) / 2 : 0;
    s.ignore_eos = chance(0.3);
    s.temperature = chance(0.5) ? 0.0f : 1.0f;
    s.repetition_penalty = chance(0.2) ? 1.1f : 1.0f;
    s.prompt_logprobs = chance(0.1) ? 2 : -1;
    if (chance(0.2)) s.stop_token_ids = {uniform(2, kVocab - 1)};
    const RequestId id = ++last_id_;
    Open open{std::make_unique<RequestGroup>(id, request, id * 1000), {}};
    open.outputs.resize(request.n);
    scheduler_.add(*open.group);
    open_.emplace(id, std::move(open));
  }

  void cancel_one() {
    if (open_.empty()) return;
    auto place = std::next(open_.begin(), uniform(0, static_cast<int32_t>(open_.size()) - 1));
    RequestGroup& group = *place->second.group;
    const bool all = chance(0.7);
    const int32_t only = uniform(0, group.request.n - 1);
    for (Sequence& sequence : group.choices) {
      if (sequence.state == SequenceState::kFinished || (!all && sequence.choice != only)) continue;
      const auto expected =
          fake::expected_output(group.request, sequence.seed, executor_.limits(), max_context());
      const auto& got = place->second.outputs[sequence.choice].tokens;
      EXPECT_LE(got.size(), expected.tokens.size());
      EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.tokens.begin()));
      scheduler_.cancel(sequence);
      scheduler_.cancel(sequence);  // twice does no harm
      --group.n_open;
      ++n_cancelled_;
    }
    if (group.n_open == 0) close(place);
    check_pages();
  }

  void step() {
    if (scheduler_.n_open() > 0 && !scheduler_.may_plan_ahead()) commit();
    const int32_t n_before = scheduler_.n_open();
    const StepPlan& plan = scheduler_.plan();
    ++n_steps_;
    EXPECT_TRUE(n_before > 0 || plan.empty() == open_.empty()) << "work, and no progress";
    if (!plan.empty()) {
      n_ahead_ += n_before;
      check_plan(plan);
      n_preemptions_ += static_cast<int64_t>(plan.preempted.size());
      builder_.build(plan);
      Launched& launched = launched_.emplace_back();
      launched.sampled.resize(plan.n_rows);
      executor_.launch(builder_.batch(), builder_.sampling(), launched.sampled);
    }
    check_pages();
    const int32_t most = setting_.ahead ? 2 : 1;
    if (scheduler_.n_open() == most || (plan.empty() && scheduler_.n_open() > 0)) commit();
  }

  void commit() {
    EXPECT_TRUE(executor_.wait().ok());
    const Launched launched = std::move(launched_.front());
    launched_.pop_front();
    const auto results = scheduler_.commit(launched.sampled);
    n_dropped_ += static_cast<int64_t>(launched.ended.size());
    for (const StepResult& result : results) take(result);
    check_pages();
  }

  void close(std::map<RequestId, Open>::iterator place) {
    if (!launched_.empty()) launched_.back().ended.push_back(std::move(place->second.group));
    open_.erase(place);
  }

  void take(const StepResult& result) {
    Sequence& sequence = *result.sequence;
    RequestGroup& group = *sequence.group;
    Open& open = open_.at(group.id);
    auto& tokens = open.outputs[sequence.choice].tokens;
    if (!result.is_stop_token) tokens.push_back(result.sampled->token);
    if (result.finish == FinishReason::kNone) return;
    const auto expected =
        fake::expected_output(group.request, sequence.seed, executor_.limits(), max_context());
    EXPECT_EQ(tokens, expected.tokens);
    EXPECT_EQ(result.finish, expected.finish);
    EXPECT_EQ(sequence.state, SequenceState::kFinished);
    ++n_compared_;
    check_prompt_logprobs(group);
    if (--group.n_open == 0) close(open_.find(group.id));
  }

  void check_prompt_logprobs(const RequestGroup& group) const {
    if (!group.wants_prompt_logprobs()) return;
    const auto prompt = std::span(group.request.prompt);
    ASSERT_EQ(group.prompt_logprobs.size(), prompt.size() - 1);
    for (size_t i = 1; i < prompt.size(); ++i) {
      const OutputToken& token = group.prompt_logprobs[i - 1];
      EXPECT_EQ(token.token, prompt[i]);
      EXPECT_EQ(token.logprob, fake::logprob(fake::hash_text(prompt.first(i)), prompt[i]));
      EXPECT_EQ(token.top.size(), 2u);
    }
  }

  void check_plan(const StepPlan& plan) {
    EXPECT_LE(plan.n_tokens, setting_.max_step_tokens);
    EXPECT_LE(plan.n_rows, setting_.max_rows);
    EXPECT_LE(static_cast<int32_t>(scheduler_.running().size()), setting_.max_batch);
    int32_t n_tokens = 0, n_rows = 0;
    for (const PlanEntry& entry : plan.entries) {
      EXPECT_GT(entry.n_tokens, 0);
      EXPECT_EQ(entry.first + entry.n_tokens, entry.sequence->n_computed);
      EXPECT_EQ(entry.input_row >= 0, entry.sequence->n_in_flight > 1);
      EXPECT_EQ(entry.sequence->state, SequenceState::kRunning);
      n_tokens += entry.n_tokens;
      n_rows += entry.n_rows();
    }
    EXPECT_EQ(n_tokens, plan.n_tokens);
    EXPECT_EQ(n_rows, plan.n_rows);
    // No decode is left out.
    for (const Sequence* sequence : scheduler_.running()) {
      const bool planned =
          std::ranges::any_of(plan.entries, [&](const auto& e) { return e.sequence == sequence; });
      EXPECT_TRUE(planned || sequence->n_left() > 1 || sequence->will_end(max_context()));
    }
    // The victims are the last in order.
    for (const Sequence* victim : plan.preempted) {
      for (const Sequence* other : scheduler_.running()) EXPECT_LT(key(*other), key(*victim));
    }
    for (const Sequence* sequence : plan.admitted) start(*sequence);
  }

  static std::tuple<int32_t, RequestId, int32_t> key(const Sequence& s) {
    return {s.group->request.priority, s.group->id, s.choice};
  }

  // First come, first served: nobody starts while an earlier request of the same or a better priority has
  // not.
  void start(const Sequence& sequence) {
    Open& open = open_.at(sequence.group->id);
    if (!open.started) {
      n_cached_tokens_ += sequence.n_cached_prompt;
      for (const auto& [id, other] : open_) {
        if (other.started || id == sequence.group->id) continue;
        EXPECT_LT(key(sequence), key(other.group->choices[0])) << "overtaken";
      }
    }
    open.started = true;
  }

  // Each page has as many references as sequences hold it; nothing else is in use.
  void check_pages() const {
    std::vector<int32_t> references(setting_.n_pages);
    for (const Sequence* sequence : scheduler_.running()) {
      EXPECT_GE(static_cast<int32_t>(sequence->table.pages.size()), pages_.pages_for(sequence->n_computed));
      for (const int32_t page : sequence->table.pages) ++references[page];
    }
    int32_t n_used = 0;
    for (int32_t page = 0; page < setting_.n_pages; ++page) {
      EXPECT_EQ(pages_.references(page), references[page]);
      n_used += references[page] > 0;
    }
    EXPECT_EQ(pages_.n_used(), n_used);
  }

  const Setting setting_;
  std::mt19937_64 random_;
  fake::FakeExecutor executor_;
  BlockManager pages_;
  Scheduler scheduler_;
  BatchBuilder builder_;
  std::deque<Launched> launched_;
  std::vector<int32_t> prefixes_[3];
  std::map<RequestId, Open> open_;
  RequestId last_id_ = 0;
};

class SchedulerSimulation : public testing::TestWithParam<Setting> {};

TEST_P(SchedulerSimulation, KeepsItsPromisesUnderRandomLoad) {
  Simulation simulation(GetParam());
  simulation.run(1500);
  // The load did what it was made for.
  EXPECT_GT(simulation.n_steps_, 5000);
  EXPECT_GT(simulation.n_compared_, 1000);
  EXPECT_GT(simulation.n_cancelled_, 100);
  EXPECT_GT(simulation.n_preemptions_, 50);
  EXPECT_EQ(simulation.n_cached_tokens_ > 0, GetParam().prefix_cache);
  EXPECT_EQ(simulation.n_ahead_ > 1000, GetParam().ahead);
  EXPECT_EQ(simulation.n_dropped_ > 100, GetParam().ahead);
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, SchedulerSimulation,
    testing::Values(Setting{1, 24, 4, 6, 24, 6, true}, Setting{2, 24, 4, 6, 24, 6, false},
                    Setting{3, 8, 16, 8, 8, 8, true}, Setting{4, 64, 2, 16, 64, 20, true},
                    Setting{5, 90, 1, 4, 7, 5, true}, Setting{6, 12, 8, 3, 16, 3, true},
                    Setting{7, 40, 4, 32, 48, 40, true}, Setting{8, 24, 4, 6, 24, 6, true, true},
                    Setting{9, 24, 4, 6, 24, 6, false, true}, Setting{10, 8, 16, 8, 8, 8, true, true},
                    Setting{11, 64, 2, 16, 64, 20, true, true}, Setting{12, 90, 1, 4, 7, 5, true, true}));

}  // namespace
}  // namespace octet
