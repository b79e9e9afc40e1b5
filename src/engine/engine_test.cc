// The loop with its thread, over the fake model: what callers see, from many threads at once.
#include "engine/engine.h"

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "engine/fake_executor.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
const ExecutorLimits kLimits = {64, 4, 8, 32, 16, 200, 100, {0}};

// Collects what one request is told.
class Client {
 public:
  struct Choice {
    std::vector<OutputToken> tokens;
    FinishReason finish = FinishReason::kNone;
    int32_t stop_token = -1, cached = 0, n_events = 0;
    std::string error;
    std::vector<OutputToken> prompt_logprobs;

    std::vector<int32_t> ids() const {
      std::vector<int32_t> result;
      for (const OutputToken& token : tokens) result.push_back(token.token);
      return result;
    }
  };

  explicit Client(int32_t n) : choices_(n), n_open_(n) {}

  void take(const OutputEvent& event) {
    const std::lock_guard lock(mutex_);
    Choice& choice = choices_.at(event.choice);
    EXPECT_EQ(choice.finish, FinishReason::kNone) << "an event after the last one";
    choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
    choice.finish = event.finish;
    choice.stop_token = event.stop_token;
    choice.error = event.error;
    if (choice.n_events++ == 0) {
      choice.cached = event.cached_prompt_tokens;
      choice.prompt_logprobs = event.prompt_logprobs;
    }
    n_open_ -= event.finish != FinishReason::kNone;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return n_open_ == 0; }));
  }
  void wait_for_tokens(size_t n) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return choices_[0].tokens.size() >= n; }));
  }
  Choice choice(int32_t i = 0) {
    const std::lock_guard lock(mutex_);
    return choices_.at(i);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Choice> choices_;
  int32_t n_open_;
};

Request make_request(std::vector<int32_t> prompt, SamplingParams sampling = {}, int32_t n = 1) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling = std::move(sampling);
  request.n = n;
  return request;
}

// Over a device that runs ahead of the host, and one that does not: nobody can tell the difference.
class EngineTest : public testing::TestWithParam<bool> {
 protected:
  ~EngineTest() override { open_gate_ = int64_t{1} << 40; }

  void start(EngineOptions options = {}, std::function<void(fake::FakeExecutor&)> prepare = {}) {
    options.max_batch = std::min(options.max_batch, kLimits.max_batch);
    options.max_step_tokens = std::min(options.max_step_tokens, kLimits.max_step_tokens);
    ExecutorLimits limits = kLimits;
    limits.runs_ahead = GetParam();
    auto executor = std::make_unique<fake::FakeExecutor>(limits);
    if (prepare) prepare(*executor);
    auto engine = Engine::create(std::move(executor), options);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = std::move(engine).value();
  }

  std::shared_ptr<Client> submit(Request request, RequestId* id = nullptr) {
    auto client = std::make_shared<Client>(request.n);
    request.on_event = [client](const OutputEvent& event) { client->take(event); };
    auto result = engine_->submit(std::move(request));
    EXPECT_TRUE(result.ok()) << result.status().message();
    if (id != nullptr) *id = *result;
    return client;
  }

  Status refusal(Request request) {
    request.on_event = [](const OutputEvent&) { ADD_FAILURE() << "a refused request was answered"; };
    return engine_->submit(std::move(request)).status();
  }

  // Lets the engine compute at most as many steps as were granted.
  std::function<void(fake::FakeExecutor&)> gated() {
    return [this](fake::FakeExecutor& executor) {
      executor.during_step = [this] {
        while (open_gate_.load() == 0) std::this_thread::yield();
        --open_gate_;
      };
    };
  }

  std::atomic<int64_t> open_gate_{0};
  std::unique_ptr<Engine> engine_;
};

