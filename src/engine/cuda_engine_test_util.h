// For tests of the engine on a GPU: a small random model on any backend, and many requests through an engine.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cuda/cuda_backend.h"
#include "engine/engine.h"
#include "engine/model_executor.h"
#include "formats/test_util.h"
#include "model/model.h"

namespace octet::test {

// Skips the test where there is no GPU; $OCTET_REQUIRE_CUDA makes that a failure.
#define OCTET_NEED_CUDA()                                                                  \
  if (const auto needed = make_cuda_ops({}); !needed.ok()) {                               \
    if (std::getenv("OCTET_REQUIRE_CUDA") != nullptr) FAIL() << needed.status().message(); \
    GTEST_SKIP() << needed.status().message();                                             \
  }

struct TestModel {
  std::string scheme = "bf16", kv = "auto";
  int32_t max_batch = 256, max_step_tokens = 2048, max_context = 512;
  int64_t kv_tokens = 0;  // in the cache; 0: max_batch times max_context
};

inline std::unique_ptr<Model> load(std::shared_ptr<Checkpoint> checkpoint, const TestModel& test,
                                   Result<std::unique_ptr<Ops>> ops) {
  EXPECT_TRUE(ops.ok()) << ops.status().message();
  if (checkpoint == nullptr || !ops.ok()) return nullptr;
  ModelOptions options;
  options.scheme = test.scheme;
  options.kv_dtype = test.kv;
  options.max_batch = test.max_batch;
  options.max_step_tokens = test.max_step_tokens;
  options.max_context = test.max_context;
  options.kv_bytes = int64_t{1} << 40;  // as much as the batch can use
  const auto plan = Model::plan(*checkpoint, **ops, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return nullptr;
  if (test.kv_tokens > 0) options.kv_bytes = plan->kv_bytes_per_token * test.kv_tokens;
  auto model = Model::load(std::move(checkpoint), std::move(ops).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? std::move(model).value() : nullptr;
}

// The model's own executor, which holds the first step back until it is told to go, and counts.
class WatchedExecutor final : public Executor {
 public:
  explicit WatchedExecutor(Model& model) : inner_(model) {}
  ExecutorLimits limits() const override { return inner_.limits(); }
  void launch(const ForwardBatch& batch, const SamplingBatch& sampling,
              std::span<SampledToken> sampled) override {
    go_.wait(false);
    most_sequences = std::max(most_sequences.load(), batch.n_seqs());
    most_tokens = std::max(most_tokens.load(), batch.n_tokens());
    inner_.launch(batch, sampling, sampled);
  }
  Status wait() override { return inner_.wait(); }
  void go() {
    go_ = true;
    go_.notify_all();
  }

  std::atomic<int32_t> most_sequences = 0, most_tokens = 0;  // in one step

 private:
  ModelExecutor inner_;
  std::atomic<bool> go_ = false;
};

struct Answer {
  std::vector<OutputToken> tokens, prompt;  // `prompt`: of its tokens but the first, where asked for
  FinishReason finish = FinishReason::kNone;
  std::string error;
};
struct Answers {
  std::vector<Answer> of;  // by request
  EngineMetrics metrics;
  int32_t most_sequences = 0, most_tokens = 0;
};

struct Run {
  bool at_once = true;  // else one after the other
  bool prefix_cache = true;
  std::vector<int32_t> cancel_after;  // by request: cancelled when so many tokens have come; empty: none is
};

inline Answers run(Model& model, const std::vector<Request>& requests, const Run& how) {
  Answers answers;
  answers.of.resize(requests.size());
  std::mutex mutex;
  std::condition_variable changed;
  size_t n_open = 0;
  std::vector<RequestId> ids(requests.size());  // known before the first step goes
  EngineOptions options;
  options.max_batch = model.max_batch();
  options.max_step_tokens = model.max_step_tokens();
  options.max_context = model.max_context();
  options.prefix_cache = how.prefix_cache;
  auto executor = std::make_unique<WatchedExecutor>(model);
  WatchedExecutor& watched = *executor;
  auto engine = Engine::create(std::move(executor), options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  if (!engine.ok()) return answers;
  if (!how.at_once) watched.go();
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = requests[i];
    request.on_event = [&, i](const OutputEvent& event) {
      const std::lock_guard lock(mutex);
      Answer& answer = answers.of[i];
      answer.tokens.insert(answer.tokens.end(), event.tokens.begin(), event.tokens.end());
      if (!event.prompt_logprobs.empty()) answer.prompt = event.prompt_logprobs;
      if (!how.cancel_after.empty() && static_cast<int32_t>(answer.tokens.size()) == how.cancel_after[i])
        (*engine)->cancel(ids[i]);
      if (event.finish == FinishReason::kNone) return;
      answer.finish = event.finish;
      answer.error = event.error;
      --n_open;
      changed.notify_all();
    };
    {
      const std::lock_guard lock(mutex);
      ++n_open;
    }
    const auto id = (*engine)->submit(std::move(request));
    EXPECT_TRUE(id.ok()) << id.status().message();
    if (!id.ok()) return answers;
    std::unique_lock lock(mutex);
    ids[i] = *id;
    if (!how.at_once) changed.wait(lock, [&] { return n_open == 0; });
  }
  watched.go();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return n_open == 0; });
  lock.unlock();
  answers.metrics = (*engine)->metrics();
  answers.most_sequences = watched.most_sequences;
  answers.most_tokens = watched.most_tokens;
  return answers;
}

}  // namespace octet::test
