// rope_write_kv and attention against the reference, over cache types, head shapes, windows and ways to cut a
// prompt. Every pool of pages starts as bytes 0xff, NaN in every float format: what an earlier request left
// behind must not be seen.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "backend/ops_test_util.h"

namespace octet {
namespace {

constexpr int32_t kMaxContext = 1400;

struct Cache {
  const char* name;
  KvQuant quant;
  float k_scale = 0, v_scale = 0;  // of the first head; the others' grow
  // [2, heads] of K, then of V
  std::vector<float> scales(int32_t heads) const {
    std::vector<float> all;
    for (const float scale : {k_scale, v_scale}) {
      for (int32_t h = 0; h < heads; ++h) all.push_back(scale * (1 + 0.125f * static_cast<float>(h)));
    }
    return all;
  }
};
const Cache kCaches[] = {
    {"bf16", {QType::kBF16}}, {"fp16", {QType::kF16}},
    {"int8", {QType::kInt8}}, {"int8_static", {QType::kInt8, false}, 0.031f, 0.027f},
    {"fp8", {QType::kFp8}},   {"fp8_static", {QType::kFp8, false}, 0.011f, 0.0083f},
};

AttentionSpec heads(int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, int32_t window = 0) {
  return {n_heads, n_kv_heads, head_dim, 1 / std::sqrt(static_cast<float>(head_dim)), window};
}

// Sequences whose q, k, v are fixed values, fed to a backend in steps of any make-up.
class Feeder {
 public:
  struct Chunk {
    int32_t seq, n_tokens;
  };

  // turning: rotate by real angles; otherwise by 0, which leaves the bits of k as they are.
  Feeder(Ops& ops, const AttentionSpec& spec, const Cache& cache, int32_t n_seqs, bool turning)
      : ops_(ops),
        spec_(spec),
        page_size_(ops.info().page_size),
        lengths_(n_seqs),
        cos_sin_(ops, angles(spec, turning)),
        pool_(ops, std::vector<uint8_t>(static_cast<size_t>(n_seqs) * pages_each() *
                                            ops.kv_page_bytes(spec, cache.quant, page_size_),
                                        0xff)),
        scales_(ops, cache.scales(spec.n_kv_heads)) {
    kv_ = {pool_.data(), cache.quant, page_size_, nullptr, nullptr};
    if (!cache.quant.dynamic) kv_.k_scale = scales_.data(), kv_.v_scale = scales_.data() + spec.n_kv_heads;
    rope_.cos_sin = cos_sin_.data();
    pages_.resize(static_cast<size_t>(n_seqs) * pages_each());
    std::iota(pages_.begin(), pages_.end(), 0);
    std::shuffle(pages_.begin(), pages_.end(), std::mt19937(5));
  }

  // How queries are rounded between rotation and attention: not at all, to bf16, or to bf16 after they were
  // scaled as the softmax in powers of two wants them.
  enum class Queries { kAsTheyAre, kBf16, kScaledBf16 };

