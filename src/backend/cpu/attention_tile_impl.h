// The kernels of attention_tile.h over a multiplier (attention_multiplier.h).
#pragma once

#include "backend/cpu/attention_multiplier.h"
#include "backend/cpu/attention_tile.h"

namespace octet::cpu {

template <class D>
struct AttentionKernelsImpl {
  using V = typename D::Vec;
  using F = typename V::F;
  using A = typename D::A;
  using Acc = typename D::Acc;
  static constexpr int kMaxPages = kBlockKeys / 16, kMaxUnits = kMaxPages * D::kUnits;
  // Lower than any score, yet finite: a row that has seen no key has no infinities to subtract.
  static constexpr float kNoKey = -1e30f;

  // One operand of a product, as units of 16 columns; each a chain of n panels along the inner dimension, k
  // rows each and k_last in the last.
  struct Panels {
    const uint16_t* const* data;  // [units, n]
    int32_t n, k, k_last;
    int64_t stride;  // elements from step to step
  };

  // c [R, 16 U] (+)= a [R, k] . b
  template <int R, int U>
  static void product(const A* a, int64_t lda, const Panels& b, float* c, int64_t ldc, bool accumulate) {
    Acc acc[R][U];
    OCTET_UNROLL
    for (int i = 0; i < R * U * Acc::kVecs; ++i) {
      const int r = i / (U * Acc::kVecs), vec = i % (U * Acc::kVecs);
      acc[r][vec / Acc::kVecs].v[vec % Acc::kVecs] =
          accumulate ? V::load(c + r * ldc + vec * V::kLanes) : V::set1(0);
    }
    for (int32_t n = 0; n < b.n; ++n, a += b.k) {
      const uint16_t* panel[U];
      OCTET_UNROLL
      for (int u = 0; u < U; ++u) panel[u] = b.data[u * b.n + n];
      const int32_t k = n + 1 < b.n ? b.k : b.k_last;
      for (int32_t i = 0; i < k; i += D::kStep) {
        typename D::Panel columns[U];
        OCTET_UNROLL
        for (int u = 0; u < U; ++u) {
          columns[u] = D::load(panel[u]);
          panel[u] += b.stride;
        }
        OCTET_UNROLL
        for (int r = 0; r < R; ++r) {
          const typename D::Value value = D::value(a + r * lda + i);
          OCTET_UNROLL
          for (int u = 0; u < U; ++u) D::step(acc[r][u], columns[u], value);
        }
      }
    }
    OCTET_UNROLL
    for (int i = 0; i < R * U * Acc::kVecs; ++i) {
      const int r = i / (U * Acc::kVecs), vec = i % (U * Acc::kVecs);
      V::store(c + r * ldc + vec * V::kLanes, acc[r][vec / Acc::kVecs].v[vec % Acc::kVecs]);
    }
  }

  template <int R, int U>
  static void product_rows(int32_t rows, const A* a, int64_t lda, const Panels& b, float* c, int64_t ldc,
                           bool accumulate) {
    for (; rows >= R; rows -= R, a += R * lda, c += R * ldc) product<R, U>(a, lda, b, c, ldc, accumulate);
    if constexpr (R > 1) {
      if (rows > 0) product_rows<R - 1, U>(rows, a, lda, b, c, ldc, accumulate);
    }
  }

  template <int U = D::kUnits>
  static void product_units(int32_t units, int32_t rows, const A* a, int64_t lda, Panels b, float* c,
                            int64_t ldc, bool accumulate) {
    for (; units >= U; units -= U, b.data += U * b.n, c += U * 16) {
      product_rows<D::kRows, U>(rows, a, lda, b, c, ldc, accumulate);
    }
    if constexpr (U > 1) {
      if (units > 0) product_units<U / 2>(units, rows, a, lda, b, c, ldc, accumulate);
    }
  }

  static void load_queries(const AttentionTile& tile, const KvLayout& kv, const AttentionScratch& scratch) {
    const F factor = V::set1(tile.softmax_scale * 1.44269504f);
    A* out = static_cast<A*>(scratch.q);
    for (int32_t t = 0; t < tile.n_tokens; ++t) {
      const float* q = tile.q + t * tile.q_stride;
      for_lanes<V>(int64_t{tile.group} * kv.head_dim, [&](auto at) {
        const F v = V::mul(at.load(q), factor);
        at.put(out, [v](A* p) { D::put(p, v); });
      });
      out += tile.group * kv.head_dim;
    }
  }

