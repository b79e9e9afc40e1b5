// What every host implementation of the sample op shares. The op in full, for one row of raw logits l:
//
//   a = l; a[token] += bias                                          for the row's biases
//   a[token] = a > 0 ? a / repetition : a * repetition               for the row's penalties
//   a[token] -= frequency * count + presence * (count > 0)
//   temperature 0: the largest a, the lowest id among equals
//   z = a / temperature
//   top-k  keeps the k largest z, and what equals the k-th
//   top-p  over the softmax of what is kept, sorted by (z descending, id ascending): keeps the shortest
//   prefix
//          whose mass reaches top_p
//   min-p  keeps what is at least min_p times as likely as the likeliest
//   draw   the first kept id, in ascending order, at which the running sum of exp(z - max z) exceeds u *
//   total
#pragma once

#include <cmath>

#include "backend/sampling.h"

namespace octet {

// A NaN in the last hidden state makes every logit of its row one: looking at the first is enough, and free.
inline bool is_broken(const float* logits) {
  return std::isnan(logits[0]);
}

// Biases, then penalties, in place on a row of logits.
inline void adjust_logits(const SamplingBatch& batch, const SamplingRow& row, float* logits) {
  for (int32_t i = row.bias_begin; i < row.bias_end; ++i)
    logits[batch.biases[i].token] += batch.biases[i].bias;
  for (int32_t i = row.penalty_begin; i < row.penalty_end; ++i) {
    const TokenPenalty& penalty = batch.penalties[i];
    float& logit = logits[penalty.token];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (penalty.output_count > 0) {
      logit -= row.frequency_penalty * static_cast<float>(penalty.output_count) + row.presence_penalty;
    }
  }
}

}  // namespace octet