  // One step; returns the attention of its tokens, [n_tokens, n_heads * head_dim], and their rotated queries.
  std::vector<float> step(const std::vector<Chunk>& chunks, std::vector<float>* rotated = nullptr,
                          Queries queries = Queries::kAsTheyAre) {
    ForwardBatch batch;
    std::vector<float> qkv;
    const int32_t width = (spec_.n_heads + 2 * spec_.n_kv_heads) * spec_.head_dim;
    batch.page_table_stride = pages_each();
    batch.query_start.push_back(0);
    for (const Chunk& chunk : chunks) {
      const int32_t* pages = &pages_[static_cast<size_t>(chunk.seq) * pages_each()];
      for (int32_t i = 0; i < chunk.n_tokens; ++i, ++lengths_[chunk.seq]) {
        const int32_t position = lengths_[chunk.seq];
        batch.token_ids.push_back(0);
        batch.positions.push_back(position);
        batch.slots.push_back(pages[position / page_size_] * page_size_ + position % page_size_);
        // Of bf16, so that a device that computes with it has the same ones.
        const auto values = stored(
            DType::kBF16, random_values(width, 1000 * chunk.seq + position, position % 7 == 3 ? 3.0f : 1.0f));
        qkv.insert(qkv.end(), values.begin(), values.end());
        for (const float v : values) largest_value_ = std::max(largest_value_, std::abs(v));
      }
      batch.query_start.push_back(batch.n_tokens());
      batch.context_lens.push_back(lengths_[chunk.seq]);
      batch.page_table.insert(batch.page_table.end(), pages, pages + pages_each());
    }
    const int32_t n = batch.n_tokens(), q_width = spec_.n_heads * spec_.head_dim;
    const DeviceMatrix device_qkv(ops_, n, width, qkv), q(ops_, n, q_width),
        out(ops_, n, q_width, DType::kF32);
    const BatchView view = ops_.stage(batch);
    ops_.rope_write_kv(device_qkv.view(), view, spec_, rope_, kv_, q.view());
    if (rotated != nullptr) *rotated = q.host();
    std::vector<float> attended_q = q.host();
    const float factor = queries == Queries::kScaledBf16 ? spec_.softmax_scale * 1.44269504f : 1;
    if (queries != Queries::kAsTheyAre) {
      for (float& v : attended_q) v = bf16_to_f32(f32_to_bf16(v * factor)) / factor;
    }
    const DeviceMatrix final_q(ops_, n, q_width, attended_q);
    ops_.attention(final_q.view(), view, spec_, kv_, out.as_f32());
    return out.host();
  }

  RopeSpec& rope() { return rope_; }
  double largest_value() const { return largest_value_; }

 private:
  int32_t pages_each() const { return (kMaxContext + page_size_ - 1) / page_size_; }
  static std::vector<float> angles(const AttentionSpec& spec, bool turning) {
    const int32_t half = spec.head_dim / 2;
    std::vector<float> table(static_cast<size_t>(kMaxContext) * spec.head_dim);
    for (int32_t p = 0; p < kMaxContext; ++p) {
      for (int32_t i = 0; i < half; ++i) {
        const double angle = turning ? p * std::pow(10000.0, -i / double{1.0 * half}) : 0;
        table[p * spec.head_dim + i] = static_cast<float>(std::cos(angle));
        table[p * spec.head_dim + half + i] = static_cast<float>(std::sin(angle));
      }
    }
    return table;
  }

