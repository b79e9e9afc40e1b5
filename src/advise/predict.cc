#include "advise/predict.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "engine/scheduler.h"

namespace octet {
namespace {

struct Served {
  double arrival = 0, first = 0, last = 0;
};

// A step that was launched: the device takes them one after the other.
struct Running {
  int32_t n_rows = 0;
  double began = 0, ends = 0;
};

class Simulation {
 public:
  Simulation(const StepModel& step, const ServingLimits& limits, const ThroughputOptions& workload)
      : step_(step),
        workload_(workload),
        max_open_(limits.runs_ahead ? 2 : 1),
        pages_(limits.n_pages, limits.page_size, /*prefix_cache=*/false),
        scheduler_({limits.max_batch,
                    limits.max_step_tokens,
                    limits.max_batch,
                    limits.n_pages * limits.page_size,
                    {}},
                   pages_),
        arrivals_(arrival_seconds(workload)) {
    for (const double arrival : arrivals_) served_.push_back({arrival});
  }

  ThroughputResult run() {
    while (n_ended_ < workload_.requests) {
      arrive();
      const StepPlan& plan = scheduler_.plan();
      if (!plan.empty()) {
        launch(plan);
      } else if (open_.empty()) {  // nobody is there: until somebody comes
        now_ = arrivals_[groups_.size()];
      }
      if (std::ssize(open_) == max_open_ || (plan.empty() && !open_.empty())) complete();
    }
    return summary();
  }

 private:
  void arrive() {
    while (groups_.size() < arrivals_.size() && arrivals_[groups_.size()] <= now_) {
      Request request;
      request.prompt.assign(static_cast<size_t>(workload_.input_len), 0);
      request.sampling.max_tokens = workload_.output_len;
      request.sampling.ignore_eos = true;
      groups_.push_back(std::make_unique<RequestGroup>(groups_.size() + 1, std::move(request), 0));
      scheduler_.add(*groups_.back());
    }
  }

  void launch(const StepPlan& plan) {
    StepShape shape;
    for (const PlanEntry& entry : plan.entries) shape.add(entry.first, entry.n_tokens);
    shape.rows = plan.n_rows;
    const double begins = open_.empty() ? now_ : std::max(now_, open_.back().ends);
    open_.push_back({plan.n_rows, begins, begins + step_.seconds(shape)});
  }

  // The oldest step, and up to when the next is planned.
  void complete() {
    const Running step = open_.front();
    open_.pop_front();
    now_ = std::max(now_, step.ends);
    sampled_.assign(static_cast<size_t>(step.n_rows), SampledToken{});
    for (auto& token : sampled_) token.token = 0;
    for (const StepResult& result : scheduler_.commit(sampled_)) take(result);
    now_ += (step.ends - step.began) * scheduler_.share_to_wait();
  }

  void take(const StepResult& result) {
    Served& served = served_[result.sequence->group->id - 1];
    if (served.first == 0) served.first = now_;
    served.last = now_;
    if (result.finish != FinishReason::kNone) ++n_ended_;
  }

  ThroughputResult summary() const {
    ThroughputResult result;
    std::vector<double> ttft, tpot;
    for (const Served& served : served_) {
      ttft.push_back(1e3 * (served.first - served.arrival));
      if (workload_.output_len > 1) {
        tpot.push_back(1e3 * (served.last - served.first) / (workload_.output_len - 1));
      }
    }
    for (const Served& served : served_) result.seconds = std::max(result.seconds, served.last);
    result.input_tokens = int64_t{workload_.requests} * workload_.input_len;
    result.output_tokens = int64_t{workload_.requests} * workload_.output_len;
    result.output_tok_s = static_cast<double>(result.output_tokens) / result.seconds;
    result.total_tok_s = static_cast<double>(result.input_tokens + result.output_tokens) / result.seconds;
    result.request_s = workload_.requests / result.seconds;
    result.ttft_ms = percentiles(std::move(ttft));
    result.tpot_ms = percentiles(std::move(tpot));
    return result;
  }

  const StepModel& step_;
  const ThroughputOptions& workload_;
  const int64_t max_open_;
  BlockManager pages_;
  Scheduler scheduler_;
  const std::vector<double> arrivals_;
  std::vector<Served> served_;
  std::vector<std::unique_ptr<RequestGroup>> groups_;
  std::deque<Running> open_;
  std::vector<SampledToken> sampled_;
  double now_ = 0;  // of the host
  int32_t n_ended_ = 0;
};

}  // namespace

Result<ThroughputResult> predict_throughput(const StepModel& step, const ServingLimits& limits,
                                            const ThroughputOptions& workload) {
  const int64_t room = int64_t{limits.n_pages} * limits.page_size;
  if (int64_t{workload.input_len} + workload.output_len > room) {
    return invalid_argument("a request of " + std::to_string(workload.input_len + workload.output_len) +
                            " tokens is longer than the cache of " + std::to_string(room));
  }
  return Simulation(step, limits, workload).run();
}

}  // namespace octet
