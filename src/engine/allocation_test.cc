// A step of running sequences takes no memory: operator new counts, thread by thread, and the loop is watched
// from inside the model's step.
#include <atomic>
#include <cstdlib>
#include <future>
#include <new>
#include <thread>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/fake_executor.h"

namespace {
thread_local int64_t n_allocations = 0;

void* allocate(std::size_t bytes) {
  ++n_allocations;
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
}  // namespace

void* operator new(std::size_t bytes) {
  return allocate(bytes);
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes);
}
// What takes memory by these (std::stable_sort, simdjson) gives it back by the deletes below.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace octet {
namespace {

TEST(Allocation, TheCounterCounts) {
  const int64_t before = n_allocations;
  const auto memory = std::make_unique<int>(1);
  EXPECT_EQ(n_allocations, before + 1);
}

// Steady decode of a full batch, with every kind of list in use: penalties, biases, min_tokens, logprobs;
// pages are appended and published all the while.
TEST(Allocation, AStepOfDecodesTakesNoMemory) {
  constexpr int32_t kBatch = 8, kOutput = 400;
  const ExecutorLimits limits = {2000, 4, kBatch, 64, kBatch, 1000, 100, {0}};
  auto executor = std::make_unique<fake::FakeExecutor>(limits);
  std::vector<int64_t> counts;
  counts.reserve(10'000);
  std::atomic<bool> submitted{false};
  executor->during_step = [&] {
    while (!submitted) std::this_thread::yield();  // the first step waits for the last request
    counts.push_back(n_allocations);
  };
  auto engine = Engine::create(std::move(executor), {.max_batch = kBatch, .max_step_tokens = 64});
  ASSERT_TRUE(engine.ok());

  std::promise<void> done;
  std::atomic<int32_t> n_open{kBatch};
  for (int32_t i = 0; i < kBatch; ++i) {
    Request request;
    request.prompt.assign(10 + i, 5);
    SamplingParams& s = request.sampling;
    s.max_tokens = s.min_tokens = kOutput;
    s.ignore_eos = i % 2 == 0;
    s.stop_token_ids = {3};
    s.logit_bias = {{7, 1.0f}, {8, -1.0f}};
    s.repetition_penalty = i % 3 == 0 ? 1.1f : 1.0f;
    s.presence_penalty = i % 3 == 1 ? 0.5f : 0.0f;
    s.n_logprobs = 5;
    request.on_event = [&](const OutputEvent& event) {
      if (event.finish != FinishReason::kNone && --n_open == 0) done.set_value();
    };
    ASSERT_TRUE((*engine)->submit(std::move(request)).ok());
  }
  submitted = true;
  done.get_future().wait();
  engine->reset();

  // Whoever came last had its first steps by the middle; nobody ends before the last steps.
  ASSERT_GT(counts.size(), 300u);
  EXPECT_EQ(counts[250] - counts[50], 0);
  EXPECT_GT(counts[50], counts[0]);  // admissions do take memory: the counter sees this thread
}

}  // namespace
}  // namespace octet
