// What a page of the CPU's key-value cache holds.
//
// Page: one block a kv head, each [K panel][V panel][K scales][V scales], aligned to 64 bytes.
//   K panel   [head_dim / pair][page_size][pair]      a register is 16 keys at one dimension (or a pair of
//   them) V panel   [page_size / pair][head_dim_padded][pair]   a register is 16 dimensions of one key (or a
//   pair) scales    f32 [page_size], of 8-bit caches
// so that scores = q . K and out = p . V are both small products A . B whose B is read in order. `pair` is 2
// for bf16, which has instructions that multiply and add pairs, and for the 8-bit types, whose codes are
// exact in bf16; it is 1 for f16. head_dim_padded is head_dim rounded up to 16: what the padding holds goes
// into lanes that nobody reads.
#pragma once

#include "backend/ops.h"

namespace octet::cpu {

struct KvLayout {
  QType type = QType::kBF16;
  int32_t head_dim = 0, head_dim_padded = 0, page_size = 0, pair = 0;
  size_t code_bytes = 0, v_offset = 0, k_scale_offset = 0, v_scale_offset = 0, head_bytes = 0, page_bytes = 0;

  KvLayout(const AttentionSpec& spec, const KvQuant& quant, int32_t page_tokens)
      : type(quant.type),
        head_dim(spec.head_dim),
        head_dim_padded((spec.head_dim + 15) / 16 * 16),
        page_size(page_tokens) {
    OCTET_CHECK(check(spec, page_tokens).ok()) << "page of " << page_size << " tokens, head_dim " << head_dim;
    pair = type == QType::kF16 ? 1 : 2;
    code_bytes = qtype_bytes(type);
    v_offset = static_cast<size_t>(head_dim * page_size) * code_bytes;
    k_scale_offset = v_offset + static_cast<size_t>(head_dim_padded * page_size) * code_bytes;
    v_scale_offset = k_scale_offset + (eight_bit() ? page_size * sizeof(float) : 0);
    const size_t end = v_scale_offset + (eight_bit() ? page_size * sizeof(float) : 0);
    head_bytes = (end + 63) / 64 * 64;
    page_bytes = head_bytes * static_cast<size_t>(spec.n_kv_heads);
  }

  // Of what users choose: the page size, and the model's heads.
  static Status check(const AttentionSpec& spec, int32_t page_tokens) {
    if (page_tokens <= 0 || page_tokens % 16 != 0 || page_tokens > 64) {
      return unsupported("pages of " + std::to_string(page_tokens) +
                         " tokens: the CPU's hold 16, 32, 48 or 64 (--page-size)");
    }
    if (spec.head_dim <= 0 || spec.head_dim % 2 != 0) {
      return unsupported("heads of " + std::to_string(spec.head_dim) + ": expected an even size");
    }
    return {};
  }

  bool eight_bit() const { return type == QType::kInt8 || type == QType::kFp8; }
  // Where dimension i of the page's key (or value) `offset` stands in its panel, in elements.
  int32_t k_index(int32_t offset, int32_t i) const {
    return (i / pair * page_size + offset) * pair + i % pair;
  }
  int32_t v_index(int32_t offset, int32_t i) const {
    return (offset / pair * head_dim_padded + i) * pair + offset % pair;
  }
};

}  // namespace octet::cpu
