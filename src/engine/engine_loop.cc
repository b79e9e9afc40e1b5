#include "engine/engine_loop.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"

namespace octet {
namespace {

// A seed for a request that brings none: splitmix64 over the engine's seed and the request's number.
uint64_t draw_seed(uint64_t engine_seed, RequestId id) {
  uint64_t z = engine_seed + id * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Into an entry that is used again: no memory is taken where it was as long before.
void fill(const SampledToken& sampled, OutputToken& token) {
  token.token = sampled.token;
  token.logprob = sampled.logprob;
  token.top.clear();
  for (int32_t i = 0; i < sampled.n_top; ++i) {
    token.top.push_back({sampled.top_tokens[i], sampled.top_logprobs[i]});
  }
}

}  // namespace

EngineLoop::EngineLoop(std::unique_ptr<Executor> executor, const EngineOptions& options,
                       SchedulerLimits limits)
    : options_(options),
      executor_(std::move(executor)),
      vocab_size_(executor_->limits().vocab_size),
      pages_(executor_->limits().n_pages, executor_->limits().page_size, options.prefix_cache),
      scheduler_(limits, pages_),
      builder_(limits, pages_.page_size()),
      max_launched_(executor_->limits().runs_ahead ? 2 : 1) {
  for (Launched& step : launched_) step.sampled.resize(scheduler_.limits().max_rows);
  publish_gauges();
  thread_ = std::thread([this] { run(); });
}

EngineLoop::~EngineLoop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Status EngineLoop::check(const Request& request) const {
  if (!request.on_event) return invalid_argument("a request needs on_event to answer to");
  if (request.prompt.empty()) return invalid_argument("prompt is empty; it needs at least one token");
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  if (n_prompt >= max_context()) {
    return invalid_argument(fmt::format(
        "prompt has {} tokens; with one token of output this server takes at most {} in a sequence. "
        "Shorten the prompt, or serve with a larger context or cache",
        n_prompt, max_context()));
  }
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= vocab_size_) {
      return invalid_argument(
          fmt::format("prompt has token {} at index {}; this model's vocabulary is [0, {})",
                      request.prompt[i], i, vocab_size_));
    }
  }
  if (request.n < 1 || request.n > kMaxChoices) {
    return invalid_argument(fmt::format("n must be in [1, {}], not {}", kMaxChoices, request.n));
  }
  return request.sampling.validate(vocab_size_);
}

Result<std::vector<RequestId>> EngineLoop::submit(std::vector<Request> requests) {
  const auto submitted_at = Clock::now();
  int64_t n_choices = 0;
  for (const Request& request : requests) {
    OCTET_RETURN_IF_ERROR(check(request));
    n_choices += request.n;
  }
  std::vector<RequestId> ids;
  std::unique_lock lock(mutex_);
  if (!broken_.ok()) return unavailable(broken_.message());
  if (draining_ || stop_) return unavailable("the engine is shutting down and takes no new requests");
  // The last one may go over it with its choices.
  const int64_t n_before = requests.empty() ? 0 : n_waiting_ + n_choices - requests.back().n;
  if (n_before >= options_.max_waiting) {
    return resource_exhausted(
        fmt::format("{} sequences wait and {} are asked for at once; the queue holds {} (--max-queue): "
                    "ask for fewer, or try again later",
                    n_waiting_, n_choices, options_.max_waiting));
  }
  n_waiting_ += n_choices;
  n_open_ += std::ssize(requests);
  for (Request& request : requests) {
    const RequestId id = ids.emplace_back(++last_id_);
    const auto& sampling = request.sampling;
    const uint64_t seed = sampling.has_seed ? sampling.seed : draw_seed(options_.seed, id);
    auto group = std::make_unique<RequestGroup>(id, std::move(request), seed);
    group->submitted_at = submitted_at;
    queue_.push_back({std::move(group), id, kAllChoices});
  }
  lock.unlock();
  wake_.notify_one();
  return ids;
}

