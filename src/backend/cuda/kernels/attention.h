// Causal attention over the paged cache: Ops::attention of the CUDA backend.
//
// Sequences with one new token (decodes) and sequences with more (prefill chunks) are two kernels over the
// same batch. Which prefill tiles there are is decided on the host, where the batch is built (plan_prefill);
// decodes are found on the device, so that a captured graph serves any lengths: its grids depend on n_seqs
// alone.
//
//   once a step:  plan.n_tiles = plan_prefill(batch, spec, batch_invariant, tiles, &plan.has_decodes);
//                 then `tiles` is copied to plan.tiles
//   each layer:   attention(q, batch_view, spec, kv, plan, out, workspace, stream);
//
// The result is rounded to bf16, the type of the residual stream, whatever form `out` has, and then encoded:
// a quantized result is the encoding of the 16-bit one.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// Up to 128 rows (a row: one query head of one token) of one sequence's chunk, shared by all kv heads.
struct alignas(16) PrefillTile {
  int32_t seq = 0;
  int32_t token = 0, n_tokens = 0;  // in the batch
  int32_t position = 0;             // of the first token
  int32_t context = 0;              // of the sequence
  int32_t first = 0, last = 0;      // tiles of keys that it reads: [first, last)
};

// What of a step goes where.
struct AttentionPlan {
  const PrefillTile* tiles = nullptr;  // device memory, longest first
  int32_t n_tiles = 0;
  bool has_decodes = true;       // some sequence has exactly one new token (and batch_invariant is off)
  bool batch_invariant = false;  // every token goes through the prefill kernel, whose arithmetic for a row
                                 // depends on that row and its sequence alone
};

// The tiles of a batch to `tiles`, longest first; returns how many. has_decodes tells whether a decode launch
// is needed beside them. A captured decode step needs no plan: {.n_tiles = 0, .has_decodes = true}.
int32_t plan_prefill(const ForwardBatch& batch, const AttentionSpec& spec, bool batch_invariant,
                     PrefillTile* tiles, bool* has_decodes);
// Most tiles a batch within the limits can have.
int64_t max_prefill_tiles(const OpsLimits& limits);

// Before the first launch.
Status prepare_attention();

// Heads, cache and window that the kernels can do; otherwise one line that says what not.
Status check_attention_support(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size);

// Bytes of scratch for batches within the limits: partial results of decodes, rows that wait for their scale.
// It may be shared by all layers of a stream.
size_t attention_workspace_bytes(const OpsLimits& limits);

// q bf16 [n_tokens, n_heads * head_dim]. Rows of sequences with context_lens 0 (the padding of a captured
// step) become zeros. `out` may have any form: f32, f16, bf16, int8 or fp8 with a scale a token or a given
// one.
void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const AttentionPlan& plan, const QView& out, void* workspace, cudaStream_t stream);

}  // namespace octet::cuda
