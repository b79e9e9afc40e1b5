// The engine's thread and what other threads may touch of it. Everything above the mutex in the private part
// is the thread's own.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/block_manager.h"
#include "engine/engine.h"
#include "engine/executor.h"
#include "engine/metrics_recorder.h"
#include "engine/scheduler.h"

namespace octet {

class EngineLoop final : public Engine {
 public:
  // `limits`: those of the scheduler, checked against the executor's and the options.
  EngineLoop(std::unique_ptr<Executor> executor, const EngineOptions& options, SchedulerLimits limits);
  ~EngineLoop() override;

  Result<std::vector<RequestId>> submit(std::vector<Request> requests) override;
  void cancel(RequestId id) override;
  void cancel_choice(RequestId id, int32_t choice) override;
  void drain(std::chrono::milliseconds timeout) override;
  Status status() const override;
  EngineMetrics metrics() const override { return metrics_.snapshot(Clock::now()); }
  int32_t max_context() const override { return scheduler_.limits().max_context; }

 private:
  static constexpr int32_t kAllChoices = -1;
  // A new request, or (where `group` is null) a cancellation.
  struct Command {
    std::unique_ptr<RequestGroup> group;
    RequestId id = 0;
    int32_t choice = kAllChoices;
  };

  struct Launched {
    std::vector<SampledToken> sampled;  // [max_rows]
    int32_t n_rows = 0;
    Clock::time_point started{};
    std::vector<std::unique_ptr<RequestGroup>> ended;  // requests that this step, the newest, still names
  };

  Status check(const Request& request) const;
  void push(Command command);

  void run();
  bool take_commands();  // sleeps while there is nothing to do; false: stop
  void apply(Command command);
  void step();
  void launch(const StepPlan& plan, Clock::time_point started);
  void complete();  // the oldest step that was launched
  void fail(const Status& error);
  void end_choices(RequestGroup& group, int32_t choice);
  void emit(const StepResult& result);
  void begin_event(Sequence& sequence, OutputEvent& event);
  void close(Sequence& sequence);
  void end_all();
  void end_broken();
  void publish_gauges();

  const EngineOptions options_;
  const std::unique_ptr<Executor> executor_;
  const int32_t vocab_size_;
  BlockManager pages_;
  Scheduler scheduler_;
  BatchBuilder builder_;
  const int32_t max_launched_;  // steps that run at a time: 2 on a device that runs ahead
  Launched launched_[2];
  uint32_t n_launched_ = 0, n_completed_ = 0;
  Clock::time_point last_completed_{};
  // When the step behind the one that runs is planned. Requests that come before are in it.
  Clock::time_point plan_at_{};
  std::unordered_map<RequestId, std::unique_ptr<RequestGroup>> open_;
  std::vector<Command> commands_;  // taken from the queue, being applied
  OutputEvent event_;              // the one that carries a token, used again and again
  MetricsRecorder metrics_;

  mutable std::mutex mutex_;
  std::condition_variable wake_, ended_;
  std::vector<Command> queue_;
  RequestId last_id_ = 0;
  int64_t n_open_ = 0;     // requests accepted and not ended
  int64_t n_waiting_ = 0;  // choices without a place in the batch
  bool draining_ = false, end_all_ = false, stop_ = false;
  Status broken_;  // why nothing can run any more

  std::thread thread_;  // last: it starts when all else is there
};

}  // namespace octet
