// What the engine needs of a model: its sizes, and steps. ModelExecutor is the real one; tests bring their
// own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/batch.h"
#include "backend/sampling.h"
#include "base/status.h"

namespace octet {

struct ExecutorLimits {
  int32_t n_pages = 0, page_size = 0;
  int32_t max_batch = 0;
  int32_t max_step_tokens = 0;
  int32_t max_rows = 0;     // rows of logits in a step
  int32_t max_context = 0;  // the model's
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_ids;
  bool runs_ahead =
      false;  // launch() returns before the step is done: a second one may be launched behind it
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual ExecutorLimits limits() const = 0;

  // Begins a step: writes the keys and values of all tokens and samples each row of logits into `sampled`
  // [n_logits]. A row whose logits hold a NaN gets the token -1. The arguments may be used again on return,
  // `sampled` once wait() was called for this step. At most two steps are open.
  virtual void launch(const ForwardBatch& batch, const SamplingBatch& sampling,
                      std::span<SampledToken> sampled) = 0;
  // Until the oldest open step is done. Errors: kInternal where the device failed; nothing can be launched
  // after that.
  virtual Status wait() = 0;
};

}  // namespace octet
