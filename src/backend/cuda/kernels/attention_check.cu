// attention and rope_write_kv on a GPU against double precision over what the cache holds: cache types, head
// shapes, windows, page sizes, decodes beside chunks, contexts up to 8k; encodings bit for bit; batch
// invariance bit for bit.
//
//   octet_attention_check [--small]      exits 1 where anything differs by more than its bound
#include <cstring>

#include "backend/cuda/kernels/attention_check_util.cuh"
#include "backend/quant_rows.h"

namespace octet::cuda::check {
namespace {

struct Cache {
  const char* name;
  QType type;
  float k_scale = 0, v_scale = 0;  // static scales of the first head; the others' grow
  KvQuant quant() const { return {type, k_scale == 0}; }
  std::vector<float> scales(int32_t heads) const {  // of K, then of V
    std::vector<float> all;
    for (const float scale : {k_scale, v_scale}) {
      for (int32_t h = 0; h < heads; ++h) all.push_back(scale * (1 + 0.125f * static_cast<float>(h)));
    }
    return all;
  }
};
const Cache kCaches[] = {{"bf16", QType::kBF16}, {"fp16", QType::kF16},
                         {"int8", QType::kInt8}, {"int8 static", QType::kInt8, 0.031f, 0.027f},
                         {"fp8", QType::kFp8},   {"fp8 static", QType::kFp8, 0.011f, 0.0083f}};

struct Chunk {
  int32_t past, n_new;  // n_new 0: padding
};
struct Case {
  AttentionSpec spec;
  std::vector<Chunk> chunks;
  int32_t page_size = 64;
};

// One case with one cache: the keys and values of all chunks, written by rope_write_kv.
class Trial {
 public:
  Trial(const Case& c, const Cache& cache, bool turning, float amplitude = 1.3f)
      : case_(c),
        cache_(cache),
        amplitude_(amplitude),
        width_((c.spec.n_heads + 2 * c.spec.n_kv_heads) * c.spec.head_dim),
        q_width_(c.spec.n_heads * c.spec.head_dim),
        max_context_(longest(c)),
        pages_(static_cast<int32_t>(c.chunks.size()), max_context_, c.page_size),
        layout_(c.spec, {cache.type}, c.page_size),
        pool_(pages_.table.size() * layout_.page_bytes, 0xff),
        scales_(cache.scales(c.spec.n_kv_heads)),
        angles_(make_angles(turning)) {
    kv_ = {pool_.data(), cache.quant(), c.page_size, nullptr, nullptr};
    if (cache.k_scale != 0) kv_.k_scale = scales_.data(), kv_.v_scale = scales_.data() + c.spec.n_kv_heads;
    ForwardBatch past;
    for (size_t s = 0; s < c.chunks.size(); ++s) {
      if (c.chunks[s].n_new == 0)
        pages_.pad(new_);
      else
        pages_.add(new_, static_cast<int32_t>(s), c.chunks[s].past, c.chunks[s].n_new);
      if (c.chunks[s].past > 0) pages_.add(past, static_cast<int32_t>(s), 0, c.chunks[s].past);
    }
    if (past.n_tokens() > 0) write(past, 0, nullptr);
  }

  const ForwardBatch& batch() const { return new_; }
  int32_t q_width() const { return q_width_; }
  const std::string name() const {
    const AttentionSpec& s = case_.spec;
    return std::string(cache_.name) + " " + std::to_string(s.n_heads) + "/" + std::to_string(s.n_kv_heads) +
           " x " + std::to_string(s.head_dim) + (s.window > 0 ? " window " + std::to_string(s.window) : "") +
           " page " + std::to_string(case_.page_size);
  }

  // Writes a batch's tokens; q: [n_tokens, q_width] or null.
  void write(const ForwardBatch& b, uint64_t seed, __nv_bfloat16* q) {
    Array<__nv_bfloat16> qkv(static_cast<size_t>(b.n_tokens()) * width_);
    Array<__nv_bfloat16> own(q == nullptr ? static_cast<size_t>(b.n_tokens()) * q_width_ : 1);
    launch_dependent(fill_noise, 1024, 256, 0, nullptr, qkv.data(), qkv.size(), seed * 1000003, amplitude_);
    const DeviceBatch device(b);
    const View in{qkv.data(), DType::kBF16, b.n_tokens(), width_, width_};
    const View out{q == nullptr ? own.data() : q, DType::kBF16, b.n_tokens(), q_width_, q_width_};
    RopeSpec rope;
    rope.cos_sin = angles_.data();
    rope_write_kv(in, device.view, case_.spec, rope, kv_, out, nullptr);
    finish("rope_write_kv");
    if (q != nullptr) last_qkv_ = qkv.host();
  }

