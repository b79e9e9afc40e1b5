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
  return limits;
}

void ModelExecutor::step(const ForwardBatch& batch, const SamplingBatch& sampling,
                         std::span<SampledToken> sampled) {
  const View logits = model_.forward(batch);
  if (!sampled.empty()) model_.ops().sample(logits, sampling, sampled.data());
  OCTET_CHECK(model_.ops().synchronize().ok());
}

}  // namespace octet
