// What the engine needs of a model: its sizes, and one step. ModelExecutor is the real one; tests bring their
// own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/batch.h"
#include "backend/sampling.h"

namespace octet {

struct ExecutorLimits {
  int32_t n_pages = 0, page_size = 0;
  int32_t max_batch = 0;
  int32_t max_step_tokens = 0;
  int32_t max_rows = 0;     // rows of logits in a step
  int32_t max_context = 0;  // the model's
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_ids;
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual ExecutorLimits limits() const = 0;

  // Writes the keys and values of all tokens and samples each row of logits into `sampled` [n_logits], which
  // is readable on return. A row whose logits hold a NaN gets the token -1.
  virtual void step(const ForwardBatch& batch, const SamplingBatch& sampling,
                    std::span<SampledToken> sampled) = 0;
};

}  // namespace octet
