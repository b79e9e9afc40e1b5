// The paged key-value cache: bytes and layout of the pool. Who owns which page is the engine's
// block_manager's business.
#pragma once

#include <vector>

#include "backend/ops.h"

namespace octet {

struct KvCache {
  KvQuant quant;
  int32_t page_size = 0;
  int32_t n_pages = 0;
  std::vector<Buffer> layers;  // [n_layers], n_pages pages each
  std::vector<KvLayer> views;  // the same, as the ops take them

  static Result<KvCache> create(Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                                int32_t n_pages, int32_t n_layers);
  // Bytes of one page over all layers.
  static size_t page_bytes(const Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                           int32_t n_layers);
};

}  // namespace octet
