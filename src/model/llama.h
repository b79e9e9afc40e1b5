// The forward pass of the Llama family on one screen. Families differ by flags of ModelConfig alone.
#pragma once

#include "backend/ops.h"
#include "model/activations.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace octet {

struct LlamaContext {
  Ops& ops;
  const ModelConfig& config;
  const ModelWeights& weights;
  const Activations& act;
  const KvCache& cache;
  AttentionSpec attention;
  RopeSpec rope;  // cos_sin and eps; the norms are each layer's own
};

// One layer over all rows of the step, for who runs a model layer by layer: c.act.x before and after.
void llama_layer(const LlamaContext& context, const LayerWeights& weights, const KvLayer& kv,
                 const BatchView& batch);

// Runs the step's tokens through all layers and returns the logits [n_logits, vocab] of batch.logit_rows.
View llama_forward(const LlamaContext& context, const ForwardBatch& batch);

}  // namespace octet
