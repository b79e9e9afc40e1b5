// The loop with its thread, over the fake model: what callers see, from many threads at once.
#include <cmath>
#include <ctime>
#include <random>
#include <thread>

#include "engine/engine_test_util.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

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

TEST_P(EngineTest, PenaltiesKnowEveryTokenBeforeTheyAreApplied) {
  start();
  const SamplingParams s{.temperature = 0, .presence_penalty = 1, .max_tokens = 30, .ignore_eos = true};
  auto with = submit(make_request({5}, s)), without = submit(make_request({5}, kEndless));
  with->wait();
  EXPECT_EQ(with->choice().ids(), fake::expected_output(make_request({5}, s), 0, kLimits, 200).tokens);
  without->wait();
  EXPECT_EQ(without->choice().finish, FinishReason::kLength);
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