  Ops& ops_;
  AttentionSpec spec_;
  int32_t page_size_;
  std::vector<int32_t> lengths_, pages_;
  DeviceArray<float> cos_sin_;
  DeviceArray<uint8_t> pool_;
  DeviceArray<float> scales_;
  KvLayer kv_;
  RopeSpec rope_;
  float largest_value_ = 0;
};

OpsLimits limits_for(const AttentionSpec& spec) {
  return {.max_tokens = 1500,
          .max_seqs = 32,
          .max_context = kMaxContext,
          .max_logits = 32,
          .vocab_size = 100,
          .max_cols = 4096,
          .attention = spec};
}

using AttentionOps = OpsTest;

// How far an output may be from the reference on the same cache (and, where the backend multiplies in bf16,
// on queries rounded as it rounds them). A score is the sum of head_dim products, whose sizes add up to
// |q||k| / sqrt(head_dim) at most: 9 sqrt(head_dim) for values of spread 3, and a third more for the longest
// of vectors. Each rounding moves a score by a unit of that, and a weight by twice as much relative to the
// others; exp2 is good to 3e-7, its argument to as many units; a weight in bf16 is rounded to 2^-8 of itself.
// An output is a weighted mean of values.
double attention_bound(const AttentionSpec& spec, bool bf16_products, double largest_value) {
  const double score = 12 * std::sqrt(spec.head_dim) * (spec.head_dim + 4) * kUnit;
  return largest_value * (2 * score + 3e-7 + (bf16_products ? 0x1p-8 : 0));
}

TEST_P(AttentionOps, AgreesWithTheReference) {
  struct Case {
    AttentionSpec spec;
    std::vector<std::vector<Feeder::Chunk>> steps;
  };
  // Decodes beside prefill chunks; contexts within a page, across pages, blocks and segments.
  const Case cases[] = {
      {heads(4, 4, 16), {{{0, 1}, {1, 16}, {2, 70}}, {{0, 1}, {1, 1}, {2, 31}, {3, 5}}}},
      {heads(3, 1, 64), {{{0, 500}, {1, 40}}, {{0, 30}, {1, 1}}, {{0, 1}, {1, 1}}}},
      {heads(8, 2, 24, 20), {{{0, 90}, {1, 3}}, {{0, 1}, {1, 40}}}},
      {heads(4, 1, 80), {{{0, 65}}, {{0, 1}, {1, 2}}}},
      {heads(7, 1, 128), {{{0, 20}, {1, 20}}, {{0, 1}, {1, 17}}}},
      {heads(6, 2, 96, 100), {{{0, 130}}, {{0, 1}}}},
      {heads(2, 1, 10), {{{0, 33}, {1, 1}}}},
      {heads(60, 1, 32), {{{0, 3}, {1, 1}}}},
  };
  for (const Case& c : cases) {
    const auto ops = make(3, limits_for(c.spec));
    const auto reference = make_reference_ops();
    for (const Cache& cache : kCaches) {
      Feeder feeder(*ops, c.spec, cache, 4, false), expected(*reference, c.spec, cache, 4, false);
      // A device's fp16 products round less than its bf16 ones.
      const bool in_bf16 =
          GetParam().bf16_products && (cache.quant.type != QType::kF16 || !GetParam().on_host);
      const auto queries =
          in_bf16 && GetParam().bf16_queries ? Feeder::Queries::kScaledBf16 : Feeder::Queries::kAsTheyAre;
      for (size_t s = 0; s < c.steps.size(); ++s) {
        std::vector<float> q, expected_q;
        const auto actual = feeder.step(c.steps[s], &q),
                   truth = expected.step(c.steps[s], &expected_q, queries);
        ASSERT_EQ(q, expected_q);
        double bound = attention_bound(c.spec, in_bf16, feeder.largest_value());
        if (GetParam().bf16_attention) bound += storing_error(DType::kBF16, feeder.largest_value());
        double worst = 0;
        for (size_t i = 0; i < truth.size(); ++i) {
          const double error = std::abs(double{actual[i]} - truth[i]);
          worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
        ASSERT_LE(worst, bound) << cache.name << ", " << c.spec.n_heads << "/" << c.spec.n_kv_heads
                                << " heads of " << c.spec.head_dim << ", window " << c.spec.window
                                << ", step " << s;
      }
    }
  }
}

TEST_P(AttentionOps, RotatesAndNormalizesHeads) {
  for (const bool normed : {false, true}) {
    for (const int32_t head_dim : {6, 24, 64, 128}) {
      const AttentionSpec spec = heads(4, 2, head_dim);
      const auto ops = make(3, limits_for(spec));
      const auto reference = make_reference_ops();
      const std::vector<float> q_norm = random_values(head_dim, 1), k_norm = random_values(head_dim, 2);
      const auto run = [&](Ops& backend, std::vector<float>& q) {
        Feeder feeder(backend, spec, kCaches[0], 1, true);
        const DeviceArray<float> device_q_norm(backend, q_norm), device_k_norm(backend, k_norm);
        if (normed) feeder.rope().q_norm = device_q_norm.data(), feeder.rope().k_norm = device_k_norm.data();
        feeder.rope().norm_eps = 1e-6f;
        const bool bf16 = ops->info().activation == DType::kBF16;
        const auto queries = &backend == ops.get()     ? Feeder::Queries::kAsTheyAre
                             : GetParam().bf16_queries ? Feeder::Queries::kScaledBf16
                             : bf16                    ? Feeder::Queries::kBf16
                                                       : Feeder::Queries::kAsTheyAre;
        return feeder.step({{0, 50}}, &q, queries);
      };
      std::vector<float> q, expected_q;
      const std::vector<float> out = run(*ops, q), expected = run(*reference, expected_q);
      // Two products and their sum, of values below 14 (normed: head_dim / 2 + 6 units more).
      const double units = 3 + (normed ? 0.5 * head_dim + 6 : 0), largest = 14.0 * (normed ? 4 : 1);
      for (size_t i = 0; i < q.size(); ++i)
        ASSERT_LE(std::abs(q[i] - expected_q[i]),
                  units * kUnit * 2 * largest + storing_error(ops->info().activation, expected_q[i]))
            << i;
      // A k that is rounded to bf16 on the other side of a tie differs by 2^-8 of itself; few do.
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_LE(std::abs(out[i] - expected[i]), 0.12) << "head_dim " << head_dim << " at " << i;
    }
  }
}

// The consumer's form is the exact encoding of the f32 result.
TEST_P(AttentionOps, EncodesForItsConsumer) {
  const AttentionSpec spec = heads(6, 3, 32);
  const auto ops = make(3, limits_for(spec));
  const int32_t n = 37, q_width = 6 * 32, width = 12 * 32, page = 16;
  ForwardBatch batch;
  batch.query_start = {0, n};
  batch.context_lens = {n};
  batch.page_table = {2, 0, 1};
  batch.page_table_stride = 3;
  for (int32_t t = 0; t < n; ++t) {
    batch.token_ids.push_back(0);
    batch.positions.push_back(t);
    batch.slots.push_back(batch.page_table[t / page] * page + t % page);
  }
  const DeviceArray<float> cos_sin(*ops, std::vector<float>(n * 32, 0.5f));
  const DeviceArray<uint8_t> pool(*ops, 3 * ops->kv_page_bytes(spec, {}, page));
  const KvLayer kv{pool.data(), {}, page, nullptr, nullptr};
  const DeviceMatrix qkv(*ops, n, width, random_values(n * width, 3)), q(*ops, n, q_width),
      out(*ops, n, q_width, DType::kF32);
  const BatchView view = ops->stage(batch);
  ops->rope_write_kv(qkv.view(), view, spec, {.cos_sin = cos_sin.data()}, kv, q.view());
  ops->attention(q.view(), view, spec, kv, out.as_f32());
  for (const ActivationForm& form : activation_forms()) {
    const DeviceQuantized quantized(*ops, form.args, n, q_width);
    ops->attention(q.view(), view, spec, kv, quantized.view());
    expect_encoded(out.host(), quantized, form.name);
  }
}

// The same sequence alone, in chunks, token by token, among others, on other numbers of threads: the same
// bits.
TEST_P(AttentionOps, BitsDoNotDependOnTheBatch) {
  if (!GetParam().batch_invariant) GTEST_SKIP() << "not promised without --batch-invariant";
  constexpr int32_t kLength = 1150;  // into the fifth segment
  for (const int32_t window : {0, 300}) {
    const AttentionSpec spec = heads(6, 2, 32, window);
    const size_t row = static_cast<size_t>(spec.n_heads * spec.head_dim);
    for (const Cache& cache : kCaches) {
      const std::string what = std::string(cache.name) + ", window " + std::to_string(window);
      const auto one = make(1, limits_for(spec)), three = make(3, limits_for(spec));
      Feeder whole(*one, spec, cache, 16, true);
      const std::vector<float> expected = whole.step({{0, kLength}});

      Feeder chunked(*three, spec, cache, 16, true);
      std::vector<float> actual;
      for (const int32_t n : {1, 30, 64, 5, 700, 1, 1, 17, 329, 1, 1}) {
        const auto part = chunked.step({{0, n}});
        actual.insert(actual.end(), part.begin(), part.end());
      }
      ASSERT_EQ(actual.size(), expected.size());
      EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0)
          << "in chunks, " << what;

      Feeder crowded(*three, spec, cache, 16, true);
      actual.clear();
      for (const int32_t n : {600, 1, 500, 49}) {
        std::vector<Feeder::Chunk> chunks;
        for (int32_t s = 15; s > 0; --s) chunks.push_back({s, 1 + s * 3 % 11});
        chunks.insert(chunks.begin() + 7, {0, n});
        int32_t before = 0;
        for (int32_t i = 0; i < 7; ++i) before += chunks[i].n_tokens;
        const auto all = crowded.step(chunks);
        actual.insert(actual.end(), &all[before * row], &all[before * row] + n * row);
      }
      ASSERT_EQ(actual.size(), expected.size());
      EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0)
          << "among others, " << what;
    }
  }
}

OCTET_INSTANTIATE_OPS_TEST(AttentionOps);

}  // namespace
}  // namespace octet
