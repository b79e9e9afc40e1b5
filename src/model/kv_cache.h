// The paged key-value cache: bytes and layout of the pool. Who owns which page is the engine's
// block_manager's business.
#pragma once

#include <vector>

#include "backend/ops.h"
#include "formats/host_linear.h"

namespace octet {

struct KvCache {
  KvQuant quant;
  int32_t page_size = 0;
  int32_t n_pages = 0;
  std::vector<Buffer> layers;  // [n_layers], n_pages pages each
  std::vector<Buffer> scales;  // where quant is static: [n_layers], each f32 [2, n_kv_heads] of K, then of V
  std::vector<KvLayer> views;  // all of it, as the ops take it

  // static_scales: [n_layers] where quant is static, else empty.
  static Result<KvCache> create(Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                                int32_t n_pages, int32_t n_layers,
                                const std::vector<KvScales>& static_scales);
  // Bytes of one page over all layers.
  static size_t page_bytes(const Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                           int32_t n_layers);
};

}  // namespace octet
