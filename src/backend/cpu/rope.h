// The rope_write_kv op, a token at a time: heads are normalized where asked, rotated, and K and V scattered
// into their panels (kv_layout.h). A value is written once and read by every later step, so the scatter is
// paid here.
#pragma once

#include "backend/cpu/kv_layout.h"
#include "backend/cpu/row_kernels.h"

namespace octet::cpu {

// Floats of scratch for one thread.
inline size_t rope_scratch_floats(const AttentionSpec& spec) {
  return 3 * static_cast<size_t>(spec.head_dim);
}

// Token `t` of the batch. scratch [rope_scratch_floats].
void rope_write_token(const RowKernels& kernels, const View& qkv, const BatchView& batch,
                      const AttentionSpec& spec, const RopeSpec& rope, const KvLayer& kv,
                      const KvLayout& layout, const View& q, int32_t t, float* scratch);

}  // namespace octet::cpu
