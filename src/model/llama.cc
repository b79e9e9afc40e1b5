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

void attention_block(const LlamaContext& c, const LayerWeights& w, const KvLayer& kv,
                     const BatchView& batch) {
  const View x = c.act.x.head(batch.n_tokens);
  const View qkv = c.act.qkv.head(batch.n_tokens), q = c.act.q.head(batch.n_tokens);
  produce_and_multiply(c, w.qkv, c.act.normed, qkv, [&](const QView& out) {
    c.ops.norm(x, w.attention_norm.as<float>(), c.config.norm_eps, out);
  });
  RopeSpec rope = c.rope;
  rope.q_norm = w.q_norm.as<float>();
  rope.k_norm = w.k_norm.as<float>();
  c.ops.rope_write_kv(qkv, batch, c.attention, rope, kv, q);
  const LinearGroup::Part& o = w.o.parts.front();
  const QView attended = input_of(o, c.act.attended, batch.n_tokens);
  c.ops.attention(q, batch, c.attention, kv, attended);
  c.ops.linear_add(attended, *o.weight, c.act.product.head(x.rows), x);
}

void mlp_block(const LlamaContext& c, const LayerWeights& w, const View& x) {
  const View gate_up = c.act.gate_up.head(x.rows);
  const LinearGroup::Part& down = w.down.parts.front();
  const QView activated = input_of(down, c.act.activated, x.rows);
  const auto norm = [&](const QView& out) { c.ops.norm(x, w.mlp_norm.as<float>(), c.config.norm_eps, out); };
  if (w.gate_up.parts.size() == 1) {
    const LinearGroup::Part& part = w.gate_up.parts.front();
    const QView normed = input_of(part, c.act.normed, x.rows);
    norm(normed);
    c.ops.linear_silu_mul(normed, *part.weight, gate_up, activated);
  } else {
    produce_and_multiply(c, w.gate_up, c.act.normed, gate_up, norm);
    c.ops.silu_mul(gate_up, activated);
  }
  c.ops.linear_add(activated, *down.weight, c.act.product.head(x.rows), x);
}

void run_layers(const LlamaContext& c, const BatchView& batch) {
  View x = c.act.x.head(batch.n_tokens);
  c.ops.embed(batch, c.weights.embedding, x);
  for (int32_t layer = 0; layer < c.config.n_layers; ++layer) {
    const LayerWeights& w = c.weights.layers[static_cast<size_t>(layer)];
    attention_block(c, w, c.cache.views[static_cast<size_t>(layer)], batch);
    if (layer + 1 == c.config.n_layers) {  // nothing after the last attention looks at the other rows
      c.ops.gather_rows(x, batch.logit_rows, batch.n_logits, c.act.x_last.head(batch.n_logits));
      x = c.act.x_last.head(batch.n_logits);
    }
    if (x.rows > 0) mlp_block(c, w, x);
  }
  if (batch.n_logits == 0) return;
  const View logits = c.act.logits.head(batch.n_logits);
  produce_and_multiply(c, c.weights.head, c.act.normed, logits, [&](const QView& out) {
    c.ops.norm(x, c.weights.final_norm.as<float>(), c.config.norm_eps, out);
  });
}

}  // namespace

void llama_layer(const LlamaContext& c, const LayerWeights& w, const KvLayer& kv, const BatchView& batch) {
  attention_block(c, w, kv, batch);
  mlp_block(c, w, c.act.x.head(batch.n_tokens));
}

View llama_forward(const LlamaContext& c, const ForwardBatch& host_batch) {
  const BatchView batch = c.ops.stage(host_batch);
  c.ops.run(batch, [&c](const BatchView& staged) { run_layers(c, staged); });
  return c.act.logits.head(host_batch.n_logits());
}

}  // namespace octet
