#include "backend/op_cost.h"

#include <algorithm>

namespace octet {

AttentionWork attention_work(const ForwardBatch& batch, int32_t window) {
  AttentionWork work;
  for (int32_t s = 0; s < batch.n_seqs(); ++s) {
    const auto i = static_cast<size_t>(s);
    const int64_t queries = batch.query_start[i + 1] - batch.query_start[i];
    const int64_t context = batch.context_lens[i];
    if (queries == 0) continue;
    const int64_t seen = window > 0 ? window : context;  // by one query, at most
    work.keys += static_cast<double>(std::min(context, seen + queries - 1));
    // The first query sees as many keys as its position and itself, each later one more, up to `seen`.
    const int64_t first = context - queries + 1;
    const int64_t growing = std::clamp<int64_t>(seen - first + 1, 0, queries);
    work.pairs += static_cast<double>(growing * (2 * first + growing - 1) / 2 + (queries - growing) * seen);
  }
  return work;
}

double view_bytes(const View& v) {
  return static_cast<double>(v.rows) * static_cast<double>(dtype_bytes(v.type, static_cast<size_t>(v.cols)));
}

double view_bytes(const QView& v) {
  const double scale = v.args.scale == QScale::kToken ? sizeof(float) : 0;
  return static_cast<double>(v.rows) * (static_cast<double>(code_bytes(v.args.type, v.cols)) + scale);
}

double kv_token_bytes(const Ops& ops, const AttentionSpec& spec, const KvLayer& kv) {
  return static_cast<double>(ops.kv_page_bytes(spec, kv.quant, kv.page_size)) / kv.page_size;
}

OpCost embed_cost(const View& table, const View& x) {
  return {.bytes = view_bytes(View{nullptr, table.type, x.rows, x.cols, x.cols}) + view_bytes(x)};
}

OpCost linear_cost(const QView& a, const PackedLinear& w, double result_bytes) {
  return {.bytes = static_cast<double>(w.bytes) + view_bytes(a) + result_bytes,
          .flop = 2.0 * static_cast<double>(a.rows) * static_cast<double>(w.n) * static_cast<double>(w.k)};
}

OpCost rope_write_kv_cost(const View& qkv, const View& q, double token_bytes) {
  return {.bytes = view_bytes(qkv) + view_bytes(q) + static_cast<double>(qkv.rows) * token_bytes};
}

OpCost attention_cost(const View& q, const QView& out, const AttentionSpec& spec, const AttentionWork& work,
                      double token_bytes) {
  return {.bytes = view_bytes(q) + view_bytes(out) + work.keys * token_bytes,
          .flop = 4.0 * work.pairs * spec.n_heads * spec.head_dim};
}

OpCost convert_cost(const View& x, const QView& out) {
  return {.bytes = view_bytes(x) + view_bytes(out)};
}

OpCost gather_cost(const View& out) {
  return {.bytes = 2 * view_bytes(out)};
}

OpCost sample_cost(const View& logits) {
  return {.bytes = view_bytes(logits)};
}

OpCost stage_cost(const ForwardBatch& batch) {
  const size_t words = batch.token_ids.size() + batch.positions.size() + batch.slots.size() +
                       batch.query_start.size() + batch.context_lens.size() + batch.page_table.size() +
                       batch.logit_rows.size();
  return {.bytes = static_cast<double>(words * sizeof(int32_t))};
}

}  // namespace octet
