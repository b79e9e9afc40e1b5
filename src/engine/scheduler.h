// Which tokens of which sequences a step computes. Two verbs on integers; no clock, no model, no thread.
//
// Order. Sequences are ordered by (priority, arrival, choice), in the batch and in the queue. A step takes
//   1. every sequence that has one token to compute (decodes), so that no prompt can hold up running output;
//   2. chunks of the prompts in the batch, as far as the token budget goes (Sarathi's chunked prefill);
//   3. new sequences from the queue, in order: nobody overtakes one that lacks pages.
// A sequence comes in only if pages for all its tokens are there, and one more for each sequence in the batch
// that may yet want one, so that it is not thrown out at once. Where a decode finds no page, the last
// sequence in order leaves the batch and waits again with its tokens kept (preemption by recomputation; what
// the prefix cache still holds is not computed twice). The first in order always goes on, so everything ends.
//
// Choices (n > 1) of one request share the prompt's full pages through the prefix cache: the others come in
// when the first has computed the prompt, and each recomputes the tokens of the last, partial page. They let
// later requests pass while they wait for that.
//
// Rows of logits are a budget, too: prompt_logprobs wants one for every prompt token and gets smaller chunks.
//
// One step ahead. commit() alone needs the sampled tokens, so a second step may be planned before the first
// is committed: while a device runs step n, step n + 1 is planned on the assumption that no sequence ends,
// its decodes read tokens that only the device knows yet, and then n is committed. What ended by a stop token
// in n is computed once more in n + 1 for nothing, and dropped there. Pages that n + 1 still writes may be
// given away before it has run: a device works in order, so the next owner's keys come later.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/sampling.h"
#include "engine/step_plan.h"

namespace octet {

struct SchedulerLimits {
  int32_t max_batch = 0;        // sequences in a step
  int32_t max_step_tokens = 0;  // at least max_batch
  int32_t max_rows = 0;         // rows of logits in a step; at least max_batch
  int32_t max_context = 0;      // tokens of a sequence; that many fit into the cache
  std::vector<int32_t> eos_ids;
};

// What commit() did to one sequence.
struct StepResult {
  Sequence* sequence = nullptr;
  const SampledToken* sampled = nullptr;  // null for a broken step that sampled nothing
  FinishReason finish = FinishReason::kNone;
  bool is_stop_token = false;  // the sampled token ended the sequence and is no part of it
};

class Scheduler {
 public:
  Scheduler(SchedulerLimits limits, BlockManager& pages);

  void add(RequestGroup& group);  // all its choices wait
  // A finished sequence is left alone. One that stands in an open plan must live until that is committed.
  void cancel(Sequence& sequence);

  // Valid until it is committed, which an empty plan need not be. With no open plan, it is empty if and only
  // if nobody waits or runs; with one, also where all depends on the tokens that it samples.
  const StepPlan& plan();
  // Whether plan() may be called with one plan open: not where a penalty depends on the token in flight.
  bool may_plan_ahead() const;
  int32_t n_open() const { return n_open_; }
  // With one plan open, after a commit: how long the plan behind it can wait, as a share of what the one
  // committed took, so that requests that come meanwhile are in it.
  double share_to_wait() const;
  // Of the oldest open plan. `sampled`: one for each of its rows, in order. One result for each sequence that
  // got a token or broke.
  std::span<const StepResult> commit(std::span<const SampledToken> sampled);

  std::span<Sequence* const> running() const { return running_; }
  int32_t n_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  const SchedulerLimits& limits() const { return limits_; }

 private:
  void plan_decodes();
  void plan_prefills();
  void admit();
  void admit(size_t place, Sequence& sequence);
  bool is_ready(const Sequence& sequence) const;
  bool may_grow(const Sequence& sequence) const;  // by a page
  void preempt_last();
  StepPlan& newest() { return plans_[(oldest_ + n_open_) % 2]; }  // the one that is being made
  PlanEntry make_entry(Sequence& sequence, int32_t n_tokens) const;
  int32_t chunk_that_fits(Sequence& sequence);
  void push_entry(Sequence& sequence, int32_t n_tokens);
  bool keep_prompt_logprobs(const PlanEntry& entry, std::span<const SampledToken> sampled);
  void commit_entry(const PlanEntry& entry, std::span<const SampledToken> sampled);
  void finish(Sequence& sequence);
  void leave_batch(Sequence& sequence);

  const SchedulerLimits limits_;
  BlockManager& pages_;
  std::vector<Sequence*> running_, waiting_;  // in order
  StepPlan plans_[2];
  int32_t oldest_ = 0, n_open_ = 0;
  std::vector<StepResult> results_;
};

}  // namespace octet
