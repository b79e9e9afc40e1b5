#include "model/kv_cache.h"

namespace octet {

size_t KvCache::page_bytes(const Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                           int32_t n_layers) {
  return ops.kv_page_bytes(spec, quant, page_size) * static_cast<size_t>(n_layers);
}

Result<KvCache> KvCache::create(Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                                int32_t n_pages, int32_t n_layers) {
  KvCache cache;
  cache.quant = quant;
  cache.page_size = page_size;
  cache.n_pages = n_pages;
  const size_t layer_bytes = ops.kv_page_bytes(spec, quant, page_size) * static_cast<size_t>(n_pages);
  for (int32_t layer = 0; layer < n_layers; ++layer) {
    OCTET_ASSIGN_OR_RETURN(auto buffer, ops.allocate(layer_bytes));
    cache.views.push_back(KvLayer{buffer.data(), quant, page_size, 0, 0});
    cache.layers.push_back(std::move(buffer));
  }
  return cache;
}

}  // namespace octet
