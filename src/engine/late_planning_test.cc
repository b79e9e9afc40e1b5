// On a device that runs ahead of the host a step is planned when most of the one before it is over: late
// enough for requests that come meanwhile, early enough that the device never waits.
#include <atomic>
#include <deque>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/fake_executor.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kStep = std::chrono::milliseconds(40);
const ExecutorLimits kLimits = {.n_pages = 10'000,
                                .page_size = 16,
                                .max_batch = 4,
                                .max_step_tokens = 64,
                                .max_rows = 64,
                                .max_context = 100'000,
                                .vocab_size = 100,
                                .runs_ahead = true};

// Steps take kStep, one after the other.
struct Device {
  std::deque<Clock::time_point> ready;
  Clock::time_point free{};
  Clock::duration idle{};
  std::atomic<int> n_done{0};

  void launch() {
    const auto now = Clock::now();
    if (free != Clock::time_point{} && now > free) idle += now - free;
    free = std::max(now, free) + kStep;
    ready.push_back(free);
  }
  void wait() {
    std::this_thread::sleep_until(ready.front());
    ready.pop_front();
    ++n_done;
  }
};

struct Running {
  Device device;
  std::unique_ptr<Engine> engine;
  std::atomic<int> first_token{0};  // of the newest request: the step that gave it

  Running() {
    auto executor = std::make_unique<fake::FakeExecutor>(kLimits);
    executor->at_launch = [this] { device.launch(); };
    executor->during_step = [this] { device.wait(); };
    engine = Engine::create(std::move(executor), {.max_batch = 4, .max_step_tokens = 64}).value();
  }
  ~Running() { engine.reset(); }  // before the device

  void submit() {
    Request request;
    request.prompt = {5, 6, 7};
    request.sampling = {.max_tokens = 1000, .ignore_eos = true};
    request.on_event = [this, is_first = true](const OutputEvent&) mutable {
      if (std::exchange(is_first, false)) first_token = device.n_done.load();
    };
    ASSERT_TRUE(engine->submit(std::move(request)).ok());
  }
  void until_done(int n) const {
    while (device.n_done < n) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
};

TEST(LatePlanning, ARequestIsInTheStepBehindTheOneThatRuns) {
  // Were the next step planned at once, it would always be the third. A busy machine may take too long to
  // submit: once is enough.
  int fewest = 100;
  for (int attempt = 0; attempt < 10 && fewest > 2; ++attempt) {
    Running running;
    running.submit();
    running.until_done(6);
    running.first_token = 0;
    const int before = running.device.n_done;  // a step has just begun
    running.submit();
    while (running.first_token == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    fewest = std::min(fewest, running.first_token - before);
  }
  EXPECT_EQ(fewest, 2);
}

TEST(LatePlanning, TheDeviceDoesNotWait) {
  double least = 1;
  for (int attempt = 0; attempt < 10 && least > 0.02; ++attempt) {
    Running running;
    running.submit();
    running.until_done(12);
    running.engine->drain(std::chrono::milliseconds(0));
    least = std::min(least, std::chrono::duration<double>(running.device.idle) / (12 * kStep));
  }
  EXPECT_LE(least, 0.02);
}

}  // namespace
}  // namespace octet
