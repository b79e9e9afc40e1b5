// A client that collects what it is told, and an engine over the fake model: what the engine's tests share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/fake_executor.h"

namespace octet {

inline const ExecutorLimits kLimits = {64, 4, 8, 32, 16, 200, 100, {0}};

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

inline Request make_request(std::vector<int32_t> prompt, SamplingParams sampling = {}, int32_t n = 1) {
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

inline const SamplingParams kEndless = {.max_tokens = 100'000, .ignore_eos = true};

}  // namespace octet
