// What an op has to move and to compute, from its shapes alone: every weight and every cached key and value
// once, activations once in and once out, and the multiplications and additions of products. It is a lower
// bound on bytes: what a kernel reads twice is not in it, nor is what a cache saves.
#pragma once

#include "backend/ops.h"

namespace octet {

struct OpCost {
  double bytes = 0, flop = 0;
  bool operator==(const OpCost&) const = default;
};

// What the attention of one layer covers in this step.
struct AttentionWork {
  double keys = 0;   // distinct keys (and values) read, over all sequences
  double pairs = 0;  // of a query and a key that it sees
  bool operator==(const AttentionWork&) const = default;
};
AttentionWork attention_work(const ForwardBatch& batch, int32_t window);

double view_bytes(const View& v);   // of rows and columns, without gaps
double view_bytes(const QView& v);  // codes, and one scale a row where each row has its own
double kv_token_bytes(const Ops& ops, const AttentionSpec& spec, const KvLayer& kv);  // keys and values

OpCost embed_cost(const View& table, const View& x);
OpCost linear_cost(const QView& a, const PackedLinear& w, double result_bytes);  // written and read again
OpCost rope_write_kv_cost(const View& qkv, const View& q, double token_bytes);
OpCost attention_cost(const View& q, const QView& out, const AttentionSpec& spec, const AttentionWork& work,
                      double token_bytes);
OpCost convert_cost(const View& x, const QView& out);  // norm, quantize, silu_mul
OpCost gather_cost(const View& out);
OpCost sample_cost(const View& logits);
OpCost stage_cost(const ForwardBatch& batch);

}  // namespace octet
