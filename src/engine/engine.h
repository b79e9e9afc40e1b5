// The engine: continuous batching over a paged cache. One thread of its own; three verbs a step:
//
//   plan = scheduler.plan();                       which tokens of which sequences; pages reserved; victims
//   named batch = builder.build(plan); forward; sample   the model's work scheduler.commit(plan, sampled);
//   counters, prefix hashes, finish, free
//
// Threads meet in two places: the request queue in, one channel of events a request out.
#pragma once

#include <memory>
#include <string>

#include "engine/metrics.h"
#include "engine/request.h"

namespace octet {

class Model;

struct EngineOptions {
  int32_t max_batch = 64;          // sequences in a step (vLLM's max_num_seqs)
  int32_t max_step_tokens = 2048;  // token budget of a step: chunked prefill beside decodes
  int32_t max_context =
      0;  // tokens of one sequence, prompt and output; 0: the model's own, as far as memory goes
  int32_t max_waiting = 1024;  // queue length above which submit() answers kResourceExhausted
  bool prefix_cache = true;
  int64_t kv_bytes = 0;  // memory for the cache; 0: from the memory plan
  uint64_t seed = 0;     // of requests that bring none
};

class Engine {
 public:
  // The model has its cache and scratch already (Model::load took all memory). The thread starts here.
  static Result<std::unique_ptr<Engine>> create(Model& model, const EngineOptions& options);
  virtual ~Engine() = default;  // stops the thread; open requests end as cancelled

  // Errors: kInvalidArgument (empty prompt, too long for max_context, bad sampling values),
  // kResourceExhausted (queue full), kUnavailable (draining). After success on_event will be called until a
  // finish for each of the n choices.
  virtual Result<RequestId> submit(Request request) = 0;
  // Ends a request (all its choices, or one) within a step; its last event says kCancelled. Unknown ids are
  // ignored.
  virtual void cancel(RequestId id) = 0;
  virtual void cancel_choice(RequestId id, int32_t choice) = 0;

  // No new requests; returns when the open ones have ended or the time is over (then they are cancelled).
  virtual void drain(std::chrono::milliseconds timeout) = 0;

  virtual EngineMetrics metrics() const = 0;
  virtual int32_t max_context() const = 0;
};

}  // namespace octet
