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

std::vector<PrefillTile> plan_prefill(const ForwardBatch& batch, const AttentionSpec& spec,
                                      bool batch_invariant, bool* has_decodes) {
  struct Weighed {
    PrefillTile tile;
    int32_t keys;
  };
  std::vector<Weighed> tiles;
  *has_decodes = false;
  const int32_t tokens_each = kPrefillRows / (spec.n_heads / spec.n_kv_heads);
  for (int32_t s = 0; s < batch.n_seqs(); ++s) {
    const int32_t n_new = batch.query_start[s + 1] - batch.query_start[s];
    if (n_new == 1 && !batch_invariant) {
      *has_decodes = true;
      continue;
    }
    for (int32_t first = 0; first < n_new; first += tokens_each) {
      const int32_t end = batch.context_lens[s] - n_new + std::min(first + tokens_each, n_new);
      tiles.push_back({{s, first}, spec.window > 0 ? std::min(end, spec.window + tokens_each) : end});
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(),
                   [](const Weighed& a, const Weighed& b) { return a.keys > b.keys; });
  std::vector<PrefillTile> result;
  result.reserve(tiles.size());
  for (const Weighed& t : tiles) result.push_back(t.tile);
  return result;
}

int64_t max_prefill_tiles(const OpsLimits& limits) {
  const int32_t tokens_each = kPrefillRows / (limits.attention.n_heads / limits.attention.n_kv_heads);
  return limits.max_tokens / tokens_each + limits.max_seqs;
}

}  // namespace octet::cuda