const SamplingParams kEndless = {.max_tokens = 100'000, .ignore_eos = true};

TEST_P(EngineTest, AnswersARequest) {
  start();
  const Request request = make_request({5, 6, 7}, {.temperature = 0, .max_tokens = 20, .ignore_eos = true});
  auto client = submit(request);
  client->wait();
  const auto got = client->choice();
  EXPECT_EQ(got.ids(), fake::expected_output(request, 0, kLimits, 200).tokens);
  EXPECT_EQ(got.finish, FinishReason::kLength);
  EXPECT_EQ(got.n_events, 20);
  const EngineMetrics m = engine_->metrics();
  EXPECT_EQ(m.generated_tokens, 20u);
  EXPECT_EQ(m.prompt_tokens, 3u);
  EXPECT_EQ(m.finished_length, 1u);
  EXPECT_EQ(m.running, 0);
  EXPECT_EQ(m.kv_pages_used, 0);
  EXPECT_GT(m.output_tokens_per_second, 0);
}

TEST_P(EngineTest, TellsTheStopTokenAndKeepsItOutOfTheText) {
  start();
  // One of the texts below stops at the first token.
  for (int32_t token = 2; token < 60; ++token) {
    const Request request =
        make_request({token}, {.temperature = 0, .max_tokens = 3, .stop_token_ids = {4, 50, 98}});
    const auto expected = fake::expected_output(request, 0, kLimits, 200);
    auto client = submit(request);
    client->wait();
    EXPECT_EQ(client->choice().ids(), expected.tokens);
    EXPECT_EQ(client->choice().finish, expected.finish);
    EXPECT_EQ(client->choice().stop_token >= 0, expected.finish == FinishReason::kStop);
  }
  EXPECT_GT(engine_->metrics().finished_stop, 0u);
}

TEST_P(EngineTest, ChoicesDrawDifferentlyAndSeedsRepeat) {
  start();
  SamplingParams s{.temperature = 1, .has_seed = true, .seed = 42, .max_tokens = 10, .ignore_eos = true};
  auto a = submit(make_request({5, 6, 7, 8, 9}, s, 3)), b = submit(make_request({5, 6, 7, 8, 9}, s, 3));
  a->wait();
  b->wait();
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(a->choice(i).ids(), b->choice(i).ids());
    EXPECT_EQ(a->choice(i).ids(),
              fake::expected_output(make_request({5, 6, 7, 8, 9}, s), 42 + i, kLimits, 200).tokens);
  }
  EXPECT_NE(a->choice(0).ids(), a->choice(1).ids());
}

TEST_P(EngineTest, RequestsWithoutASeedDrawFromTheEngines) {
  const SamplingParams s{.temperature = 1, .max_tokens = 10, .ignore_eos = true};
  std::vector<std::vector<int32_t>> outputs;
  for (const uint64_t seed : {1, 1, 2}) {
    start({.seed = seed});
    for (int32_t i = 0; i < 2; ++i) {
      auto client = submit(make_request({5}, s));
      client->wait();
      outputs.push_back(client->choice().ids());
    }
  }
  EXPECT_NE(outputs[0], outputs[1]);
  EXPECT_EQ(outputs[0], outputs[2]);
  EXPECT_EQ(outputs[1], outputs[3]);
  EXPECT_NE(outputs[0], outputs[4]);
}

TEST_P(EngineTest, Logprobs) {
  start();
  const std::vector<int32_t> prompt = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};
  auto client = submit(make_request(
      prompt, {.temperature = 0, .max_tokens = 3, .ignore_eos = true, .n_logprobs = 2, .prompt_logprobs = 1},
      2));
  client->wait();
  for (int32_t c = 0; c < 2; ++c) {
    const auto got = client->choice(c);
    ASSERT_EQ(got.prompt_logprobs.size(), prompt.size() - 1);
    for (size_t i = 1; i < prompt.size(); ++i) {
      EXPECT_EQ(got.prompt_logprobs[i - 1].token, prompt[i]);
      EXPECT_EQ(got.prompt_logprobs[i - 1].logprob,
                fake::logprob(fake::hash_text(std::span(prompt).first(i)), prompt[i]));
      EXPECT_EQ(got.prompt_logprobs[i - 1].top.size(), 1u);
    }
    EXPECT_EQ(got.tokens[0].logprob, fake::logprob(fake::hash_text(prompt), got.tokens[0].token));
    EXPECT_EQ(got.tokens[0].top.size(), 2u);
  }
}

TEST_P(EngineTest, ReportsWhatThePrefixCacheServed) {
  start();
  const Request request = make_request(std::vector<int32_t>(10, 5), {.max_tokens = 1, .ignore_eos = true});
  auto first = submit(request);
  first->wait();
  auto second = submit(request);
  second->wait();
  EXPECT_EQ(first->choice().cached, 0);
  EXPECT_EQ(second->choice().cached, 8);
  EXPECT_EQ(engine_->metrics().prefix_queries, 20u);
  EXPECT_EQ(engine_->metrics().prefix_hits, 8u);
}

