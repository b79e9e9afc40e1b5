// Where the engine's thread writes its metrics, once or twice a step, and others read a snapshot.
#pragma once

#include <array>
#include <mutex>
#include <span>

#include "engine/metrics.h"
#include "engine/scheduler.h"

namespace octet {

// Events a second over the last few seconds; an idle source falls to zero.
class RateWindow {
 public:
  void add(Clock::time_point now, uint64_t n);
  double per_second(Clock::time_point now) const;

 private:
  static constexpr int64_t kBuckets = 30;
  static constexpr auto kBucket = std::chrono::milliseconds(100);
  struct Bucket {
    int64_t index = -1;  // of its time; an old one counts as empty
    uint64_t n = 0;
  };
  std::array<Bucket, kBuckets> buckets_;
};

class MetricsRecorder {
 public:
  MetricsRecorder();

  // A step: what came in and went out before the model ran, and what it gave. `started` is when it was
  // planned. Both set the sequences' own times.
  void planned(const StepPlan& plan, Clock::time_point now);
  void committed(std::span<const StepResult> results, Clock::time_point started, Clock::time_point now);
  // text_complete: its caller had all it wanted (a stop string), which counts as a stop.
  void cancelled(const Sequence& sequence, bool text_complete, Clock::time_point now);
  void set_gauges(int64_t n_running, int64_t n_waiting, int64_t pages_used, int64_t pages_total);

  EngineMetrics snapshot(Clock::time_point now) const;

 private:
  void got_token(Sequence& sequence, Clock::time_point now);
  void finished(const Sequence& sequence, FinishReason reason, Clock::time_point now);

  mutable std::mutex mutex_;
  EngineMetrics metrics_;
  RateWindow output_;
};

}  // namespace octet
