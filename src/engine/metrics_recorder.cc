#include "engine/metrics_recorder.h"

namespace octet {
namespace {

double seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

const std::vector<double> kLatencyBounds = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                            0.1,   0.25,   0.5,   0.75, 1,    2.5,  5,    7.5,
                                            10,    20,     40,    80,   160,  640};
const std::vector<double> kTokenBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025,
                                          0.03,   0.04,  0.05,   0.075, 0.1,  0.15,  0.2,  0.3,
                                          0.4,    0.5,   0.75,   1,     2.5,  5,     10};

}  // namespace

void RateWindow::add(Clock::time_point now, uint64_t n) {
  const int64_t index = now.time_since_epoch() / kBucket;
  Bucket& bucket = buckets_[index % kBuckets];
  if (bucket.index != index) bucket = {index, 0};
  bucket.n += n;
}

double RateWindow::per_second(Clock::time_point now) const {
  const int64_t index = now.time_since_epoch() / kBucket;
  uint64_t total = 0;
  for (const Bucket& bucket : buckets_) {
    if (bucket.index > index - kBuckets) total += bucket.n;
  }
  return static_cast<double>(total) / seconds(kBuckets * kBucket);
}

MetricsRecorder::MetricsRecorder() {
  for (Histogram* h :
       {&metrics_.ttft, &metrics_.e2e, &metrics_.queue_time, &metrics_.prefill_time, &metrics_.decode_time}) {
    *h = Histogram(kLatencyBounds);
  }
  metrics_.inter_token = metrics_.step_time = Histogram(kTokenBounds);
}

void MetricsRecorder::planned(const StepPlan& plan, Clock::time_point now) {
  if (plan.admitted.empty() && plan.preempted.empty()) return;
  const std::lock_guard lock(mutex_);
  metrics_.preemptions += plan.preempted.size();
  for (Sequence* sequence : plan.admitted) {
    if (sequence->admitted_at != Clock::time_point{}) continue;  // back from a preemption
    sequence->admitted_at = now;
    metrics_.queue_time.observe(seconds(now - sequence->group->submitted_at));
    metrics_.prefix_queries += static_cast<uint64_t>(sequence->n_prompt);
    metrics_.prefix_hits += static_cast<uint64_t>(sequence->n_cached_prompt);
  }
}

void MetricsRecorder::committed(std::span<const StepResult> results, Clock::time_point started,
                                Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ++metrics_.steps;
  metrics_.step_time.observe(seconds(now - started));
  const uint64_t before = metrics_.generated_tokens;
  for (const StepResult& result : results) {
    if (result.finish != FinishReason::kError) got_token(*result.sequence, now);
    if (result.finish != FinishReason::kNone) finished(*result.sequence, result.finish, now);
  }
  output_.add(now, metrics_.generated_tokens - before);
}

void MetricsRecorder::cancelled(const Sequence& sequence, bool text_complete, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  finished(sequence, text_complete ? FinishReason::kStop : FinishReason::kCancelled, now);
}

void MetricsRecorder::set_gauges(int64_t n_running, int64_t n_waiting, int64_t pages_used,
                                 int64_t pages_total) {
  const std::lock_guard lock(mutex_);
  metrics_.running = n_running;
  metrics_.waiting = n_waiting;
  metrics_.kv_pages_used = pages_used;
  metrics_.kv_pages_total = pages_total;
  metrics_.kv_usage = static_cast<double>(pages_used) / static_cast<double>(pages_total);
}

EngineMetrics MetricsRecorder::snapshot(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  EngineMetrics metrics = metrics_;
  metrics.output_tokens_per_second = output_.per_second(now);
  return metrics;
}

void MetricsRecorder::got_token(Sequence& sequence, Clock::time_point now) {
  RequestGroup& group = *sequence.group;
  ++metrics_.generated_tokens;
  if (!group.prompt_counted) {
    group.prompt_counted = true;
    metrics_.prompt_tokens += group.request.prompt.size();
  }
  if (sequence.first_token_at == Clock::time_point{}) {
    sequence.first_token_at = now;
    metrics_.ttft.observe(seconds(now - group.submitted_at));
    metrics_.prefill_time.observe(seconds(now - sequence.admitted_at));
  } else {
    metrics_.inter_token.observe(seconds(now - sequence.last_token_at));
  }
  sequence.last_token_at = now;
}

void MetricsRecorder::finished(const Sequence& sequence, FinishReason reason, Clock::time_point now) {
  switch (reason) {
    case FinishReason::kNone:
      return;
    case FinishReason::kCancelled:
      ++metrics_.finished_cancelled;
      return;
    case FinishReason::kError:
      ++metrics_.finished_error;
      return;
    case FinishReason::kStop:
      ++metrics_.finished_stop;
      break;
    case FinishReason::kLength:
      ++metrics_.finished_length;
      break;
  }
  metrics_.e2e.observe(seconds(now - sequence.group->submitted_at));
  metrics_.decode_time.observe(seconds(sequence.last_token_at - sequence.first_token_at));
}

}  // namespace octet
