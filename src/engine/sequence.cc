#include "engine/sequence.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace octet {

void PenaltyCounts::reserve(int32_t n_tokens) {
  list_.reserve(n_tokens);
  places_.assign(std::bit_ceil(static_cast<size_t>(n_tokens) * 2 + 1), -1);
}

void PenaltyCounts::add_prompt(int32_t token) {
  entry(token);
}

void PenaltyCounts::add_output(int32_t token) {
  ++entry(token).output_count;
}

TokenPenalty& PenaltyCounts::entry(int32_t token) {
  const size_t mask = places_.size() - 1;
  size_t place = (static_cast<uint32_t>(token) * 0x9e3779b1u) & mask;
  for (; places_[place] >= 0; place = (place + 1) & mask) {
    if (list_[places_[place]].token == token) return list_[places_[place]];
  }
  places_[place] = static_cast<int32_t>(list_.size());
  return list_.emplace_back(TokenPenalty{token, 0});
}

const SamplingParams& Sequence::sampling() const {
  return group->request.sampling;
}

std::span<const int32_t> Sequence::text() const {
  return tokens.empty() ? std::span(group->request.prompt) : std::span(tokens);
}

bool Sequence::wants_penalties() const {
  const SamplingParams& s = sampling();
  return s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0;
}

bool Sequence::is_stop(int32_t token, std::span<const int32_t> eos_ids) const {
  const SamplingParams& s = sampling();
  return (!s.ignore_eos && std::ranges::find(eos_ids, token) != eos_ids.end()) ||
         std::ranges::find(s.stop_token_ids, token) != s.stop_token_ids.end();
}

int32_t Sequence::longest(int32_t max_context) const {
  return static_cast<int32_t>(std::min(int64_t{n_prompt} + sampling().max_tokens, int64_t{max_context}));
}

void Sequence::start(int32_t max_context, int32_t page_size) {
  const int32_t longest = this->longest(max_context);
  tokens.reserve(longest);
  tokens.assign(group->request.prompt.begin(), group->request.prompt.end());
  table.pages.reserve((longest + page_size - 1) / page_size);
  if (!wants_penalties()) return;
  const bool over_prompt = sampling().repetition_penalty != 1;
  penalties.reserve(over_prompt ? longest : longest - n_prompt);
  if (over_prompt) {
    for (const int32_t token : tokens) penalties.add_prompt(token);
  }
}

FinishReason Sequence::accept(int32_t token, std::span<const int32_t> eos_ids, int32_t max_context) {
  if (!must_go_on(n_output()) && is_stop(token, eos_ids)) return FinishReason::kStop;
  tokens.push_back(token);
  if (wants_penalties()) penalties.add_output(token);
  return is_full(n_tokens(), max_context) ? FinishReason::kLength : FinishReason::kNone;
}

RequestGroup::RequestGroup(RequestId id, Request request_, uint64_t seed)
    : id(id), request(std::move(request_)), choices(request.n), n_open(request.n) {
  for (int32_t i = 0; i < request.n; ++i) {
    choices[i].group = this;
    choices[i].choice = i;
    choices[i].seed = seed + static_cast<uint64_t>(i);
    choices[i].n_prompt = static_cast<int32_t>(request.prompt.size());
  }
  if (wants_prompt_logprobs()) prompt_logprobs.reserve(request.prompt.size() - 1);
}

int32_t RequestGroup::max_cached() const {
  const bool all_known = !wants_prompt_logprobs() || prompt_logprobs.size() + 1 == request.prompt.size();
  return all_known ? std::numeric_limits<int32_t>::max() : static_cast<int32_t>(prompt_logprobs.size());
}

}  // namespace octet
