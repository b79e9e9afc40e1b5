// What the sample op needs, one entry a row of logits. Sparse lists carry everything that touches single
// tokens (penalties, logit bias, forbidden tokens), so that a row without them costs nothing.
//
// Order of operations on a row, that of the Hugging Face and vLLM samplers:
//   bias -> repetition, presence, frequency penalties -> temperature -> top-k -> top-p -> min-p -> draw
// temperature 0 is greedy: the largest logit after bias and penalties, the lowest id among equals.
// The draw uses the counter-based generator philox4x32-10, keyed by (seed, n_generated): the same request
// gives the same tokens whatever else is in the batch.
#pragma once

#include <cstdint>
#include <vector>

namespace octet {

struct SamplingRow {
  float temperature = 0;
  int32_t top_k = 0;  // 0: off
  float top_p = 1;    // 1: off
  float min_p = 0;    // 0: off
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  uint64_t seed = 0;
  uint64_t n_generated = 0;  // tokens this sequence has already been given: the generator's counter
  int32_t n_logprobs = -1;   // -1: none wanted; 0: the sampled token's; k: also those of the k most likely
  // Half-open ranges into SamplingBatch's sparse lists.
  int32_t penalty_begin = 0, penalty_end = 0, bias_begin = 0, bias_end = 0;
};

struct TokenPenalty {
  int32_t token;
  int32_t output_count;  // times it was generated; 0 where it only stands in the prompt (repetition alone
                         // applies)
};

struct TokenBias {
  int32_t token;
  float bias;  // added to the logit; -infinity forbids the token
};

inline constexpr int kMaxLogprobs = 20;

struct SamplingBatch {
  std::vector<SamplingRow> rows;
  std::vector<TokenPenalty> penalties;
  std::vector<TokenBias> biases;
};

struct SampledToken {
  int32_t token = -1;  // stays -1 for a broken row: one whose first logit is a NaN (see is_broken)
  float logprob = 0;   // log softmax of the *raw* logits (before bias, penalties, temperature), where wanted
  int32_t n_top = 0;
  int32_t top_tokens[kMaxLogprobs];
  float top_logprobs[kMaxLogprobs];
};

}  // namespace octet
