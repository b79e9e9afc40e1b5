// Requests that are refused, cancelled, or end with the engine or its device.
#include <chrono>
#include <thread>

#include "engine/engine_test_util.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

class EngineEndingTest : public EngineTest {};

TEST_P(EngineEndingTest, RefusesWhatCannotBeServed) {
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

TEST_P(EngineEndingTest, RefusesOptionsThatTheModelWasNotLoadedFor) {
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

TEST_P(EngineEndingTest, AFullQueueRefuses) {
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

TEST_P(EngineEndingTest, RequestsThatComeTogetherAreTakenTogetherOrNotAtAll) {
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
  EXPECT_NE(
      refused.status().message().find("0 sequences wait and 3 are asked for at once; the queue holds 2"),
      std::string::npos);
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

TEST_P(EngineEndingTest, CancelsWaitingAndRunningRequests) {
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

TEST_P(EngineEndingTest, CancelsOneChoice) {
  start({}, gated());
  RequestId id = 0;
  auto client = submit(make_request({5}, {.max_tokens = 150, .ignore_eos = true}, 2), &id);
  engine_->cancel_choice(id, 1);
  engine_->cancel_choice(id, 7);
  engine_->cancel_choice(id, -3);
  open_gate_ = 1'000'000;
  client->wait();
  EXPECT_EQ(client->choice(0).finish, FinishReason::kLength);
  EXPECT_EQ(client->choice(0).tokens.size(), 150u);
  EXPECT_EQ(client->choice(1).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine_->metrics().finished_stop, 1u);
}

TEST_P(EngineEndingTest, CallbacksMayCancelAndSubmit) {
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

TEST_P(EngineEndingTest, BrokenLogitsEndTheRequestAndNoOther) {
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

TEST_P(EngineEndingTest, ADeviceThatFailsEndsAllRequestsAndTheEngine) {
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

TEST_P(EngineEndingTest, DrainWaitsForOpenRequests) {
  start();
  auto client = submit(make_request({5}, {.max_tokens = 100, .ignore_eos = true}));
  engine_->drain(std::chrono::seconds(60));
  EXPECT_EQ(client->choice().finish, FinishReason::kLength);
  EXPECT_EQ(refusal(make_request({5})).code(), StatusCode::kUnavailable);
  engine_->drain(milliseconds(0));  // again
}

TEST_P(EngineEndingTest, DrainCancelsWhenTheTimeIsOver) {
  start({.max_batch = 2}, [](fake::FakeExecutor& executor) {
    executor.during_step = [] { std::this_thread::sleep_for(milliseconds(2)); };
  });
  std::vector<std::shared_ptr<Client>> clients;
  for (int32_t i = 0; i < 5; ++i) clients.push_back(submit(make_request({5}, kEndless)));
  engine_->drain(milliseconds(20));
  for (auto& client : clients) EXPECT_EQ(client->choice().finish, FinishReason::kCancelled);
}

TEST_P(EngineEndingTest, DestructionEndsOpenRequests) {
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

TEST_P(EngineEndingTest, DestructionAtAnyMoment) {
  for (int32_t i = 0; i < 50; ++i) {
    start();
    auto client = submit(make_request({5}, kEndless));
    if (i % 2 == 1) std::this_thread::sleep_for(std::chrono::microseconds(20 * i));
    engine_.reset();
    EXPECT_NE(client->choice().finish, FinishReason::kNone);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, EngineEndingTest, testing::Bool(),
                         [](const auto& device) { return device.param ? "Ahead" : "InStep"; });

}  // namespace
}  // namespace octet
