#include "backend/cpu/attention_tile_impl.h"
#include "backend/cpu/vec_avx2.h"

namespace octet::cpu {

const AttentionKernels kAttentionAvx2Bf16 = AttentionKernelsImpl<PairsInFloat<VecAvx2, 4>>::table();
const AttentionKernels kAttentionAvx2F16 = AttentionKernelsImpl<HalvesInFloat<VecAvx2, 4>>::table();

}  // namespace octet::cpu
