// What one step computes: made by the scheduler, read by the batch builder, completed by Scheduler::commit.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sequence.h"

namespace octet {

// Tokens [first, first + n_tokens) of a sequence. Its rows of logits, in order: one for each position in
// [logprobs_begin, logprobs_end), where the logprob of the prompt token behind it is wanted; then, where
// `samples`, that of the sequence's last token.
struct PlanEntry {
  Sequence* sequence = nullptr;
  int32_t first = 0, n_tokens = 0;
  int32_t logprobs_begin = 0, logprobs_end = 0;
  bool samples = false;
  int32_t input_row = -1;  // >= 0: its last token is the one that this row of the step before samples
  int32_t admission = 0;   // of the sequence, when this was planned: its pages are those of that admission

  int32_t n_rows() const { return logprobs_end - logprobs_begin + (samples ? 1 : 0); }
};

struct StepPlan {
  std::vector<PlanEntry> entries;    // decodes first, then chunks of prompts
  std::vector<Sequence*> admitted;   // came into the batch with this step
  std::vector<Sequence*> preempted;  // had to leave it: their pages are free, they wait again
  int32_t n_tokens = 0, n_rows = 0;

  bool empty() const { return entries.empty(); }
  void clear() {
    entries.clear();
    admitted.clear();
    preempted.clear();
    n_tokens = n_rows = 0;
  }
};

}  // namespace octet
