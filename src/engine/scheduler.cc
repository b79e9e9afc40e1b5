#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "base/check.h"

namespace octet {
namespace {

bool comes_before(const Sequence* a, const Sequence* b) {
  const auto key = [](const Sequence* s) {
    return std::tuple(s->group->request.priority, s->group->id, s->choice);
  };
  return key(a) < key(b);
}

void insert_in_order(std::vector<Sequence*>& list, Sequence& sequence) {
  list.insert(std::upper_bound(list.begin(), list.end(), &sequence, comes_before), &sequence);
}

void erase(std::vector<Sequence*>& list, Sequence& sequence) {
  const auto place = std::lower_bound(list.begin(), list.end(), &sequence, comes_before);
  OCTET_CHECK(place != list.end() && *place == &sequence);
  list.erase(place);
}

OutputToken to_output_token(const SampledToken& sampled) {
  OutputToken token{sampled.token, sampled.logprob, {}};
  for (int32_t i = 0; i < sampled.n_top; ++i) {
    token.top.push_back({sampled.top_tokens[i], sampled.top_logprobs[i]});
  }
  return token;
}

}  // namespace

Scheduler::Scheduler(SchedulerLimits limits, BlockManager& pages)
    : limits_(std::move(limits)), pages_(pages) {
  OCTET_CHECK(limits_.max_batch > 0 && limits_.max_step_tokens >= limits_.max_batch &&
              limits_.max_rows >= limits_.max_batch &&
              pages.pages_for(limits_.max_context) <= pages.n_pages());
  running_.reserve(limits_.max_batch);
  results_.reserve(limits_.max_batch);
  for (StepPlan& plan : plans_) {
    plan.entries.reserve(limits_.max_batch);
    plan.admitted.reserve(limits_.max_batch);
    plan.preempted.reserve(limits_.max_batch);
  }
}

void Scheduler::add(RequestGroup& group) {
  for (Sequence& sequence : group.choices) insert_in_order(waiting_, sequence);
}

void Scheduler::cancel(Sequence& sequence) {
  if (sequence.state == SequenceState::kRunning) erase(running_, sequence);
  finish(sequence);
}

const StepPlan& Scheduler::plan() {
  OCTET_CHECK(n_open_ == 0 || (n_open_ == 1 && may_plan_ahead())) << "plan before commit";
  StepPlan& plan = newest();
  plan.clear();
  plan_decodes();
  plan_prefills();
  admit();
  if (!plan.empty()) ++n_open_;
  return plan;
}

bool Scheduler::may_plan_ahead() const {
  return std::ranges::none_of(running_, [](const Sequence* s) { return s->wants_penalties(); });
}

// Where a new request would be admitted, most of the step under way can pass. Decodes take as long as those
// before them; what is left of the time is for the host, and for decodes that take less.
double Scheduler::share_to_wait() const {
  if (n_open_ != 1) return 0;
  const StepPlan &last = plans_[1 - oldest_], &running = plans_[oldest_];
  const bool has_room = waiting_.empty() && std::ssize(running_) < limits_.max_batch;
  const bool alike = running.n_rows == running.n_tokens && last.n_rows == last.n_tokens &&
                     10 * running.n_rows >= 9 * last.n_rows;
  return has_room && alike ? 0.7 : 0;
}

void Scheduler::plan_decodes() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.n_left() != 1 || sequence.will_end(limits_.max_context)) continue;
    while (!pages_.may_append(sequence.table, sequence.n_planned())) {
      preempt_last();
      if (i == running_.size()) return;  // it was this one
    }
    pages_.append(sequence.table, sequence.n_planned());
    push_entry(sequence, 1);
  }
}

void Scheduler::plan_prefills() {
  for (Sequence* sequence : running_) {
    if (sequence->n_left() == 1) continue;
    if (const int32_t n_tokens = chunk_that_fits(*sequence); n_tokens > 0) push_entry(*sequence, n_tokens);
  }
}

void Scheduler::admit() {
  std::optional<int32_t> n_growing;  // counted where somebody may come in: a full batch has no use for it
  for (size_t place = 0; place < waiting_.size();) {
    const auto n_running = static_cast<int32_t>(running_.size());
    const StepPlan& plan = newest();
    if (n_running == limits_.max_batch || plan.n_tokens == limits_.max_step_tokens ||
        plan.n_rows == limits_.max_rows) {
      return;
    }
    Sequence& sequence = *waiting_[place];
    if (sequence.n_in_flight > 0) return;  // preempted while its next token is sampled: that comes first
    if (!is_ready(sequence)) {
      ++place;
      continue;
    }
    if (!n_growing) {
      n_growing = static_cast<int32_t>(
          std::ranges::count_if(running_, [this](const Sequence* s) { return may_grow(*s); }));
    }
    if (!pages_.can_allocate(sequence.text(), sequence.group->max_cached(), *n_growing)) return;
    admit(place, sequence);
    *n_growing += may_grow(sequence) ? 1 : 0;
  }
}

void Scheduler::admit(size_t place, Sequence& sequence) {
  waiting_.erase(waiting_.begin() + static_cast<int64_t>(place));
  insert_in_order(running_, sequence);
  const bool first_time = sequence.tokens.empty();
  if (first_time) sequence.start(limits_.max_context, pages_.page_size());
  sequence.state = SequenceState::kRunning;
  ++sequence.group->n_running;
  ++sequence.n_admissions;
  sequence.n_computed = pages_.allocate(sequence.text(), sequence.group->max_cached(), sequence.table);
  if (first_time) sequence.n_cached_prompt = sequence.n_computed;
  newest().admitted.push_back(&sequence);
  push_entry(sequence, chunk_that_fits(sequence));
}