void EngineLoop::cancel(RequestId id) {
  push({nullptr, id, kAllChoices});
}

void EngineLoop::cancel_choice(RequestId id, int32_t choice) {
  if (choice >= 0) push({nullptr, id, choice});
}

void EngineLoop::push(Command command) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
  }
  wake_.notify_one();
}

void EngineLoop::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto all_ended = [this] { return n_open_ == 0; };
  if (ended_.wait_for(lock, timeout, all_ended)) return;
  end_all_ = true;
  wake_.notify_one();
  ended_.wait(lock, all_ended);
}

Status EngineLoop::status() const {
  const std::lock_guard lock(mutex_);
  return broken_;
}

void EngineLoop::run() {
  while (take_commands()) {
    for (Command& command : commands_) apply(std::move(command));
    commands_.clear();
    if (broken_.ok()) {
      step();
    } else {
      end_broken();
    }
  }
  for (Command& command : commands_) apply(std::move(command));
  end_all();
  while (broken_.ok() && n_completed_ != n_launched_) complete();  // it writes into memory of ours
}

bool EngineLoop::take_commands() {
  bool end = false, go_on = false;
  {
    std::unique_lock lock(mutex_);
    const bool idle = open_.empty() && n_completed_ == n_launched_;
    if (idle) {
      wake_.wait(lock, [this] { return stop_ || end_all_ || !queue_.empty(); });
    } else if (n_launched_ != n_completed_) {
      wake_.wait_until(lock, plan_at_, [this] { return stop_ || end_all_; });
    }
    std::swap(commands_, queue_);
    end = std::exchange(end_all_, false);
    go_on = !stop_;
  }
  if (end) {  // what is in the queue came before
    for (Command& command : commands_) apply(std::move(command));
    commands_.clear();
    end_all();
  }
  return go_on;
}

void EngineLoop::apply(Command command) {
  if (command.group != nullptr) {
    RequestGroup& group = *command.group;
    open_.emplace(command.id, std::move(command.group));
    scheduler_.add(group);
  } else if (const auto found = open_.find(command.id); found != open_.end()) {
    end_choices(*found->second, command.choice);
  }
}

void EngineLoop::step() {
  if (n_completed_ != n_launched_ && !scheduler_.may_plan_ahead()) complete();
  if (!broken_.ok()) return;
  const auto started = Clock::now();
  const StepPlan& plan = scheduler_.plan();
  if (!plan.empty()) launch(plan, started);
  const auto n_running = static_cast<int32_t>(n_launched_ - n_completed_);
  if (n_running == max_launched_ || (n_running > 0 && plan.empty())) return complete();
  publish_gauges();
}

void EngineLoop::launch(const StepPlan& plan, Clock::time_point started) {
  metrics_.planned(plan, started);
  builder_.build(plan);
  Launched& step = launched_[n_launched_++ % 2];
  step.n_rows = plan.n_rows;
  step.started = started;
  executor_->launch(builder_.batch(), builder_.sampling(), std::span(step.sampled).first(step.n_rows));
}

void EngineLoop::complete() {
  Launched& step = launched_[n_completed_++ % 2];
  if (const Status status = executor_->wait(); !status.ok()) return fail(status);
  const auto results = scheduler_.commit(std::span(step.sampled).first(step.n_rows));
  const auto now = Clock::now();
  const auto began = std::max(step.started, last_completed_);
  metrics_.committed(results, began, now);
  last_completed_ = now;
  plan_at_ = now + std::chrono::duration_cast<Clock::duration>((now - began) * scheduler_.share_to_wait());
  publish_gauges();
  for (const StepResult& result : results) emit(result);
  step.ended.clear();
}

void EngineLoop::fail(const Status& error) {
  log_error("the device failed: " + error.message());
  {
    const std::lock_guard lock(mutex_);
    broken_ =
        Status(StatusCode::kUnavailable, "the device failed (" + error.message() + "); restart the server");
  }
  n_completed_ = n_launched_;  // nothing will come of the other one
  end_broken();
}

