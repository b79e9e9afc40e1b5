#include "backend/cpu/attention_tile.h"

#include "backend/cpu/attention_tile_impl.h"

namespace octet::cpu {

const AttentionKernels kAttentionGenericBf16 = AttentionKernelsImpl<PairsInFloat<VecGeneric, 2>>::table();
const AttentionKernels kAttentionGenericF16 = AttentionKernelsImpl<HalvesInFloat<VecGeneric, 2>>::table();

const AttentionKernels& attention_kernels(Isa isa, QType type) {
  const bool f16 = type == QType::kF16;
  switch (isa) {
    case Isa::kAvx512:
      return f16 ? kAttentionAvx512F16 : kAttentionAvx512Bf16;
    case Isa::kAvx2:
      return f16 ? kAttentionAvx2F16 : kAttentionAvx2Bf16;
    case Isa::kGeneric:
      break;
  }
  return f16 ? kAttentionGenericF16 : kAttentionGenericBf16;
}

size_t AttentionScratch::carve(uint8_t* memory, int32_t rows, const AttentionSpec& spec) {
  const size_t padded = static_cast<size_t>(spec.head_dim + 15) / 16 * 16, n_rows = static_cast<size_t>(rows);
  size_t used = 0;
  const auto take = [&](auto& pointer, size_t bytes) {
    if (memory != nullptr) pointer = reinterpret_cast<std::decay_t<decltype(pointer)>>(memory + used);
    used += (bytes + 63) / 64 * 64;
  };
  take(q, n_rows * padded * sizeof(float));
  take(scores, n_rows * kBlockKeys * sizeof(float));
  take(p, n_rows * kBlockKeys * sizeof(float));
  take(k, kBlockKeys * padded * sizeof(uint16_t));
  take(v, kBlockKeys * padded * sizeof(uint16_t));
  take(k_scale, kBlockKeys * sizeof(float));
  take(v_scale, kBlockKeys * sizeof(float));
  for (AttentionState* state : {&segment, &total}) {
    take(state->o, n_rows * padded * sizeof(float));
    take(state->m, n_rows * sizeof(float));
    take(state->l, n_rows * sizeof(float));
  }
  return used;
}

}  // namespace octet::cpu