bool Scheduler::may_grow(const Sequence& sequence) const {
  return pages_.pages_for(sequence.longest(limits_.max_context)) > std::ssize(sequence.table.pages);
}

bool Scheduler::is_ready(const Sequence& sequence) const {
  return sequence.group->prompt_done || sequence.group->n_running == 0 || !pages_.has_prefix_cache();
}

void Scheduler::preempt_last() {
  Sequence& victim = *running_.back();
  running_.pop_back();
  leave_batch(victim);
  victim.state = SequenceState::kWaiting;
  insert_in_order(waiting_, victim);
  newest().preempted.push_back(&victim);
}

PlanEntry Scheduler::make_entry(Sequence& sequence, int32_t n_tokens) const {
  PlanEntry entry{&sequence, sequence.n_computed, n_tokens};
  const int32_t end = entry.first + n_tokens;
  entry.samples = end == sequence.n_planned();
  entry.admission = sequence.n_admissions;
  if (end > sequence.n_tokens()) entry.input_row = sequence.sampled_row;
  if (sequence.group->wants_prompt_logprobs()) {
    const auto n_known = static_cast<int32_t>(sequence.group->prompt_logprobs.size());
    entry.logprobs_end = std::min(end, sequence.n_prompt - 1);
    entry.logprobs_begin = std::min(std::max(entry.first, n_known), entry.logprobs_end);
  }
  return entry;
}

// A token more is at most a row more, so taking away as many tokens as there are rows too many comes to an
// end.
int32_t Scheduler::chunk_that_fits(Sequence& sequence) {
  int32_t n_tokens = std::min(sequence.n_left(), limits_.max_step_tokens - newest().n_tokens);
  const int32_t rows_left = limits_.max_rows - newest().n_rows;
  while (const int32_t excess = std::max(0, make_entry(sequence, n_tokens).n_rows() - rows_left))
    n_tokens -= excess;
  return n_tokens;
}

void Scheduler::push_entry(Sequence& sequence, int32_t n_tokens) {
  const PlanEntry entry = make_entry(sequence, n_tokens);
  StepPlan& plan = newest();
  plan.n_tokens += entry.n_tokens;
  plan.n_rows += entry.n_rows();
  plan.entries.push_back(entry);
  sequence.n_computed += n_tokens;
  if (!entry.samples) return;
  ++sequence.n_in_flight;
  sequence.sampled_row = plan.n_rows - 1;
}

std::span<const StepResult> Scheduler::commit(std::span<const SampledToken> sampled) {
  const StepPlan& plan = plans_[oldest_];
  OCTET_CHECK(n_open_ > 0 && static_cast<int32_t>(sampled.size()) == plan.n_rows);
  results_.clear();
  for (const PlanEntry& entry : plan.entries) {
    commit_entry(entry, sampled.first(entry.n_rows()));
    sampled = sampled.subspan(entry.n_rows());
  }
  std::erase_if(running_, [](const Sequence* s) { return s->state == SequenceState::kFinished; });
  oldest_ = 1 - oldest_;
  --n_open_;
  return results_;
}

void Scheduler::commit_entry(const PlanEntry& entry, std::span<const SampledToken> sampled) {
  Sequence& sequence = *entry.sequence;
  if (entry.samples) --sequence.n_in_flight;
  if (sequence.state == SequenceState::kFinished) return;  // by the step before, or cancelled
  StepResult result{&sequence};
  if (!keep_prompt_logprobs(entry, sampled)) {
    result.finish = FinishReason::kError;
  } else if (entry.samples) {
    result.sampled = &sampled.back();
    if (result.sampled->token < 0 || std::isnan(result.sampled->logprob)) {
      result.finish = FinishReason::kError;
    } else {
      result.finish = sequence.accept(result.sampled->token, limits_.eos_ids, limits_.max_context);
      result.is_stop_token = result.finish == FinishReason::kStop;
    }
  }
  // Nobody may share what a broken step wrote; pages of a sequence that was preempted meanwhile are gone.
  const bool has_pages =
      sequence.state == SequenceState::kRunning && entry.admission == sequence.n_admissions;
  if (result.finish != FinishReason::kError && has_pages) {
    const int32_t n_computed = entry.first + entry.n_tokens;
    pages_.publish(sequence.text(), n_computed, sequence.table);
    if (n_computed >= sequence.n_prompt) sequence.group->prompt_done = true;
  }
  if (result.finish != FinishReason::kNone) finish(sequence);
  if (entry.samples || result.finish != FinishReason::kNone) results_.push_back(result);
}

// False where the model's numbers are broken. Two choices may compute the same tokens in one step: the first
// counts.
bool Scheduler::keep_prompt_logprobs(const PlanEntry& entry, std::span<const SampledToken> sampled) {
  RequestGroup& group = *entry.sequence->group;
  for (int32_t position = entry.logprobs_begin; position < entry.logprobs_end; ++position) {
    const SampledToken& row = sampled[position - entry.logprobs_begin];
    if (row.token != group.request.prompt[position + 1] || std::isnan(row.logprob)) return false;
    if (position == static_cast<int32_t>(group.prompt_logprobs.size())) {
      group.prompt_logprobs.push_back(to_output_token(row));
    }
  }
  return true;
}

void Scheduler::finish(Sequence& sequence) {
  if (sequence.state == SequenceState::kFinished) return;
  if (sequence.state == SequenceState::kWaiting) {
    erase(waiting_, sequence);
  } else {
    leave_batch(sequence);
  }
  sequence.state = SequenceState::kFinished;
}

void Scheduler::leave_batch(Sequence& sequence) {
  pages_.free(sequence.table);
  sequence.n_computed = 0;
  --sequence.group->n_running;
}

}  // namespace octet