  // Attention of a batch in any form.
  void attend(const ForwardBatch& b, const __nv_bfloat16* q, const QView& out, bool invariant) {
    const DeviceBatch device(b);
    const Prefill prefill(b, case_.spec, invariant);
    const View in{const_cast<__nv_bfloat16*>(q), DType::kBF16, b.n_tokens(), q_width_, q_width_};
    const OpsLimits limits{.max_tokens = b.n_tokens(), .max_seqs = b.n_seqs(), .attention = case_.spec};
    Array<uint8_t> workspace(attention_workspace_bytes(limits), 0xff);
    attention(in, device.view, case_.spec, kv_, prefill.plan(), out, workspace.data(), nullptr);
    finish(name().c_str());
  }
  std::vector<float> attend_f32(const ForwardBatch& b, const __nv_bfloat16* q, bool invariant) {
    Array<float> out(static_cast<size_t>(b.n_tokens()) * q_width_, 0xff);
    attend(b, q, {out.data(), {.type = QType::kF32}, b.n_tokens(), q_width_, q_width_, nullptr, nullptr},
           invariant);
    return out.host();
  }
  std::vector<double> truth(const ForwardBatch& b, const __nv_bfloat16* q) {
    const DeviceBatch device(b);
    Array<double> out(static_cast<size_t>(b.n_tokens()) * q_width_);
    const Truth t{q, q_width_, device.view, case_.spec, kv_, layout_, out.data()};
    const int bytes = (max_context_ + 1) * 8;
    succeed(cudaFuncSetAttribute(attend_in_double, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "shared");
    launch_dependent(attend_in_double, dim3(b.n_tokens(), case_.spec.n_heads), 128, bytes, nullptr, t);
    finish("attend_in_double");
    return out.host();
  }

  // The cache's K and V of the new tokens against the encoding of what went in (angles of 0: the same bits).
  void check_cache() {
    const std::vector<uint8_t> pool = pool_.host();
    const AttentionSpec& spec = case_.spec;
    int wrong = 0;
    for (int32_t t = 0; t < new_.n_tokens(); ++t) {
      if (new_.slots[t] < 0) continue;
      for (int32_t h = 0; h < 2 * spec.n_kv_heads; ++h) {
        const bool value = h >= spec.n_kv_heads;
        std::vector<float> x(spec.head_dim);
        for (int32_t i = 0; i < spec.head_dim; ++i)
          x[i] = __bfloat162float(
              last_qkv_[static_cast<size_t>(t) * width_ + (spec.n_heads + h) * spec.head_dim + i]);
        std::vector<uint16_t> codes(spec.head_dim);
        float scale = cache_.scales(spec.n_kv_heads)[(value ? spec.n_kv_heads : 0) + h % spec.n_kv_heads];
        QView out{codes.data(), {.type = cache_.type}, 1, spec.head_dim, spec.head_dim, &scale, nullptr};
        if (layout_.code_bytes == 1) {
          out.args.dynamic = scale == 0;
          out.args.scale = scale == 0 ? QScale::kToken : QScale::kTensor;
        }
        encode_row(x.data(), out, 0);
        const int32_t row = new_.slots[t] % case_.page_size;
        const uint8_t* head = &pool[new_.slots[t] / case_.page_size * layout_.page_bytes +
                                    h % spec.n_kv_heads * layout_.head_bytes];
        const uint8_t* panel = head + (value ? layout_.v_offset : 0);
        for (int32_t i = 0; i < spec.head_dim; ++i) {
          if (layout_.code_bytes == 2) {
            wrong += std::memcmp(panel + layout_.half_offset(row, i), &codes[i], 2) != 0;
          } else {
            const int32_t at = value ? layout_.v_code_offset(row, i) : layout_.k_code_offset(row, i);
            wrong += panel[at] != reinterpret_cast<const uint8_t*>(codes.data())[i];
          }
        }
        if (layout_.code_bytes == 1) {
          float stored;
          std::memcpy(&stored, head + layout_.scale_offset + ((value ? case_.page_size : 0) + row) * 4, 4);
          wrong += stored != scale;
        }
      }
    }
    expect(wrong == 0,
           name() + ": " + std::to_string(wrong) + " codes or scales in the cache are not the encoding");
  }

 private:
  static int32_t longest(const Case& c) {
    int32_t n = 1;
    for (const Chunk& chunk : c.chunks) n = std::max(n, chunk.past + chunk.n_new);
    return n;
  }
  std::vector<float> make_angles(bool turning) const {
    const int32_t d = case_.spec.head_dim, half = d / 2;
    std::vector<float> table(static_cast<size_t>(max_context_) * d);
    for (int32_t p = 0; p < max_context_; ++p) {
      for (int32_t i = 0; i < half; ++i) {
        const double angle = turning ? p * std::pow(10000.0, -i / (1.0 * half)) : 0;
        table[static_cast<size_t>(p) * d + i] = static_cast<float>(std::cos(angle));
        table[static_cast<size_t>(p) * d + half + i] = static_cast<float>(std::sin(angle));
      }
    }
    return table;
  }

  Case case_;
  Cache cache_;
  float amplitude_;  // of what goes in
  int32_t width_, q_width_, max_context_;
  Pages pages_;
  KvLayout layout_;
  Array<uint8_t> pool_;
  Array<float> scales_, angles_;
  KvLayer kv_;
  ForwardBatch new_;
  std::vector<__nv_bfloat16> last_qkv_;
};

// Results are rounded to bf16 (2^-9 of themselves), and so are weights over a bf16 cache (over the others to
// fp16, in which 8-bit codes are exact): at most 2^-8 relative to the norm of all results, and no single
// value may be further off than 2^-6 of the largest.
void compare(const std::string& what, const std::vector<float>& actual, const std::vector<double>& truth) {
  double error = 0, norm = 0, worst = 0, largest = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double e = std::abs(actual[i] - truth[i]);
    error += e * e;
    norm += truth[i] * truth[i];
    worst = std::isnan(e) ? INFINITY : std::max(worst, e);
    largest = std::max(largest, std::abs(truth[i]));
  }
  const double relative = std::sqrt(error / norm);
  std::printf("%-60s relative error %.2e, worst %.2e of %.2f\n", what.c_str(), relative, worst, largest);
  expect(relative < 1.0 / 256 && worst < largest / 64, what);
}

void check_case(const Case& c, bool small) {
  for (const Cache& cache : kCaches) {
    for (const bool turning : {false, true}) {
      if (turning && (c.chunks.size() > 6 || (small && cache.type != QType::kBF16))) continue;
      Trial trial(c, cache, turning);
      const ForwardBatch& b = trial.batch();
      Array<__nv_bfloat16> q(static_cast<size_t>(b.n_tokens()) * trial.q_width());
      trial.write(b, 17, q.data());
      if (!turning) trial.check_cache();
      const std::vector<double> truth = trial.truth(b, q.data());
      const std::vector<float> first = trial.attend_f32(b, q.data(), false);
      compare(trial.name() + (turning ? ", turned" : ""), first, truth);
      expect(first == trial.attend_f32(b, q.data(), false), trial.name() + ": two runs differ");
      compare(trial.name() + ", all by the prefill kernel", trial.attend_f32(b, q.data(), true), truth);
    }
  }
}

// Queries that fp16, in which most caches' products are, holds only divided by a power of two.
void check_small_queries(const Cache& cache) {
  Trial trial({heads(4, 2, 64), {{0, 40}, {130, 33}}}, cache, true);
  const ForwardBatch& b = trial.batch();
  Array<__nv_bfloat16> q(static_cast<size_t>(b.n_tokens()) * trial.q_width());
  trial.write(b, 31, q.data());
  std::vector<__nv_bfloat16> small = q.host();
  for (__nv_bfloat16& x : small) x = __float2bfloat16_rn(__bfloat162float(x) * 0x1p-20f);
  const Array<__nv_bfloat16> small_q(small);
  compare(trial.name() + ", small queries", trial.attend_f32(b, small_q.data(), true),
          trial.truth(b, small_q.data()));
}

// Scales that fp16 holds as subnormal numbers, should it have to.
void check_small_values(const Cache& cache) {
  if (cache.k_scale != 0) return;  // a static scale is what it is
  Trial trial({heads(4, 2, 64), {{0, 40}, {130, 33}}}, cache, true, 0x1p-10f);
  const ForwardBatch& b = trial.batch();
  Array<__nv_bfloat16> q(static_cast<size_t>(b.n_tokens()) * trial.q_width());
  trial.write(b, 37, q.data());
  compare(trial.name() + ", small values", trial.attend_f32(b, q.data(), true), trial.truth(b, q.data()));
}

// The consumer's form is the exact encoding of the f32 result.
void check_forms(const Case& c, const Cache& cache) {
  Trial trial(c, cache, true);
  const ForwardBatch& b = trial.batch();
  Array<__nv_bfloat16> q(static_cast<size_t>(b.n_tokens()) * trial.q_width());
  trial.write(b, 23, q.data());
  const std::vector<float> plain = trial.attend_f32(b, q.data(), false);
  const int32_t n = b.n_tokens(), cols = trial.q_width();
  const QuantArgs forms[] = {{.type = QType::kBF16},
                             {.type = QType::kF16},
                             {.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true},
                             {.type = QType::kFp8, .scale = QScale::kToken, .dynamic = true},
                             {.type = QType::kInt8, .scale = QScale::kTensor},
                             {.type = QType::kFp8, .scale = QScale::kTensor},
                             {.type = QType::kInt8, .scale = QScale::kTensor, .symmetric = false}};
  for (const QuantArgs& args : forms) {
    const size_t bytes = qtype_bytes(args.type) * n * cols;
    std::vector<uint8_t> expected(bytes);
    std::vector<float> scales(args.dynamic ? n : 1, 0.013f);
    int32_t zero_point = -9;
    QView host{expected.data(), args, n, cols, cols, scales.data(), &zero_point};
    for (int32_t t = 0; t < n; ++t) encode_row(&plain[static_cast<size_t>(t) * cols], host, t);
    Array<uint8_t> codes(bytes, 0xee);
    Array<float> device_scales(std::vector<float>(scales.size(), 0.013f));
    Array<int32_t> device_zero(std::vector<int32_t>{zero_point});
    trial.attend(b, q.data(), {codes.data(), args, n, cols, cols, device_scales.data(), device_zero.data()},
                 false);
    const std::vector<uint8_t> actual = codes.host();
    int wrong = 0;
    for (size_t i = 0; i < bytes; ++i) wrong += actual[i] != expected[i];
    const std::string what = trial.name() + " as " + to_string(args);
    expect(wrong == 0, what + ": " + std::to_string(wrong) + " bytes are not the encoding");
    if (args.dynamic) expect(device_scales.host() == scales, what + ": scales");
  }
}

// With batch_invariant: the same bits for a sequence alone and in chunks as among others.
void check_invariance(const AttentionSpec& spec, const Cache& cache) {
  Case together{spec, {{0, 700}, {0, 333}, {40, 1}, {900, 1}, {5, 64}}};
  Trial trial(together, cache, true);
  const ForwardBatch& all = trial.batch();
  Array<__nv_bfloat16> q(static_cast<size_t>(all.n_tokens()) * trial.q_width());
  trial.write(all, 29, q.data());
  const std::vector<float> expected = trial.attend_f32(all, q.data(), true);
  int32_t done = 0;
  for (const int32_t n : {1, 30, 64, 5, 200, 1, 1, 17, 300, 81}) {
    ForwardBatch b;
    b.page_table_stride = all.page_table_stride;
    b.query_start = {0, n};
    b.context_lens = {done + n};
    b.page_table.assign(all.page_table.begin(), all.page_table.begin() + all.page_table_stride);
    b.token_ids.assign(n, 0);
    const std::vector<float> part =
        trial.attend_f32(b, q.data() + static_cast<size_t>(done) * trial.q_width(), true);
    expect(std::memcmp(part.data(), &expected[static_cast<size_t>(done) * trial.q_width()],
                       part.size() * 4) == 0,
           trial.name() + ": a chunk of " + std::to_string(n) + " at " + std::to_string(done) +
               " has other bits");
    done += n;
  }
}

}  // namespace

// small: what an emulation on the CPU gets done.
int run(bool small) {
  const std::vector<Case> cases = {
      {heads(32, 8, 128), {{0, 1}, {63, 1}, {64, 1}, {1000, 1}, {2047, 1}, {8200, 1}}},
      {heads(32, 8, 128), {{0, 300}, {500, 130}, {8000, 40}, {77, 1}, {0, 2}, {3, 0}}},
      {heads(32, 8, 128, 300), {{1000, 1}, {0, 500}, {200, 1}, {2000, 100}}},
      {heads(9, 3, 64), {{0, 500}, {1200, 1}, {39, 1}, {700, 90}, {1, 0}}},
      {heads(9, 3, 64), {{0, 100}, {1200, 1}, {39, 1}, {700, 90}}, 16},
      {heads(32, 8, 128), {{0, 100}, {1200, 1}, {39, 1}, {700, 90}}, 32},
      {heads(4, 4, 16), {{0, 70}, {15, 1}, {16, 31}, {400, 1}}},
      {heads(8, 2, 24, 20), {{0, 90}, {3, 40}, {50, 1}}},
      {heads(4, 1, 80), {{0, 65}, {30, 2}, {130, 1}}},
      {heads(6, 2, 96, 100), {{0, 130}, {257, 1}}},
      {heads(4, 2, 32), {{0, 130}, {257, 1}, {1000, 3}}},
      {heads(2, 1, 10), {{0, 33}, {20, 1}}},
      {heads(60, 1, 32), {{0, 40}, {77, 1}, {128, 5}}},
      {heads(12, 1, 128), {{0, 40}, {700, 1}, {128, 5}}},
  };
  const std::vector<Case> small_cases = {
      {heads(8, 2, 128), {{0, 40}, {150, 33}, {77, 1}, {200, 1}, {3, 0}}},
      {heads(9, 3, 64, 50), {{0, 50}, {160, 1}, {100, 30}}, 16},
      {heads(2, 1, 10), {{0, 33}, {20, 1}}},
      {heads(12, 1, 96), {{0, 3}, {130, 1}}, 32},
      {heads(2, 1, 64), {{6000, 1}}},  // a ring that goes around while warps fall behind
      {heads(8, 2, 128), {{100, 1}, {200, 1}, {63, 1}, {0, 20}, {64, 1}, {0, 1}, {1500, 1}}},  // by warps
      {heads(12, 1, 64, 100), {{400, 1}, {90, 1}, {700, 1}, {130, 1}, {500, 1}, {300, 1}}, 16},
  };
  for (const Case& c : small ? small_cases : cases) check_case(c, small);
  Case many{heads(32, 8, 128), {}};
  for (int32_t s = 0; s < 256; ++s) many.chunks.push_back({s * 37 % 900, s % 50 == 49 ? 0 : 1});
  if (!small) check_case(many, false);
  for (const Cache& cache : kCaches) {
    check_small_queries(cache);
    check_small_values(cache);
  }
  for (const Cache& cache : kCaches) {
    if (small && cache.type != QType::kBF16) continue;
    check_forms(
        {heads(small ? 8 : 32, small ? 2 : 8, 128), {{0, 40}, {small ? 200 : 700, 1}, {64, 33}, {5, 0}}},
        cache);
    if (!small) check_forms({heads(32, 8, 128), {{700, 1}, {20, 1}, {3000, 1}}}, cache);  // shared by blocks
    check_forms({heads(6, 2, 10), {{0, 37}, {20, 1}}}, cache);
    if (small) continue;
    check_invariance(heads(32, 8, 128), cache);
    check_invariance(heads(9, 3, 64, 300), cache);
  }
  std::printf("%s: %d failures\n", failures == 0 ? "attention is right" : "ATTENTION IS WRONG", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace octet::cuda::check

int main(int argc, char** argv) {
  if (!octet::cuda::check::has_device()) return 0;
  return octet::cuda::check::run(argc > 1 && std::strcmp(argv[1], "--small") == 0);
}
