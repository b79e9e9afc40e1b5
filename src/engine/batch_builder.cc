#include "engine/batch_builder.h"

#include <algorithm>
#include <limits>

namespace octet {
namespace {

// Added to the logit of a prompt's next token, it makes greedy sampling choose that token; logprobs are those
// of the raw logits, so this asks for the token's logprob. Finite, so that a NaN stays one.
constexpr float kForce = 1e30f;
constexpr float kForbid = -std::numeric_limits<float>::infinity();

}  // namespace

BatchBuilder::BatchBuilder(const SchedulerLimits& limits, int32_t page_size)
    : limits_(limits), page_size_(page_size) {
  const size_t n_tokens = limits.max_step_tokens, n_seqs = limits.max_batch, n_rows = limits.max_rows;
  const size_t max_pages = (limits.max_context + page_size - 1) / page_size;
  for (auto* list : {&batch_.token_ids, &batch_.positions, &batch_.slots}) list->reserve(n_tokens);
  batch_.query_start.reserve(n_seqs + 1);
  batch_.context_lens.reserve(n_seqs);
  batch_.page_table.reserve(n_seqs * max_pages);
  batch_.logit_rows.reserve(n_rows);
  sampling_.rows.reserve(n_rows);
}

void BatchBuilder::build(const StepPlan& plan) {
  batch_.clear();
  sampling_.rows.clear();
  sampling_.penalties.clear();
  sampling_.biases.clear();
  reserve_lists(plan);

  size_t stride = 0;
  for (const PlanEntry& entry : plan.entries) stride = std::max(stride, entry.sequence->table.pages.size());
  batch_.page_table_stride = static_cast<int32_t>(stride);
  batch_.query_start.push_back(0);
  for (const PlanEntry& entry : plan.entries) {
    const int32_t first_token = batch_.n_tokens();
    add_tokens(entry, batch_.page_table_stride);
    add_rows(entry, first_token);
  }
}

void BatchBuilder::add_tokens(const PlanEntry& entry, int32_t stride) {
  const auto text = entry.sequence->text();
  const auto& pages = entry.sequence->table.pages;
  for (int32_t position = entry.first; position < entry.first + entry.n_tokens; ++position) {
    const bool known = position < static_cast<int32_t>(text.size());
    batch_.token_ids.push_back(known ? text[position] : from_row(entry.input_row));
    batch_.positions.push_back(position);
    batch_.slots.push_back(pages[position / page_size_] * page_size_ + position % page_size_);
  }
  batch_.query_start.push_back(batch_.n_tokens());
  batch_.context_lens.push_back(entry.first + entry.n_tokens);
  batch_.page_table.insert(batch_.page_table.end(), pages.begin(), pages.end());
  batch_.page_table.resize(static_cast<size_t>(batch_.n_seqs()) * stride,
                           0);  // a valid page that nobody reads
}

void BatchBuilder::add_rows(const PlanEntry& entry, int32_t first_token) {
  for (int32_t position = entry.logprobs_begin; position < entry.logprobs_end; ++position) {
    batch_.logit_rows.push_back(first_token + position - entry.first);
    add_prompt_row(*entry.sequence, position);
  }
  if (entry.samples) {
    batch_.logit_rows.push_back(batch_.n_tokens() - 1);
    add_sampling_row(entry);
  }
}

void BatchBuilder::add_prompt_row(const Sequence& sequence, int32_t position) {
  SamplingRow row;
  row.n_logprobs = sequence.sampling().prompt_logprobs;
  row.bias_begin = static_cast<int32_t>(sampling_.biases.size());
  sampling_.biases.push_back({sequence.text()[position + 1], kForce});
  row.bias_end = row.bias_begin + 1;
  sampling_.rows.push_back(row);
}

void BatchBuilder::add_sampling_row(const PlanEntry& entry) {
  const Sequence& sequence = *entry.sequence;
  const SamplingParams& s = sequence.sampling();
  const int32_t n_generated = sequence.n_output() + (entry.input_row >= 0 ? 1 : 0);
  SamplingRow row;
  row.temperature = s.temperature;
  row.top_k = std::max(s.top_k, 0);
  row.top_p = s.top_p;
  row.min_p = s.min_p;
  row.repetition_penalty = s.repetition_penalty;
  row.presence_penalty = s.presence_penalty;
  row.frequency_penalty = s.frequency_penalty;
  row.seed = sequence.seed;
  row.n_generated = static_cast<uint64_t>(n_generated);
  row.n_logprobs = s.n_logprobs;

  row.penalty_begin = static_cast<int32_t>(sampling_.penalties.size());
  const auto counts = sequence.penalties.list();
  sampling_.penalties.insert(sampling_.penalties.end(), counts.begin(), counts.end());
  row.penalty_end = static_cast<int32_t>(sampling_.penalties.size());

  row.bias_begin = static_cast<int32_t>(sampling_.biases.size());
  for (const auto& [token, bias] : s.logit_bias) sampling_.biases.push_back({token, bias});
  if (sequence.must_go_on(n_generated)) {
    for (const int32_t token : s.stop_token_ids) sampling_.biases.push_back({token, kForbid});
    if (!s.ignore_eos) {
      for (const int32_t token : limits_.eos_ids) sampling_.biases.push_back({token, kForbid});
    }
  }
  row.bias_end = static_cast<int32_t>(sampling_.biases.size());
  sampling_.rows.push_back(row);
}

// Room for what these sequences can ever need: the same in every step in which they are the batch.
void BatchBuilder::reserve_lists(const StepPlan& plan) {
  size_t n_penalties = 0, n_biases = 0;
  for (const PlanEntry& entry : plan.entries) {
    const SamplingParams& s = entry.sequence->sampling();
    n_penalties += entry.sequence->penalties.capacity();
    n_biases += s.logit_bias.size() + s.stop_token_ids.size() + limits_.eos_ids.size();
    n_biases += entry.logprobs_end - entry.logprobs_begin;
  }
  sampling_.penalties.reserve(n_penalties);
  sampling_.biases.reserve(n_biases);
}

}  // namespace octet
