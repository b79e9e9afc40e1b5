// What a user asks of the engine, and what comes back. Token ids only: text is above (server/, cli/).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/sampling.h"
#include "base/status.h"

namespace octet {

using RequestId = uint64_t;
using Clock = std::chrono::steady_clock;

// Defaults mean "off". Ranges are checked by validate(); messages name the OpenAI field.
struct SamplingParams {
  float temperature = 1.0f;                                 // 0: greedy
  float top_p = 1.0f;                                       // (0, 1]
  int32_t top_k = 0;                                        // 0 or -1: off
  float min_p = 0.0f;                                       // [0, 1]
  float repetition_penalty = 1.0f;                          // (0, 2]; over prompt and output
  float presence_penalty = 0.0f, frequency_penalty = 0.0f;  // [-2, 2]; over the output
  std::vector<std::pair<int32_t, float>> logit_bias;        // [-100, 100] each
  bool has_seed = false;
  uint64_t seed = 0;        // without one the engine draws it
  int32_t max_tokens = 16;  // of output
  int32_t min_tokens = 0;   // before these, no end-of-sequence and no stop id
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  int32_t n_logprobs =
      -1;  // -1: none; k in [0, kMaxLogprobs]: the sampled token's and those of the k most likely
  int32_t prompt_logprobs = -1;  // the same for every prompt token but the first

  Status validate(int32_t vocab_size) const;
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kError };

struct TokenLogprob {
  int32_t token;
  float logprob;
};

struct OutputToken {
  int32_t token = -1;
  float logprob = 0;
  std::vector<TokenLogprob> top;  // most likely first, where asked for
};

// One event on a request's channel. The last one has a finish reason (and may carry no token).
struct OutputEvent {
  int32_t choice = 0;               // which of the request's n sequences
  std::vector<OutputToken> tokens;  // usually one
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;           // the id that ended it (kStop); it is not among `tokens`
  std::string error;                 // kError
  int32_t cached_prompt_tokens = 0;  // prompt tokens served from the prefix cache; set on the first event
  std::vector<OutputToken>
      prompt_logprobs;  // on the first event where asked for; entry 0 (no logprob) is left out
};

inline constexpr int32_t kMaxChoices = 128;

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  int32_t n = 1;         // sequences from the same prompt, at most kMaxChoices; choice i draws with seed + i
  int32_t priority = 0;  // smaller first; first come first served among equals
  // Called on the engine's thread, for every step in which the request got a token. Must not block.
  std::function<void(const OutputEvent&)> on_event;
};

}  // namespace octet