  // The codes of an 8-bit panel, in bf16.
  static void unpack(const uint8_t* codes, QType type, int32_t n, uint16_t* out) {
    if (type == QType::kInt8) {
      const auto* in = reinterpret_cast<const int8_t*>(codes);
      for (int32_t i = 0; i < n; i += V::kLanes) V::store_bf16_exact(out + i, V::load_i8(in + i));
    } else {
      for (int32_t i = 0; i < n; i += V::kLanes) V::store_bf16_exact(out + i, V::load_e4m3(codes + i));
    }
  }

  // One block's panels in the product's type. Elements of keys that were never written may hold anything in
  // K, whose scores are replaced; the scales of V, which multiply, are set to 0 there.
  struct Block {
    const uint16_t* k[kMaxPages];
    const uint16_t* v[kMaxPages];
    int32_t n_pages;
  };
  static Block load_block(const AttentionTile& tile, const KvLayout& kv, const AttentionScratch& scratch,
                          int32_t key0, int32_t n_keys) {
    Block block;
    block.n_pages = (n_keys + kv.page_size - 1) / kv.page_size;
    for (int32_t i = 0; i < block.n_pages; ++i) {
      const uint8_t* head =
          tile.pool + static_cast<size_t>(tile.pages[key0 / kv.page_size + i]) * kv.page_bytes;
      if (!kv.eight_bit()) {
        block.k[i] = reinterpret_cast<const uint16_t*>(head);
        block.v[i] = reinterpret_cast<const uint16_t*>(head + kv.v_offset);
        continue;
      }
      const int32_t offset = i * kv.page_size;
      const int32_t valid = n_keys - offset < kv.page_size ? n_keys - offset : kv.page_size;
      uint16_t *k = scratch.k + offset * kv.head_dim, *v = scratch.v + offset * kv.head_dim_padded;
      unpack(head, kv.type, kv.page_size * kv.head_dim, k);
      unpack(head + kv.v_offset, kv.type, (valid + 1) / 2 * 2 * kv.head_dim_padded, v);
      std::memcpy(scratch.k_scale + offset, head + kv.k_scale_offset, kv.page_size * sizeof(float));
      std::memset(scratch.v_scale + offset, 0, kv.page_size * sizeof(float));
      std::memcpy(scratch.v_scale + offset, head + kv.v_scale_offset, valid * sizeof(float));
      block.k[i] = k;
      block.v[i] = v;
    }
    return block;
  }

  // s [width] of one row, of which [lo, hi) is visible, to p; updates m, l, and o [o_width] to the new
  // maximum.
  template <bool kScaled>
  static void softmax_row(float* s, int32_t width, int32_t lo, int32_t hi, const AttentionScratch& scratch,
                          A* p, float& m, float& l, float* o, int32_t o_width) {
    F highest = V::set1(kNoKey);
    const bool masked = lo > 0 || hi < width;
    for (int32_t i = 0; i < width; i += V::kLanes) {
      F v = V::load(s + i);
      if constexpr (kScaled) v = V::mul(v, V::load(scratch.k_scale + i));
      if (masked) v = V::select_between(i, lo, hi, v);
      highest = V::max(v, highest);
      if (kScaled || masked) V::store(s + i, v);
    }
    const float block_max = V::highest(highest), new_max = block_max > m ? block_max : m;
    const F top = V::set1(new_max);
    F sum = V::set1(0);
    for (int32_t i = 0; i < width; i += V::kLanes) {
      const F e = exp2<V>(V::sub(V::load(s + i), top));
      sum = V::add(sum, e);
      if constexpr (kScaled) {
        D::put(p + i, V::mul(e, V::load(scratch.v_scale + i)));
      } else {
        D::put(p + i, e);
      }
    }
    float block_sum = V::sum(sum);
    if (new_max != m) {
      float lanes[V::kLanes];
      V::store(lanes, exp2<V>(V::set1(m - new_max)));
      for (int32_t i = 0; i < o_width; i += V::kLanes)
        V::store(o + i, V::mul(V::load(o + i), V::set1(lanes[0])));
      l *= lanes[0];
      m = new_max;
    }
    l += block_sum;
  }

