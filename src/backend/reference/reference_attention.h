// The cache and the attention of the reference backend.
//
// Page: K codes [page_size, n_kv_heads, head_dim], V codes likewise, then for 8-bit types the scales of K and
// of V, f32 [page_size, n_kv_heads] each.
#pragma once

#include "backend/ops.h"

namespace octet::reference {

size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size);

void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                   const KvLayer& kv, const View& q);

void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const QView& out);

}  // namespace octet::reference
