#include "engine/model_executor.h"

#include "model/model.h"

namespace octet {

ExecutorLimits ModelExecutor::limits() const {
  ExecutorLimits limits;
  limits.n_pages = model_.cache().n_pages;
  limits.page_size = model_.cache().page_size;
  limits.max_batch = model_.max_batch();
  limits.max_step_tokens = model_.max_step_tokens();
  limits.max_rows = model_.max_logits();
  limits.max_context = model_.max_context();
  limits.vocab_size = model_.config().vocab_size;
  limits.eos_ids = model_.config().eos_ids;
  limits.runs_ahead = model_.ops().info().runs_ahead;
  return limits;
}

void ModelExecutor::launch(const ForwardBatch& batch, const SamplingBatch& sampling,
                           std::span<SampledToken> sampled) {
  const View logits = model_.forward(batch);
  if (!sampled.empty()) model_.ops().sample(logits, sampling, sampled.data());
  fences_[n_launched_++ % kMaxFences] = model_.ops().fence();
}

Status ModelExecutor::wait() {
  return model_.ops().wait(fences_[n_waited_++ % kMaxFences]);
}

}  // namespace octet