TEST_P(EngineTest, RefusesWhatCannotBeServed) {
  start({.max_context = 20});
  EXPECT_EQ(engine_->max_context(), 20);
  EXPECT_EQ(refusal(make_request({})).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request(std::vector<int32_t>(20, 5))).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request({5, 100})).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request({-1})).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request({5}, {.top_p = 2})).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request({5}, {}, 0)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(make_request({5}, {}, kMaxChoices + 1)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->submit(make_request({5})).status().code(), StatusCode::kInvalidArgument);  // no on_event
  auto longest = submit(make_request(std::vector<int32_t>(19, 5), kEndless));
  longest->wait();
  EXPECT_EQ(longest->choice().ids().size(), 1u);
  EXPECT_EQ(longest->choice().finish, FinishReason::kLength);
}

TEST_P(EngineTest, RefusesOptionsThatTheModelWasNotLoadedFor) {
  const auto code = [](EngineOptions options) {
    return Engine::create(std::make_unique<fake::FakeExecutor>(kLimits), options).status().code();
  };
  EXPECT_EQ(code({.max_batch = 9, .max_step_tokens = 32}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_batch = 8, .max_step_tokens = 7}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_batch = 8, .max_step_tokens = 33}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_batch = 8, .max_step_tokens = 32, .max_context = 201}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_batch = 8, .max_step_tokens = 32, .max_waiting = 0}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_batch = 8, .max_step_tokens = 32, .max_context = 200}), StatusCode::kOk);
}

TEST_P(EngineTest, AFullQueueRefuses) {
  start({.max_batch = 1, .max_waiting = 2}, gated());
  auto running = submit(make_request({5}, {.max_tokens = 2, .ignore_eos = true}));
  open_gate_ = 1;
  running->wait_for_tokens(1);
  auto a = submit(make_request({5})), b = submit(make_request({5}));
  const Status status = refusal(make_request({5}));
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  open_gate_ = 1'000'000;
  a->wait();
  b->wait();
  submit(make_request({5}))->wait();
}

TEST_P(EngineTest, RequestsThatComeTogetherAreTakenTogetherOrNotAtAll) {
  start({.max_batch = 4, .max_waiting = 2}, gated());
  std::vector<std::shared_ptr<Client>> clients;
  const auto requests = [&](int n) {
    std::vector<Request> together;
    clients.clear();
    for (int i = 0; i < n; ++i) {
      auto client = clients.emplace_back(std::make_shared<Client>(1));
      together.push_back(make_request({5}, {.max_tokens = 2, .ignore_eos = true}));
      together.back().on_event = [client](const OutputEvent& event) { client->take(event); };
    }
    return together;
  };
  const auto refused = engine_->submit(requests(3));
  ASSERT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(refused.status().message().find("3 sequences at once"), std::string::npos);
  auto one_is_wrong = requests(2);
  one_is_wrong.back().prompt.clear();
  EXPECT_EQ(engine_->submit(std::move(one_is_wrong)).status().code(), StatusCode::kInvalidArgument);
  const auto taken = engine_->submit(requests(2));
  ASSERT_TRUE(taken.ok()) << taken.status().message();
  ASSERT_EQ(taken->size(), 2u);
  EXPECT_NE((*taken)[0], (*taken)[1]);
  open_gate_ = 2;  // two steps are enough for both: the first one had both
  for (const auto& client : clients) client->wait();
  EXPECT_EQ(engine_->metrics().finished_length, 2u);
}

TEST_P(EngineTest, CancelsWaitingAndRunningRequests) {
  start({.max_batch = 1}, gated());
  RequestId running_id = 0, waiting_id = 0;
  auto running = submit(make_request({5}, kEndless), &running_id);
  auto waiting = submit(make_request({5}, kEndless), &waiting_id);
  open_gate_ = 3;
  running->wait_for_tokens(3);
  engine_->cancel(waiting_id);
  engine_->cancel(running_id);
  engine_->cancel(12345);
  open_gate_ = 1;  // a step may have been planned before
  running->wait();
  waiting->wait();
  EXPECT_EQ(running->choice().finish, FinishReason::kCancelled);
  EXPECT_LE(running->choice().tokens.size(), 4u);
  EXPECT_EQ(waiting->choice().finish, FinishReason::kCancelled);
  EXPECT_EQ(waiting->choice().tokens.size(), 0u);
  EXPECT_EQ(engine_->metrics().finished_cancelled, 2u);
}

