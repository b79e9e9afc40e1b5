// A StepPlan as the model and the sampler take it: token ids, positions, slots, page tables, and one sampling
// row for each row of logits. Memory is taken for the limits; lists whose length the requests decide
// (penalties, biases) grow when a sequence comes in, never while it runs.
#pragma once

#include "backend/batch.h"
#include "backend/sampling.h"
#include "engine/scheduler.h"

namespace octet {

class BatchBuilder {
 public:
  BatchBuilder(const SchedulerLimits& limits, int32_t page_size);

  // The results below are valid until the next call.
  void build(const StepPlan& plan);
  const ForwardBatch& batch() const { return batch_; }
  const SamplingBatch& sampling() const { return sampling_; }

 private:
  void add_tokens(const PlanEntry& entry, int32_t stride);
  void add_rows(const PlanEntry& entry, int32_t first_token);
  void add_prompt_row(const Sequence& sequence, int32_t position);
  void add_sampling_row(const PlanEntry& entry);
  void reserve_lists(const StepPlan& plan);

  const SchedulerLimits limits_;
  const int32_t page_size_;
  ForwardBatch batch_;
  SamplingBatch sampling_;
};

}  // namespace octet
