// One choice of a request while the engine works on it, and the request that its choices share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/block_manager.h"
#include "engine/request.h"

namespace octet {

// How often each distinct token stands in a sequence, kept up to date token by token: a step copies the list,
// it never walks the text.
class PenaltyCounts {
 public:
  void reserve(int32_t n_tokens);  // distinct tokens that may come; no later call allocates
  void add_prompt(int32_t token);  // counts as zero outputs, if it is new
  void add_output(int32_t token);
  std::span<const TokenPenalty> list() const { return list_; }
  size_t capacity() const { return list_.capacity(); }

 private:
  TokenPenalty& entry(int32_t token);
  std::vector<TokenPenalty> list_;
  std::vector<int32_t> places_;  // open addressing: an index into list_, or -1
};

enum class SequenceState : uint8_t { kWaiting, kRunning, kFinished };

struct RequestGroup;

struct Sequence {
  RequestGroup* group = nullptr;
  int32_t choice = 0;
  SequenceState state = SequenceState::kWaiting;
  uint64_t seed = 0;

  std::vector<int32_t> tokens;  // prompt, then output; empty before the first admission
  int32_t n_prompt = 0;
  // Leading tokens whose keys and values are in the cache once the planned steps have run.
  int32_t n_computed = 0;
  int32_t n_in_flight = 0;   // tokens that planned steps sample: they count, though nobody knows them yet
  int32_t sampled_row = 0;   // the row of logits that samples the last of those
  int32_t n_admissions = 0;  // times it came into the batch
  PageTable table;
  PenaltyCounts penalties;
  int32_t n_cached_prompt = 0;  // at the first admission

  // The engine's own: for metrics and events.
  Clock::time_point admitted_at{}, first_token_at{}, last_token_at{};
  bool has_answered = false;  // its first event is out

  const SamplingParams& sampling() const;
  std::span<const int32_t> text() const;  // tokens, or the prompt before the first admission
  int32_t n_tokens() const { return static_cast<int32_t>(text().size()); }
  int32_t n_planned() const { return n_tokens() + n_in_flight; }
  int32_t n_left() const { return n_planned() - n_computed; }  // tokens to compute before the next is sampled
  int32_t n_output() const { return n_tokens() - n_prompt; }
  bool wants_penalties() const;
  bool is_stop(int32_t token, std::span<const int32_t> eos_ids) const;
  // Stop tokens are forbidden as the next output after `n` of them.
  bool must_go_on(int32_t n) const { return n < sampling().min_tokens; }
  // The tokens in flight fill it, whatever they are: nothing comes after them.
  bool will_end(int32_t max_context) const { return n_in_flight > 0 && is_full(n_planned(), max_context); }

  // Tokens that it may get to.
  int32_t longest(int32_t max_context) const;

  // First admission: takes all the memory that the sequence will need for max_context tokens at most.
  void start(int32_t max_context, int32_t page_size);
  // Takes the sampled token; what it means for the sequence. A stop token is not kept.
  FinishReason accept(int32_t token, std::span<const int32_t> eos_ids, int32_t max_context);

 private:
  bool is_full(int32_t n, int32_t max_context) const {
    return n - n_prompt >= sampling().max_tokens || n >= max_context;
  }
};

struct RequestGroup {
  RequestGroup(RequestId id, Request request, uint64_t seed);  // choice i draws with seed + i
  RequestGroup(const RequestGroup&) = delete;
  RequestGroup& operator=(const RequestGroup&) = delete;

  const RequestId id;  // ascending in order of arrival
  const Request request;
  std::vector<Sequence> choices;
  int32_t n_open = 0;           // choices that have not ended
  int32_t n_running = 0;        // choices in the batch
  bool prompt_done = false;     // some choice has computed the whole prompt
  bool prompt_counted = false;  // in the metrics
  Clock::time_point submitted_at{};
  std::vector<OutputToken> prompt_logprobs;  // of prompt tokens 1, 2, ...: as many as are known

  bool wants_prompt_logprobs() const { return request.sampling.prompt_logprobs >= 0; }
  // Tokens whose logits nobody needs any more: they may come from the prefix cache.
  int32_t max_cached() const;
};

}  // namespace octet
