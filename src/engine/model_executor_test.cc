// The engine over a real forward pass: a small random model, INT8, on the CPU. Batch invariance makes the
// outcome exact: what a request gets does not depend on company, chunks, prefix hits or preemptions.
#include "engine/model_executor.h"

#include <condition_variable>
#include <memory>
#include <mutex>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "engine/engine.h"
#include "formats/test_util.h"
#include "model/model.h"

namespace octet {
namespace {

constexpr int32_t kRequests = 6, kOutput = 60;

std::unique_ptr<Model> load(int32_t max_batch, int32_t max_step_tokens, int64_t kv_tokens) {
  const auto checkpoint = testing::random_checkpoint(testing::small_llama_config(2, 256));
  auto ops = make_cpu_ops({.n_threads = 1});
  if (checkpoint == nullptr || !ops.ok()) return nullptr;
  ModelOptions options;
  options.scheme = "int8-minmax";
  options.max_batch = max_batch;
  options.max_step_tokens = max_step_tokens;
  options.max_context = 128;
  const auto plan = Model::plan(*checkpoint, **ops, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return nullptr;
  options.kv_bytes = plan->kv_bytes_per_token * kv_tokens;
  auto model = Model::load(checkpoint, std::move(ops).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? std::move(model).value() : nullptr;
}

Request make_request(int32_t i) {
  Request request;
  for (int32_t t = 0; t < 20 + 5 * i; ++t) request.prompt.push_back((t < 16 ? t : t * (i + 3)) % 211);
  request.sampling.max_tokens = kOutput;
  request.sampling.ignore_eos = true;
  request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
  request.sampling.has_seed = true;
  request.sampling.seed = static_cast<uint64_t>(i);
  request.sampling.n_logprobs = 0;
  return request;
}

struct Outcome {
  std::vector<int32_t> tokens[kRequests];
  std::vector<float> logprobs[kRequests];
  EngineMetrics metrics;
};

// All at once, or one after the other.
Outcome run(Model& model, bool at_once) {
  Outcome outcome;
  EngineOptions options;
  options.max_batch = model.max_batch();
  options.max_step_tokens = model.max_step_tokens();
  auto engine = Engine::create(model, options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  std::mutex mutex;
  std::condition_variable changed;
  int32_t n_open = 0;
  for (int32_t i = 0; i < kRequests; ++i) {
    Request request = make_request(i);
    request.on_event = [&, i](const OutputEvent& event) {
      const std::lock_guard lock(mutex);
      for (const OutputToken& token : event.tokens) {
        outcome.tokens[i].push_back(token.token);
        outcome.logprobs[i].push_back(token.logprob);
      }
      n_open -= event.finish != FinishReason::kNone;
      changed.notify_all();
    };
    std::unique_lock lock(mutex);
    ++n_open;
    EXPECT_TRUE((*engine)->submit(std::move(request)).ok());
    if (!at_once) changed.wait(lock, [&] { return n_open == 0; });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return n_open == 0; });
  outcome.metrics = (*engine)->metrics();
  return outcome;
}

TEST(ModelExecutor, TakesTheSizesOfTheModel) {
  const auto model = load(4, 32, 512);
  ASSERT_NE(model, nullptr);
  const ExecutorLimits limits = ModelExecutor(*model).limits();
  EXPECT_EQ(limits.max_batch, 4);
  EXPECT_EQ(limits.max_step_tokens, 32);
  EXPECT_GE(limits.max_rows, 4);
  EXPECT_EQ(limits.vocab_size, 211);
  EXPECT_EQ(limits.max_context, 128);
  EXPECT_GE(limits.n_pages * limits.page_size, 128);
}

TEST(ModelExecutor, CompanyChunksAndPreemptionsChangeNothing) {
  const auto roomy = load(1, 128, 512), tight = load(kRequests, 16, 160);
  ASSERT_NE(roomy, nullptr);
  ASSERT_NE(tight, nullptr);
  const Outcome alone = run(*roomy, false), together = run(*tight, true);
  EXPECT_GT(together.metrics.preemptions, 0u);
  EXPECT_GT(together.metrics.prefix_hits, 0u);
  for (int32_t i = 0; i < kRequests; ++i) {
    EXPECT_EQ(alone.tokens[i].size(), static_cast<size_t>(kOutput));
    EXPECT_EQ(alone.tokens[i], together.tokens[i]) << "request " << i;
    EXPECT_EQ(alone.logprobs[i], together.logprobs[i]) << "request " << i;
  }
}

}  // namespace
}  // namespace octet
