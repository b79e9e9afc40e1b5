#include <algorithm>

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_limits.h"
#include "backend/cuda/kernels/kv_layout.h"

namespace octet::cuda {

Status check_attention_support(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) {
  const auto refuse = [](const std::string& what) {
    return unsupported("attention on this device: " + what);
  };
  if (spec.head_dim > kMaxHeadDim || spec.head_dim % 2 != 0 || (spec.head_dim > 64 && spec.head_dim % 8 != 0))
    return refuse("heads of " + std::to_string(spec.head_dim) +
                  " dimensions; up to 64 (even) or 128 (multiples of 8) are supported");
  if (spec.n_heads > kMaxHeads || spec.n_heads / spec.n_kv_heads > kPrefillRows)
    return refuse(std::to_string(spec.n_heads) + " query heads; at most " + std::to_string(kMaxHeads) +
                  " are supported");
  if (quant.type == QType::kF32) return refuse("a cache of f32; use bf16, fp16, fp8 or int8");
  if (page_size != 16 && page_size != 32 && page_size != 64)
    return refuse("pages of " + std::to_string(page_size) + " tokens; 16, 32 and 64 are supported");
  return {};
}

int32_t plan_prefill(const ForwardBatch& batch, const AttentionSpec& spec, bool batch_invariant,
                     PrefillTile* tiles, bool* has_decodes) {
  int32_t n = 0;
  *has_decodes = false;
  const int32_t tokens_each = kPrefillRows / (spec.n_heads / spec.n_kv_heads);
  for (int32_t s = 0; s < batch.n_seqs(); ++s) {
    const int32_t begin = batch.query_start[s], n_new = batch.query_start[s + 1] - begin;
    const int32_t context = batch.context_lens[s];
    if (n_new == 1 && !batch_invariant) {
      *has_decodes = true;
      continue;
    }
    for (int32_t done = 0; done < n_new; done += tokens_each) {
      const int32_t n_tokens = std::min(tokens_each, n_new - done), position = context - n_new + done;
      const int32_t first_key = spec.window > 0 ? std::max(0, position + 1 - spec.window) : 0;
      tiles[n++] = {s,
                    begin + done,
                    n_tokens,
                    position,
                    context,
                    first_key / kPrefillKeys,
                    (position + n_tokens - 1) / kPrefillKeys + 1};
    }
  }
  std::sort(tiles, tiles + n, [](const PrefillTile& a, const PrefillTile& b) {
    const int32_t x = a.last - a.first, y = b.last - b.first;
    return x != y ? x > y : a.token < b.token;
  });
  return n;
}

int64_t max_prefill_tiles(const OpsLimits& limits) {
  const int32_t tokens_each = kPrefillRows / (limits.attention.n_heads / limits.attention.n_kv_heads);
  return limits.max_tokens / tokens_each + limits.max_seqs;
}

}  // namespace octet::cuda
