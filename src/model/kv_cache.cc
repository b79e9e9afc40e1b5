#include "model/kv_cache.h"

namespace octet {

size_t KvCache::page_bytes(const Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                           int32_t n_layers) {
  return ops.kv_page_bytes(spec, quant, page_size) * static_cast<size_t>(n_layers);
}

Result<KvCache> KvCache::create(Ops& ops, const AttentionSpec& spec, const KvQuant& quant, int32_t page_size,
                                int32_t n_pages, int32_t n_layers,
                                const std::vector<KvScales>& static_scales) {
  KvCache cache;
  cache.quant = quant;
  cache.page_size = page_size;
  cache.n_pages = n_pages;
  const size_t layer_bytes = ops.kv_page_bytes(spec, quant, page_size) * static_cast<size_t>(n_pages);
  for (int32_t layer = 0; layer < n_layers; ++layer) {
    OCTET_ASSIGN_OR_RETURN(auto buffer, ops.allocate(layer_bytes));
    KvLayer view{buffer.data(), quant, page_size, nullptr, nullptr};
    cache.layers.push_back(std::move(buffer));
    if (!quant.dynamic) {
      const KvScales& given = static_scales[static_cast<size_t>(layer)];
      const size_t heads = given.k.size(), bytes = heads * sizeof(float);
      OCTET_ASSIGN_OR_RETURN(auto scales, ops.allocate(2 * bytes));
      ops.upload(scales.data(), given.k.data(), bytes);
      ops.upload(scales.as<float>() + heads, given.v.data(), bytes);
      view.k_scale = scales.as<float>();
      view.v_scale = view.k_scale + heads;
      cache.scales.push_back(std::move(scales));
    }
    cache.views.push_back(view);
  }
  return cache;
}

}  // namespace octet
