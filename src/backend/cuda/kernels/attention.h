// Causal attention over the paged cache: Ops::attention of the CUDA backend.
//
// Sequences with one new token (decodes) and sequences with more (prefill chunks) are two kernels over the
// same batch. Which prefill tiles there are is decided on the host, where the batch is built (plan_prefill);
// decodes are found on the device, so that a captured graph serves any lengths: its grids depend on n_seqs
// alone.
//
//   std::vector<PrefillTile> tiles = plan_prefill(batch, spec, batch_invariant);  // once a step, then
//   uploaded attention(q, batch_view, spec, kv, {device_tiles, n_tiles, has_decodes}, out, workspace,
//   stream);
//
// The result is rounded to bf16, the type of the residual stream, whatever form `out` has, and then encoded:
// a quantized result is the encoding of the 16-bit one.
#pragma once

#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// Up to 128 rows (a row: one query head of one token) of one sequence's chunk, shared by all kv heads.
struct PrefillTile {
  int32_t seq = 0;
  int32_t first_token = 0;  // in the chunk
  int32_t heads_done = 0;   // kept by the kernel; 0 between launches
};

// What of a step goes where.
struct AttentionPlan {
  PrefillTile* tiles = nullptr;  // device memory, longest first
  int32_t n_tiles = 0;
  bool has_decodes = true;       // some sequence has exactly one new token (and batch_invariant is off)
  bool batch_invariant = false;  // every token goes through the prefill kernel, whose arithmetic for a row
                                 // depends on that row and its sequence alone
};

// The tiles of a batch, longest first; has_decodes tells whether a decode launch is needed beside them.
// A captured decode step needs no plan: {.n_tiles = 0, .has_decodes = true}.
std::vector<PrefillTile> plan_prefill(const ForwardBatch& batch, const AttentionSpec& spec,
                                      bool batch_invariant, bool* has_decodes);
// Most tiles a batch within the limits can have: the size of the device array.
int64_t max_prefill_tiles(const OpsLimits& limits);

// Heads, cache and window that the kernels can do; otherwise one line that says what not.
Status check_attention_support(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size);

// Bytes of scratch for batches within the limits: partial results of decodes, rows that wait for their scale.
// The memory must be zeroed once, before the first use; it may be shared by all layers of a stream.
size_t attention_workspace_bytes(const OpsLimits& limits);

// q bf16 [n_tokens, n_heads * head_dim]. Rows of sequences with context_lens 0 (the padding of a captured
// step) become zeros. `out` may have any form: f32, f16, bf16, int8 or fp8 with a scale a token or a given
// one.
void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const AttentionPlan& plan, const QView& out, void* workspace, cudaStream_t stream);

}  // namespace octet::cuda
