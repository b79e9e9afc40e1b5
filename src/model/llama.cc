#include "model/llama.h"

namespace octet {
namespace {

constexpr QuantArgs kPlain{QType::kF32, QScale::kNone, false, true};

// Produces `group`'s input with `produce(QView)` in the form its weights want, and multiplies. Where the
// parts of a group want different forms, the input is produced once in float32 and quantized for each.
template <typename Produce>
void produce_and_multiply(const LlamaContext& c, const LinearGroup& group, const QuantSlot& slot,
                          const View& d, const Produce& produce) {
  const int64_t rows = d.rows;
  if (group.uniform_input()) {
    const QView a = input_of(group.parts.front(), slot, rows);
    produce(a);
    for (const auto& part : group.parts) {
      c.ops.linear(a, *part.weight, columns(d, part.column, part.weight->n));
    }
    return;
  }
  const View plain{c.act.plain.data, DType::kF32, rows, group.k, group.k};
  produce(QView{plain.data, kPlain, rows, group.k, group.k, nullptr, nullptr});
  for (const auto& part : group.parts) {
    const QView a = input_of(part, slot, rows);
    c.ops.quantize(plain, a);
    c.ops.linear(a, *part.weight, columns(d, part.column, part.weight->n));
  }
}

void attention_block(const LlamaContext& c, const LayerWeights& w, const KvLayer& kv, const BatchView& batch,
                     const View* delta) {
  const View x = c.act.x.head(batch.n_tokens);
  const View qkv = c.act.qkv.head(batch.n_tokens), q = c.act.q.head(batch.n_tokens);
  produce_and_multiply(c, w.qkv, c.act.normed, qkv, [&](const QView& out) {
    c.ops.add_norm(x, delta, w.attention_norm.as<float>(), c.config.norm_eps, out);
  });
  RopeSpec rope = c.rope;
  rope.q_norm = w.q_norm.as<float>();
  rope.k_norm = w.k_norm.as<float>();
  c.ops.rope_write_kv(qkv, batch, c.attention, rope, kv, q);
  produce_and_multiply(c, w.o, c.act.attended, c.act.delta.head(batch.n_tokens),
                       [&](const QView& out) { c.ops.attention(q, batch, c.attention, kv, out); });
}

void mlp_block(const LlamaContext& c, const LayerWeights& w, const View& x, const View& delta) {
  const View gate_up = c.act.gate_up.head(x.rows);
  produce_and_multiply(c, w.gate_up, c.act.normed, gate_up, [&](const QView& out) {
    c.ops.add_norm(x, &delta, w.mlp_norm.as<float>(), c.config.norm_eps, out);
  });
  produce_and_multiply(c, w.down, c.act.activated, delta,
                       [&](const QView& out) { c.ops.silu_mul(gate_up, out); });
}

void run_layers(const LlamaContext& c, const BatchView& batch) {
  View x = c.act.x.head(batch.n_tokens), delta = c.act.delta.head(batch.n_tokens);

  c.ops.embed(batch, c.weights.embedding, x);
  for (int32_t layer = 0; layer < c.config.n_layers; ++layer) {
    const LayerWeights& w = c.weights.layers[static_cast<size_t>(layer)];
    attention_block(c, w, c.cache.views[static_cast<size_t>(layer)], batch, layer == 0 ? nullptr : &delta);
    if (layer + 1 == c.config.n_layers) {  // nothing after the last attention looks at the other rows
      c.ops.gather_rows(x, batch.logit_rows, batch.n_logits, c.act.x_last.head(batch.n_logits));
      c.ops.gather_rows(delta, batch.logit_rows, batch.n_logits, c.act.delta_last.head(batch.n_logits));
      x = c.act.x_last.head(batch.n_logits);
      delta = c.act.delta_last.head(batch.n_logits);
    }
    if (x.rows > 0) mlp_block(c, w, x, delta);
  }
  if (batch.n_logits == 0) return;
  const View logits = c.act.logits.head(batch.n_logits);
  produce_and_multiply(c, c.weights.head, c.act.normed, logits, [&](const QView& out) {
    c.ops.add_norm(x, &delta, c.weights.final_norm.as<float>(), c.config.norm_eps, out);
  });
}

}  // namespace

void llama_layer(const LlamaContext& c, const LayerWeights& w, const KvLayer& kv, const BatchView& batch,
                 bool first) {
  const View delta = c.act.delta.head(batch.n_tokens);
  attention_block(c, w, kv, batch, first ? nullptr : &delta);
  mlp_block(c, w, c.act.x.head(batch.n_tokens), delta);
}

View llama_forward(const LlamaContext& c, const ForwardBatch& host_batch) {
  const BatchView batch = c.ops.stage(host_batch);
  c.ops.run(batch, [&c](const BatchView& staged) { run_layers(c, staged); });
  return c.act.logits.head(host_batch.n_logits());
}

}  // namespace octet