TEST_P(EngineTest, CancelsOneChoice) {
  start();
  RequestId id = 0;
  auto client = submit(make_request({5}, {.max_tokens = 150, .ignore_eos = true}, 2), &id);
  engine_->cancel_choice(id, 1);
  engine_->cancel_choice(id, 7);
  engine_->cancel_choice(id, -3);
  client->wait();
  EXPECT_EQ(client->choice(0).finish, FinishReason::kLength);
  EXPECT_EQ(client->choice(0).tokens.size(), 150u);
  EXPECT_EQ(client->choice(1).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine_->metrics().finished_stop, 1u);
}

TEST_P(EngineTest, CallbacksMayCancelAndSubmit) {
  start();
  auto second = std::make_shared<Client>(1), first = std::make_shared<Client>(1);
  Request request = make_request({5}, kEndless);
  Engine* engine = engine_.get();
  std::atomic<RequestId> id{0};
  std::atomic<bool> submitted{false};
  request.on_event = [&, engine](const OutputEvent& event) {
    first->take(event);
    if (id != 0) engine->cancel(id);
    if (submitted.exchange(true)) return;
    Request next = make_request({6}, {.max_tokens = 5, .ignore_eos = true});
    next.on_event = [second](const OutputEvent& e) { second->take(e); };
    EXPECT_TRUE(engine->submit(std::move(next)).ok());
  };
  id = *engine_->submit(std::move(request));
  first->wait();
  second->wait();
  EXPECT_EQ(second->choice().tokens.size(), 5u);
  engine_.reset();  // before what its callbacks refer to
}

TEST_P(EngineTest, BrokenLogitsEndTheRequestAndNoOther) {
  std::atomic<bool> broken{true};
  start({}, [&](fake::FakeExecutor& executor) { executor.breaks = [&](int32_t) { return broken.load(); }; });
  auto client = submit(make_request({5}));
  client->wait();
  EXPECT_EQ(client->choice().finish, FinishReason::kError);
  EXPECT_NE(client->choice().error.find("finite"), std::string::npos);
  broken = false;
  auto next = submit(make_request({5}, {.max_tokens = 4, .ignore_eos = true}));
  next->wait();
  EXPECT_EQ(next->choice().finish, FinishReason::kLength);
  engine_.reset();
}