void EngineLoop::emit(const StepResult& result) {
  Sequence& sequence = *result.sequence;
  begin_event(sequence, event_);
  event_.finish = result.finish;
  const bool has_token = result.finish != FinishReason::kError && !result.is_stop_token;
  event_.tokens.resize(has_token ? 1 : 0);
  if (has_token) fill(*result.sampled, event_.tokens[0]);
  if (result.is_stop_token) event_.stop_token = result.sampled->token;
  if (result.finish == FinishReason::kError) {
    event_.error =
        "the model's logits are not finite numbers: its weights or this scheme overflow on this prompt";
  }
  sequence.group->request.on_event(event_);
  if (result.finish != FinishReason::kNone) close(sequence);
}

// Everything but the token and the finish.
void EngineLoop::begin_event(Sequence& sequence, OutputEvent& event) {
  event.choice = sequence.choice;
  event.stop_token = -1;
  event.error.clear();
  event.cached_prompt_tokens = 0;
  event.prompt_logprobs.clear();
  if (sequence.has_answered) return;
  sequence.has_answered = true;
  event.cached_prompt_tokens = sequence.n_cached_prompt;
  event.prompt_logprobs = sequence.group->prompt_logprobs;
}

// `choice` of the group, or all that are open. The group may be gone afterwards.
void EngineLoop::end_choices(RequestGroup& group, int32_t choice) {
  const auto now = Clock::now();
  const int32_t n = static_cast<int32_t>(group.choices.size());
  const auto [begin, end] =
      choice == kAllChoices ? std::pair(0, n) : std::pair(choice, std::min(choice + 1, n));
  for (int32_t i = begin, n_left = group.n_open; i < end && n_left > 0; ++i) {
    Sequence& sequence = group.choices[i];
    if (sequence.state == SequenceState::kFinished) continue;
    scheduler_.cancel(sequence);
    metrics_.cancelled(sequence, choice != kAllChoices, now);
    OutputEvent event;
    begin_event(sequence, event);
    event.finish = FinishReason::kCancelled;
    group.request.on_event(event);
    --n_left;
    close(sequence);
  }
}

// Its last event is out. The last choice takes the request with it.
void EngineLoop::close(Sequence& sequence) {
  RequestGroup& group = *sequence.group;
  if (--group.n_open > 0) return;
  const auto place = open_.find(group.id);
  if (n_completed_ != n_launched_) launched_[(n_launched_ - 1) % 2].ended.push_back(std::move(place->second));
  open_.erase(place);
  const std::lock_guard lock(mutex_);
  if (--n_open_ == 0) ended_.notify_all();
}

void EngineLoop::end_broken() {
  while (!open_.empty()) {
    RequestGroup& group = *open_.begin()->second;
    for (int32_t i = 0, n_left = group.n_open; n_left > 0; ++i) {
      Sequence& sequence = group.choices[i];
      if (sequence.state == SequenceState::kFinished) continue;
      scheduler_.cancel(sequence);
      OutputEvent event;
      begin_event(sequence, event);
      event.finish = FinishReason::kError;
      event.error = broken_.message();
      group.request.on_event(event);
      --n_left;
      close(sequence);
    }
  }
  publish_gauges();
}

void EngineLoop::end_all() {
  while (!open_.empty()) end_choices(*open_.begin()->second, kAllChoices);
  publish_gauges();
}

void EngineLoop::publish_gauges() {
  int64_t n_waiting = scheduler_.n_waiting();
  {
    const std::lock_guard lock(mutex_);
    for (const Command& command : queue_)
      n_waiting += command.group != nullptr ? command.group->request.n : 0;
    n_waiting_ = n_waiting;
  }
  metrics_.set_gauges(static_cast<int64_t>(scheduler_.running().size()), n_waiting, pages_.n_used(),
                      pages_.n_pages());
}

}  // namespace octet
