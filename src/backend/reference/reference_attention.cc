#include "backend/reference/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/quant_rows.h"

namespace octet::reference {
namespace {

// One of K or V of one token and head inside its page: codes [head_dim], and where 8 bit their scale.
struct CacheRow {
  uint8_t* codes;
  float* scale;
};

CacheRow cache_row(const KvLayer& kv, const AttentionSpec& spec, int64_t slot, int32_t kv_head, bool value) {
  const size_t page_rows = static_cast<size_t>(kv.page_size) * spec.n_kv_heads;
  const size_t row_bytes = spec.head_dim * qtype_bytes(kv.quant.type);
  const size_t row =
      (value ? page_rows : 0) + static_cast<size_t>(slot % kv.page_size) * spec.n_kv_heads + kv_head;
  auto* page = static_cast<uint8_t*>(kv.data) +
               static_cast<size_t>(slot / kv.page_size) * kv_page_bytes(spec, kv.quant, kv.page_size);
  auto* scales = reinterpret_cast<float*>(page + 2 * page_rows * row_bytes);
  return {page + row * row_bytes, kv.quant.quantized() ? scales + row : nullptr};
}

// x[head_dim] into the cache; static_scale null: the scale is found from the values.
void write_row(const float* x, const KvLayer& kv, const AttentionSpec& spec, const CacheRow& row,
               const float* static_scale) {
  QView out{row.codes, {.type = kv.quant.type}, 1, spec.head_dim, spec.head_dim, row.scale, nullptr};
  if (kv.quant.quantized()) {
    out.args.dynamic = static_scale == nullptr;
    out.args.scale = out.args.dynamic ? QScale::kToken : QScale::kTensor;
    if (!out.args.dynamic) *row.scale = *static_scale;
  }
  encode_row(x, out, 0);
}

double read(const KvLayer& kv, const CacheRow& row, int32_t i) {
  return double{decode_code(row.codes, kv.quant.type, i)} * (row.scale != nullptr ? *row.scale : 1.0f);
}

// RMSNorm over one head (where weights are given), then rotation of the pairs (i, i + head_dim / 2).
void norm_and_rotate(const float* x, const float* gamma, float eps, const float* cos_sin, int32_t head_dim,
                     float* out) {
  std::vector<double> v(x, x + head_dim);
  if (gamma != nullptr) {
    double squares = 0;
    for (const double value : v) squares += value * value;
    const double inv_rms = 1 / std::sqrt(squares / head_dim + eps);
    for (int32_t i = 0; i < head_dim; ++i) v[i] *= inv_rms * gamma[i];
  }
  const int32_t half = head_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const double c = cos_sin[i], s = cos_sin[half + i];
    out[i] = static_cast<float>(v[i] * c - v[i + half] * s);
    out[i + half] = static_cast<float>(v[i + half] * c + v[i] * s);
  }
}

}  // namespace

size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) {
  const size_t rows = 2 * static_cast<size_t>(page_size) * spec.n_kv_heads;
  const size_t codes = rows * spec.head_dim * qtype_bytes(quant.type);
  return codes + (quant.quantized() ? rows * sizeof(float) : 0);
}

void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                   const KvLayer& kv, const View& q) {
  const int32_t d = spec.head_dim;
  std::vector<float> rotated(d);
  for (int32_t t = 0; t < batch.n_tokens; ++t) {
    const float* cos_sin = rope.cos_sin + int64_t{batch.positions[t]} * d;
    const float* heads = qkv.row<const float>(t);  // q heads, k heads, v heads
    for (int32_t h = 0; h < spec.n_heads; ++h, heads += d) {
      norm_and_rotate(heads, rope.q_norm, rope.norm_eps, cos_sin, d, q.row<float>(t) + h * d);
    }
    for (int32_t h = 0; h < spec.n_kv_heads; ++h, heads += d) {
      norm_and_rotate(heads, rope.k_norm, rope.norm_eps, cos_sin, d, rotated.data());
      write_row(rotated.data(), kv, spec, cache_row(kv, spec, batch.slots[t], h, false),
                kv.quant.dynamic ? nullptr : kv.k_scale + h);
    }
    for (int32_t h = 0; h < spec.n_kv_heads; ++h, heads += d) {
      write_row(heads, kv, spec, cache_row(kv, spec, batch.slots[t], h, true),
                kv.quant.dynamic ? nullptr : kv.v_scale + h);
    }
  }
}

namespace {

// One query head over the keys [first, last] of its sequence.
void attend(const float* q, const int32_t* pages, int32_t first, int32_t last, int32_t kv_head,
            const AttentionSpec& spec, const KvLayer& kv, float* out) {
  const auto row_of = [&](int32_t key, bool value) {
    const int64_t slot = int64_t{pages[key / kv.page_size]} * kv.page_size + key % kv.page_size;
    return cache_row(kv, spec, slot, kv_head, value);
  };
  std::vector<double> weights(last - first + 1), sum(spec.head_dim);
  for (int32_t key = first; key <= last; ++key) {
    const CacheRow k = row_of(key, false);
    double dot = 0;
    for (int32_t i = 0; i < spec.head_dim; ++i) dot += q[i] * read(kv, k, i);
    weights[key - first] = dot * spec.softmax_scale;
  }
  const double max = *std::max_element(weights.begin(), weights.end());
  double total = 0;
  for (double& w : weights) total += w = std::exp(w - max);
  for (int32_t key = first; key <= last; ++key) {
    const CacheRow v = row_of(key, true);
    for (int32_t i = 0; i < spec.head_dim; ++i) sum[i] += weights[key - first] / total * read(kv, v, i);
  }
  for (int32_t i = 0; i < spec.head_dim; ++i) out[i] = static_cast<float>(sum[i]);
}

}  // namespace

void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const QView& out) {
  const int32_t group = spec.n_heads / spec.n_kv_heads;
  std::vector<float> row(out.cols);
  for (int32_t s = 0; s < batch.n_seqs; ++s) {
    const int32_t* pages = batch.page_table + int64_t{s} * batch.page_table_stride;
    for (int32_t t = batch.query_start[s]; t < batch.query_start[s + 1]; ++t) {
      const int32_t last = batch.positions[t];
      const int32_t first = spec.window > 0 ? std::max(0, last - spec.window + 1) : 0;
      for (int32_t h = 0; h < spec.n_heads; ++h) {
        attend(q.row<const float>(t) + h * spec.head_dim, pages, first, last, h / group, spec, kv,
               row.data() + h * spec.head_dim);
      }
      encode_row(row.data(), out, t);
    }
  }
}

}  // namespace octet::reference
