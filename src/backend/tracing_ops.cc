#include "backend/tracing_ops.h"

namespace octet {

const char* op_name(OpKind kind) {
  switch (kind) {
    case OpKind::kStage:
      return "stage";
    case OpKind::kHeadStart:
      return "head start";
    case OpKind::kEmbed:
      return "embed";
    case OpKind::kNorm:
      return "norm";
    case OpKind::kLinear:
      return "linear";
    case OpKind::kLinearSiluMul:
      return "linear_silu_mul";
    case OpKind::kRopeWriteKv:
      return "rope_write_kv";
    case OpKind::kAttention:
      return "attention";
    case OpKind::kQuantize:
      return "quantize";
    case OpKind::kSiluMul:
      return "silu_mul";
    case OpKind::kGatherRows:
      return "gather_rows";
    case OpKind::kSample:
      return "sample";
  }
  return "";
}

Status TracingOps::prepare(size_t max_ops) {
  OCTET_RETURN_IF_ERROR(inner_->synchronize());
  const size_t n = 2 * max_ops + 2;
  for (int round = 0; round < 2; ++round) {  // the first one makes them
    OCTET_RETURN_IF_ERROR(inner_->take_marks().status());
    for (size_t i = 0; i < n; ++i) inner_->mark();
  }
  OCTET_ASSIGN_OR_RETURN(const auto times, inner_->take_marks());
  mark_seconds_ = times.back() / static_cast<double>(n - 1);
  entries_.reserve(max_ops);
  max_ops_ = max_ops;
  return {};
}

void TracingOps::start() {
  entries_.clear();
  n_marks_ = 0;
  full_ = joined_ = false;
  tracing_ = true;
}

Result<std::vector<OpRecord>> TracingOps::stop() {
  tracing_ = false;
  OCTET_ASSIGN_OR_RETURN(const auto times, inner_->take_marks());
  if (full_)
    return resource_exhausted("a step has more than the " + std::to_string(max_ops_) +
                              " ops that there is room to trace");
  std::vector<OpRecord> records;
  for (Entry& entry : entries_) {
    entry.record.start = times[entry.first_mark];
    entry.record.end = times[entry.last_mark];
    records.push_back(entry.record);
  }
  return records;
}

size_t TracingOps::set_mark() {
  if (n_marks_ == 0) origin_ = Clock::now();
  inner_->mark();
  return n_marks_++;
}

template <class Describe, class Call>
void TracingOps::trace(OpKind kind, const Describe& describe, const Call& call) {
  if (!tracing_) return call();
  if (entries_.size() == max_ops_) {
    full_ = true;
    return call();
  }
  Entry entry{.record = {.kind = kind}};
  describe(entry.record);
  entry.first_mark = joined_ ? n_marks_ - 1 : set_mark();
  entry.record.host_start = host_now();
  call();
  entry.record.host_end = host_now();
  entry.last_mark = set_mark();
  joined_ = inner_->info().runs_ahead;
  entries_.push_back(entry);
}

BatchView TracingOps::stage(const ForwardBatch& batch) {
  BatchView view;
  batch_ = &batch;
  trace(
      OpKind::kStage,
      [&](OpRecord& r) {
        r.rows = batch.n_tokens();
        r.cost = stage_cost(batch);
      },
      [&] { view = inner_->stage(batch); });
  return view;
}

void TracingOps::run(const BatchView& batch, const std::function<void(const BatchView&)>& step) {
  if (!tracing_) return inner_->run(batch, step);
  if (head_start_ > 0) {
    trace(
        OpKind::kHeadStart, [&](OpRecord& r) { r.rows = batch.n_tokens; },
        [&] {
          tracing_ = false;
          for (int32_t i = 0; i < head_start_; ++i) inner_->run(batch, step);
          tracing_ = true;
        });
  }
  step(batch);
}

void TracingOps::embed(const BatchView& batch, const View& table, const View& x) {
  trace(
      OpKind::kEmbed,
      [&](OpRecord& r) {
        r.rows = x.rows;
        r.cost = embed_cost(table, x);
      },
      [&] { inner_->embed(batch, table, x); });
}

void TracingOps::norm(const View& x, const float* gamma, float eps, const QView& out) {
  trace(
      OpKind::kNorm,
      [&](OpRecord& r) {
        r.rows = x.rows;
        r.cost = convert_cost(x, out);
      },
      [&] { inner_->norm(x, gamma, eps, out); });
}

template <class Call>
void TracingOps::trace_linear(OpKind kind, const QView& a, const PackedLinear& w, const OpCost& cost,
                              const Call& call) {
  trace(
      kind,
      [&](OpRecord& r) {
        r.rows = a.rows;
        r.n = w.n;
        r.k = w.k;
        r.input = w.scheme.input.type;
        r.cost = cost;
      },
      call);
}

void TracingOps::linear(const QView& a, const PackedLinear& w, const View& d) {
  trace_linear(OpKind::kLinear, a, w, linear_cost(a, w, view_bytes(d)), [&] { inner_->linear(a, w, d); });
}

void TracingOps::linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) {
  trace_linear(OpKind::kLinear, a, w, linear_cost(a, w, 2 * view_bytes(x)),
               [&] { inner_->linear_add(a, w, scratch, x); });
}

void TracingOps::linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch,
                                 const QView& out) {
  if (!inner_->info().fuses_silu_mul) return Ops::linear_silu_mul(a, w, scratch, out);  // each by itself
  trace_linear(OpKind::kLinearSiluMul, a, w, linear_cost(a, w, view_bytes(out)),
               [&] { inner_->linear_silu_mul(a, w, scratch, out); });
}

void TracingOps::rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec,
                               const RopeSpec& rope, const KvLayer& kv, const View& q) {
  trace(
      OpKind::kRopeWriteKv,
      [&](OpRecord& r) {
        r.rows = qkv.rows;
        r.cost = rope_write_kv_cost(qkv, q, kv_token_bytes(*inner_, spec, kv));
      },
      [&] { inner_->rope_write_kv(qkv, batch, spec, rope, kv, q); });
}

void TracingOps::attention(const View& q, const BatchView& batch, const AttentionSpec& spec,
                           const KvLayer& kv, const QView& out) {
  trace(
      OpKind::kAttention,
      [&](OpRecord& r) {
        r.rows = q.rows;
        r.cost = attention_cost(q, out, spec, attention_work(*batch_, spec.window),
                                kv_token_bytes(*inner_, spec, kv));
      },
      [&] { inner_->attention(q, batch, spec, kv, out); });
}

void TracingOps::quantize(const View& x, const QView& out) {
  trace(
      OpKind::kQuantize,
      [&](OpRecord& r) {
        r.rows = x.rows;
        r.cost = convert_cost(x, out);
      },
      [&] { inner_->quantize(x, out); });
}

void TracingOps::silu_mul(const View& gate_up, const QView& out) {
  trace(
      OpKind::kSiluMul,
      [&](OpRecord& r) {
        r.rows = gate_up.rows;
        r.cost = convert_cost(gate_up, out);
      },
      [&] { inner_->silu_mul(gate_up, out); });
}

void TracingOps::gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) {
  trace(
      OpKind::kGatherRows,
      [&](OpRecord& r) {
        r.rows = n_rows;
        r.cost = gather_cost(out);
      },
      [&] { inner_->gather_rows(x, rows, n_rows, out); });
}

void TracingOps::sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) {
  trace(
      OpKind::kSample,
      [&](OpRecord& r) {
        r.rows = logits.rows;
        r.cost = sample_cost(logits);
      },
      [&] { inner_->sample(logits, sampling, out); });
}

}  // namespace octet
