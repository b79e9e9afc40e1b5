// The engine: continuous batching over a paged cache. One thread of its own; a few verbs a step:
//
//   plan = scheduler.plan();            which tokens of which sequences; pages reserved; victims named
//   builder.build(plan);                the arrays that the model and the sampler read
//   executor.launch(batch, sampling);   forward, sample
//   executor.wait();                    of the oldest step: on a device that runs ahead, the one before
//   scheduler.commit(sampled);          counters, prefix cache, finish, free
//
// Threads meet in two places: the request queue in, one channel of events a request out. An idle engine
// sleeps.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/metrics.h"
#include "engine/request.h"

namespace octet {

class Executor;
class Model;

struct EngineOptions {
  int32_t max_batch = 64;          // sequences in a step (vLLM's max_num_seqs)
  int32_t max_step_tokens = 2048;  // token budget of a step: chunked prefill beside decodes
  int32_t max_context = 0;  // tokens of a sequence, prompt and output; 0: what the model and the cache allow
  int32_t max_waiting = 1024;  // queue length above which submit() answers kResourceExhausted
  bool prefix_cache = true;
  uint64_t seed = 0;  // from which requests that bring none draw theirs
};

class Engine {
 public:
  // The model has its cache and scratch already (Model::load took all memory) and outlives the engine. The
  // thread starts here. Errors: kInvalidArgument where an option asks for more than the model was loaded for.
  static Result<std::unique_ptr<Engine>> create(Model& model, const EngineOptions& options);
  static Result<std::unique_ptr<Engine>> create(std::unique_ptr<Executor> executor,
                                                const EngineOptions& options);
  // Stops the thread; open requests end as cancelled. Neither this nor drain() may be called from on_event.
  virtual ~Engine() = default;

  // All of them or none; the next step that is planned sees them all.
  // Errors: kInvalidArgument (empty prompt, too long for max_context, bad sampling values),
  // kResourceExhausted (queue full), kUnavailable (draining, or the device failed). After success on_event
  // will be called until a finish for each of the n choices; the first call may come before submit() has
  // returned.
  virtual Result<std::vector<RequestId>> submit(std::vector<Request> requests) = 0;
  Result<RequestId> submit(Request request);
  // Ends a request within a step; the last event of each of its choices says kCancelled. Unknown ids are
  // ignored.
  virtual void cancel(RequestId id) = 0;
  // The same for one choice whose text is complete (a stop string): the metrics count it as stopped.
  virtual void cancel_choice(RequestId id, int32_t choice) = 0;

  // No new requests; returns when the open ones have ended or the time is over (then they are cancelled).
  virtual void drain(std::chrono::milliseconds timeout) = 0;

  // Not ok once the device has failed: open requests have ended with the error, new ones are refused, and
  // only another process can go on.
  virtual Status status() const = 0;
  virtual EngineMetrics metrics() const = 0;
  virtual int32_t max_context() const = 0;
};

}  // namespace octet
