// The CPU backend's ops one by one, in the shapes of SmolLM2-135M: time a call, and what that is in
// operations or bytes.
//   octet_ops_bench --benchmark_filter=attention
// Threads and instruction set: OCTET_BENCH_THREADS (2), OCTET_BENCH_ISA (auto).
#include <cstdlib>
#include <map>

#include <benchmark/benchmark.h>

#include "backend/cpu/cpu_ops.h"

namespace octet {
namespace {

constexpr int32_t kHidden = 576, kFfn = 1536, kVocab = 49152, kMaxTokens = 2048, kMaxContext = 8192,
                  kPage = 16;
constexpr AttentionSpec kSpec{9, 3, 64, 0.125f, 0};
constexpr int32_t kQkvWidth = (9 + 6) * 64;
constexpr QuantArgs kInt8Token{QType::kInt8, QScale::kToken, true};

const char* option(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

struct Bench {
  std::unique_ptr<Ops> ops;
  std::map<std::string, Buffer> buffers;

  Bench() {
    ops = std::move(make_cpu_ops(
                        {std::atoi(option("OCTET_BENCH_THREADS", "2")), option("OCTET_BENCH_ISA", "auto")}))
              .value();
    const Status reserved = ops->reserve({.max_tokens = kMaxTokens,
                                          .max_seqs = 64,
                                          .max_context = kMaxContext,
                                          .max_logits = 64,
                                          .vocab_size = kVocab,
                                          .max_cols = 2 * kFfn,
                                          .attention = kSpec});
    OCTET_CHECK(reserved.ok()) << reserved.message();
  }
  template <class T>
  T* array(const std::string& name, size_t size) {
    Buffer& buffer = buffers[name] = std::move(ops->allocate(size * sizeof(T))).value();
    return buffer.as<T>();
  }
  float* floats(const std::string& name, size_t size) {
    float* values = array<float>(name, size);
    for (size_t i = 0; i < size; ++i) values[i] = static_cast<float>(i * 7919 % 1000) / 500 - 1;
    return values;
  }
  View matrix(const std::string& name, int64_t rows, int64_t cols) {
    return {floats(name, rows * cols), DType::kF32, rows, cols, cols};
  }
  QView quantized(const std::string& name, int64_t rows, int64_t cols) {
    return {array<int8_t>(name, rows * cols),    kInt8Token, rows, cols, cols,
            array<float>(name + " scales", rows)};
  }
};

void norm(benchmark::State& state) {
  Bench b;
  const int64_t n = state.range(0);
  const View x = b.matrix("x", n, kHidden);
  const QView out = b.quantized("out", n, kHidden);
  const float* gamma = b.floats("gamma", kHidden);
  for (auto _ : state) b.ops->norm(x, gamma, 1e-5f, out);
  state.SetBytesProcessed(state.iterations() * n * kHidden * 5);
}

void silu_mul(benchmark::State& state) {
  Bench b;
  const int64_t n = state.range(0);
  const View gate_up = b.matrix("gate_up", n, 2 * kFfn);
  const QView out = b.quantized("out", n, kFfn);
  for (auto _ : state) b.ops->silu_mul(gate_up, out);
  state.SetBytesProcessed(state.iterations() * n * kFfn * 9);
}

struct AttentionSetup {
  ForwardBatch batch;
  View qkv, q;
  QView out;
  KvLayer kv;
  RopeSpec rope;
};

// n_seqs sequences with n_tokens new tokens each, at the end of `context`.
AttentionSetup attention_setup(Bench& b, QType cache, int32_t n_seqs, int32_t n_tokens, int32_t context) {
  AttentionSetup s;
  const int32_t pages = (context + kPage - 1) / kPage, n = n_seqs * n_tokens;
  s.batch.page_table_stride = pages;
  s.batch.query_start = {0};
  for (int32_t seq = 0; seq < n_seqs; ++seq) {
    for (int32_t i = 0; i < pages; ++i) s.batch.page_table.push_back(seq * pages + i);
    for (int32_t i = context - n_tokens; i < context; ++i) {
      s.batch.token_ids.push_back(0);
      s.batch.positions.push_back(i);
      s.batch.slots.push_back(seq * pages * kPage + i);
    }
    s.batch.query_start.push_back(s.batch.n_tokens());
    s.batch.context_lens.push_back(context);
  }
  s.qkv = b.matrix("qkv", n, kQkvWidth);
  s.q = b.matrix("q", n, kHidden);
  s.out = b.quantized("out", n, kHidden);
  const size_t bytes = static_cast<size_t>(n_seqs) * pages * b.ops->kv_page_bytes(kSpec, {cache}, kPage);
  s.kv = {b.array<uint8_t>("pool", bytes), {cache}, kPage, 0, 0};
  s.rope.cos_sin = b.floats("cos_sin", kMaxContext * kSpec.head_dim);
  return s;
}

void rope_write_kv(benchmark::State& state) {
  Bench b;
  const auto n = static_cast<int32_t>(state.range(0));
  const AttentionSetup s = attention_setup(b, static_cast<QType>(state.range(1)), 1, n, n);
  const BatchView view = b.ops->stage(s.batch);
  for (auto _ : state) b.ops->rope_write_kv(s.qkv, view, kSpec, s.rope, s.kv, s.q);
}

void attention(benchmark::State& state) {
  Bench b;
  const auto n_seqs = static_cast<int32_t>(state.range(0)), n_tokens = static_cast<int32_t>(state.range(1)),
             context = static_cast<int32_t>(state.range(2));
  const AttentionSetup s = attention_setup(b, static_cast<QType>(state.range(3)), n_seqs, n_tokens, context);
  const BatchView view = b.ops->stage(s.batch);
  for (auto _ : state) b.ops->attention(s.q, view, kSpec, s.kv, s.out);
  const double keys = n_tokens * (context - 0.5 * (n_tokens - 1));
  using Counter = benchmark::Counter;
  state.counters["flop/s"] = Counter(4.0 * n_seqs * keys * kHidden, Counter::kIsIterationInvariantRate);
  state.counters["kv_B/s"] = Counter(static_cast<double>(n_seqs) * context / kPage *
                                         static_cast<double>(b.ops->kv_page_bytes(kSpec, s.kv.quant, kPage)),
                                     Counter::kIsIterationInvariantRate);
}

void sample(benchmark::State& state) {
  Bench b;
  const int64_t n = state.range(0);
  const View logits = b.matrix("logits", n, kVocab);
  SamplingRow row;
  if (state.range(1) > 0) row.temperature = 0.8f;
  if (state.range(1) == 2) row.top_k = 40, row.top_p = 0.95f;
  if (state.range(1) == 3) row.top_p = 0.9f;
  const SamplingBatch batch{std::vector<SamplingRow>(n, row), {}, {}};
  std::vector<SampledToken> out(n);
  for (auto _ : state) b.ops->sample(logits, batch, out.data());
}

constexpr int kBf16 = static_cast<int>(QType::kBF16), kInt8 = static_cast<int>(QType::kInt8),
              kFp8 = static_cast<int>(QType::kFp8), kF16 = static_cast<int>(QType::kF16);
BENCHMARK(norm)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();
BENCHMARK(silu_mul)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();
BENCHMARK(rope_write_kv)
    ->Args({1, kBf16})
    ->Args({16, kBf16})
    ->Args({512, kBf16})
    ->Args({512, kInt8})
    ->UseRealTime();
BENCHMARK(attention)
    ->ArgNames({"seqs", "tokens", "context", "cache"})
    ->ArgsProduct({{1}, {512}, {512}, {kBf16, kF16, kInt8, kFp8}})
    ->Args({1, 1, 128, kBf16})
    ->Args({1, 1, 512, kBf16})
    ->Args({1, 1, 4096, kBf16})
    ->Args({16, 1, 512, kBf16})
    ->Args({16, 1, 512, kInt8})
    ->UseRealTime();
BENCHMARK(sample)->ArgNames({"rows", "filters"})->ArgsProduct({{1, 16}, {0, 1, 2, 3}})->UseRealTime();

}  // namespace
}  // namespace octet