TEST_P(EngineTest, ADeviceThatFailsEndsAllRequestsAndTheEngine) {
  std::atomic<int64_t> steps_left{10};
  start({.max_batch = 2}, [&](fake::FakeExecutor& executor) {
    gated()(executor);  // all are there before it fails
    executor.fails = [&] { return steps_left-- <= 0; };
  });
  std::vector<std::shared_ptr<Client>> clients;
  for (int32_t i = 0; i < 5; ++i) clients.push_back(submit(make_request({5}, kEndless, 1 + i % 2)));
  open_gate_ = 1000;
  for (auto& client : clients) {
    client->wait();
    EXPECT_EQ(client->choice().finish, FinishReason::kError);
    EXPECT_NE(client->choice().error.find("the device failed"), std::string::npos);
  }
  EXPECT_FALSE(engine_->status().ok());
  EXPECT_EQ(refusal(make_request({5})).code(), StatusCode::kUnavailable);
  engine_->drain(milliseconds(0));
  for (int i = 0; i < 1000 && engine_->metrics().running > 0; ++i) {  // the gauges come last
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(engine_->metrics().running, 0);
  engine_.reset();
}

TEST_P(EngineTest, PenaltiesKnowEveryTokenBeforeTheyAreApplied) {
  start();
  const SamplingParams s{.temperature = 0, .presence_penalty = 1, .max_tokens = 30, .ignore_eos = true};
  auto with = submit(make_request({5}, s)), without = submit(make_request({5}, kEndless));
  with->wait();
  EXPECT_EQ(with->choice().ids(), fake::expected_output(make_request({5}, s), 0, kLimits, 200).tokens);
  without->wait();
  EXPECT_EQ(without->choice().finish, FinishReason::kLength);
}

TEST_P(EngineTest, DrainWaitsForOpenRequests) {
  start();
  auto client = submit(make_request({5}, {.max_tokens = 100, .ignore_eos = true}));
  engine_->drain(std::chrono::seconds(60));
  EXPECT_EQ(client->choice().finish, FinishReason::kLength);
  EXPECT_EQ(refusal(make_request({5})).code(), StatusCode::kUnavailable);
  engine_->drain(milliseconds(0));  // again
}

TEST_P(EngineTest, DrainCancelsWhenTheTimeIsOver) {
  start({.max_batch = 2}, [](fake::FakeExecutor& executor) {
    executor.during_step = [] { std::this_thread::sleep_for(milliseconds(2)); };
  });
  std::vector<std::shared_ptr<Client>> clients;
  for (int32_t i = 0; i < 5; ++i) clients.push_back(submit(make_request({5}, kEndless)));
  engine_->drain(milliseconds(20));
  for (auto& client : clients) EXPECT_EQ(client->choice().finish, FinishReason::kCancelled);
}

TEST_P(EngineTest, DestructionEndsOpenRequests) {
  start({.max_batch = 2});
  std::vector<std::shared_ptr<Client>> clients;
  for (int32_t i = 0; i < 20; ++i) clients.push_back(submit(make_request({5}, kEndless, 1 + i % 3)));
  engine_.reset();
  for (size_t i = 0; i < clients.size(); ++i) {
    for (int32_t c = 0; c < 1 + static_cast<int32_t>(i) % 3; ++c) {
      const auto finish = clients[i]->choice(c).finish;
      EXPECT_TRUE(finish == FinishReason::kCancelled || finish == FinishReason::kLength);
    }
    EXPECT_EQ(clients[i].use_count(), 1) << "the engine keeps a callback";
  }
}

TEST_P(EngineTest, DestructionAtAnyMoment) {
  for (int32_t i = 0; i < 50; ++i) {
    start();
    auto client = submit(make_request({5}, kEndless));
    if (i % 2 == 1) std::this_thread::sleep_for(std::chrono::microseconds(20 * i));
    engine_.reset();
    EXPECT_NE(client->choice().finish, FinishReason::kNone);
  }
}

TEST_P(EngineTest, AnIdleEngineUsesNoCpu) {
  start();
  submit(make_request({5}))->wait();
  std::this_thread::sleep_for(milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.05);
}

TEST_P(EngineTest, ManyThreadsSubmitAndCancel) {
  start({.max_waiting = 20});
  std::atomic<int64_t> n_answered{0}, n_refused{0};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const EngineMetrics m = engine_->metrics();
      EXPECT_LE(m.kv_usage, 1);
      EXPECT_LE(m.running, 8);
    }
  });
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int32_t i = 0; i < 40; ++i) {
        const auto n = static_cast<int32_t>(1 + random() % 3);
        Request request =
            make_request(std::vector<int32_t>(1 + random() % 100, static_cast<int32_t>(random() % 3)),
                         {.temperature = 1, .has_seed = true, .seed = t, .max_tokens = 60}, n);
        auto client = std::make_shared<Client>(n);
        request.on_event = [client](const OutputEvent& event) { client->take(event); };
        const Request copy = request;
        const auto id = engine_->submit(std::move(request));
        if (!id.ok()) {
          EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
          ++n_refused;
          continue;
        }
        const bool cancel = random() % 4 == 0;
        if (cancel) engine_->cancel(*id);
        client->wait();
        for (int32_t c = 0; c < n; ++c) {
          const auto expected = fake::expected_output(copy, t + static_cast<uint64_t>(c), kLimits, 200);
          const auto got = client->choice(c);
          if (got.finish == FinishReason::kCancelled) {
            EXPECT_TRUE(cancel);
          } else {
            EXPECT_EQ(got.ids(), expected.tokens);
            EXPECT_EQ(got.finish, expected.finish);
          }
        }
        ++n_answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  reader.join();
  EXPECT_EQ(n_answered + n_refused, 160);
  EXPECT_GT(n_answered, 40);
  EXPECT_EQ(engine_->metrics().kv_pages_used, 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, EngineTest, testing::Bool(),
                         [](const auto& device) { return device.param ? "Ahead" : "InStep"; });

}  // namespace
}  // namespace octet