  static void attend_block(const AttentionTile& tile, const KvLayout& kv, const AttentionScratch& scratch,
                           int32_t key0, const AttentionState& out) {
    const int32_t rows = tile.rows(), end = tile.last_position() + 1 - key0;
    const int32_t n_keys = end < kBlockKeys ? end : kBlockKeys, width = (n_keys + 15) / 16 * 16;
    const Block block = load_block(tile, kv, scratch, key0, n_keys);
    const A* q = static_cast<const A*>(scratch.q);
    A* p = static_cast<A*>(scratch.p);

    const uint16_t* columns[kMaxUnits];
    for (int32_t key = 0; key < width; key += 16) {
      columns[key / 16] = block.k[key / kv.page_size] + key % kv.page_size * D::kStep;
    }
    const Panels k{columns, 1, kv.head_dim, kv.head_dim, int64_t{kv.page_size} * D::kStep};
    product_units(width / 16, rows, q, kv.head_dim, k, scratch.scores, kBlockKeys, false);
    for (int32_t r = 0; r < rows; ++r) {
      const int32_t position = tile.first_position + r / tile.group - key0;
      const int32_t lo = tile.window > 0 ? position - tile.window + 1 : 0;
      (kv.eight_bit() ? softmax_row<true>
                      : softmax_row<false>)(scratch.scores + r * kBlockKeys, width, lo, position + 1, scratch,
                                            p + r * kBlockKeys, out.m[r], out.l[r],
                                            out.o + r * kv.head_dim_padded, kv.head_dim_padded);
    }
    const int32_t last = n_keys - (block.n_pages - 1) * kv.page_size;
    const int32_t k_last = (last + D::kStep - 1) / D::kStep * D::kStep;
    for (int32_t i = 0; i < kv.head_dim_padded; i += D::kUnits * 16) {
      int32_t units = 0;
      for (; units < D::kUnits && i + units * 16 < kv.head_dim_padded; ++units) {
        for (int32_t n = 0; n < block.n_pages; ++n) {
          columns[units * block.n_pages + n] = block.v[n] + (i + units * 16) * D::kStep;
        }
      }
      const Panels v{columns, block.n_pages, kv.page_size, k_last, int64_t{kv.head_dim_padded} * D::kStep};
      product_units(units, rows, p, kBlockKeys, v, out.o + i, kv.head_dim_padded, true);
    }
  }

  static void attend(const AttentionTile& tile, const KvLayout& kv, const AttentionScratch& scratch,
                     int32_t segment, const AttentionState& out) {
    clear_state(tile.rows(), kv.head_dim_padded, out);
    const int32_t begin = segment * kSegmentKeys, end = begin + kSegmentKeys;
    for (int32_t key0 = begin; key0 < end && key0 <= tile.last_position(); key0 += kBlockKeys) {
      if (key0 + kBlockKeys > tile.first_key()) attend_block(tile, kv, scratch, key0, out);
    }
  }

  static void clear_state(int32_t rows, int32_t width, const AttentionState& state) {
    std::memset(state.o, 0, sizeof(float) * static_cast<size_t>(rows) * static_cast<size_t>(width));
    std::memset(state.l, 0, sizeof(float) * static_cast<size_t>(rows));
    for (int32_t r = 0; r < rows; ++r) state.m[r] = kNoKey;
  }

  static void merge(int32_t rows, int32_t width, const AttentionState& segment, const AttentionState& total) {
    for (int32_t r = 0; r < rows; ++r) {
      const float m = segment.m[r] > total.m[r] ? segment.m[r] : total.m[r];
      const F old_factor = exp2<V>(V::set1(total.m[r] - m)), new_factor = exp2<V>(V::set1(segment.m[r] - m));
      float old_lanes[V::kLanes], new_lanes[V::kLanes];
      V::store(old_lanes, old_factor);
      V::store(new_lanes, new_factor);
      total.m[r] = m;
      total.l[r] = total.l[r] * old_lanes[0] + segment.l[r] * new_lanes[0];
      float* o = total.o + r * width;
      for (int32_t i = 0; i < width; i += V::kLanes) {
        const F added = V::mul(V::load(segment.o + r * width + i), new_factor);
        V::store(o + i, V::fma(V::load(o + i), old_factor, added));
      }
    }
  }

  static void finish(const AttentionTile& tile, const KvLayout& kv, const AttentionState& total, float* out,
                     int64_t out_stride) {
    for (int32_t r = 0; r < tile.rows(); ++r) {
      float* row = out + r / tile.group * out_stride + r % tile.group * kv.head_dim;
      const F inverse = V::set1(1.0f / total.l[r]);
      for_lanes<V>(kv.head_dim, [&](auto at) {
        at.store(row, V::mul(at.load(total.o + r * kv.head_dim_padded), inverse));
      });
    }
  }

  static constexpr AttentionKernels table() { return {load_queries, attend, clear_state, merge, finish}; }
};

}  // namespace octet::cpu
