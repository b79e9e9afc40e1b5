// Rotation of q and k by position, and the write of k and v into the paged cache (kv_layout.h).
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// Ops::rope_write_kv. qkv bf16 [n_tokens, (n_heads + 2 n_kv_heads) * head_dim], q bf16
// [n_tokens, n_heads * head_dim]; rows 16-byte aligned. A token whose slot is negative writes nothing. 8-bit
// codes come from the float values after rotation, with the rounding and the scales of backend/quant_rows.h.
void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                   const KvLayer& kv, const View& q, cudaStream_t stream);

}  // namespace octet::cuda
