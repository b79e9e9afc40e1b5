#include <algorithm>

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_prefill.cuh"
#include "backend/cuda/kernels/rows.h"
#include "base/check.h"

namespace octet::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

// Tiles a block of the decode kernel should have before another is put to work: fewer leave too many pieces
// to combine.
constexpr int32_t kMinDecodeTiles = 4;

int32_t multiprocessors() {
  int device = 0, n = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device);
  return n;
}

int32_t padded(int32_t head_dim) {
  return head_dim <= 64 ? 64 : 128;
}

// Pieces of decode results: at most one more a worker than there are (sequence, virtual head) pairs.
int64_t decode_pieces(const AttentionSpec& spec, int64_t n_seqs) {
  const int32_t group = spec.n_heads / spec.n_kv_heads;
  return int64_t{kMostDecodeWarps} * multiprocessors() +
         n_seqs * spec.n_kv_heads * ((group + kRowsPerTile - 1) / kRowsPerTile);
}
int64_t decode_rows(const AttentionSpec& spec) {
  return std::min(spec.n_heads / spec.n_kv_heads, kRowsPerTile);
}

// Elements from one row that waits for its scale to the next.
int64_t waiting_stride(const AttentionSpec& spec) {
  return (int64_t{spec.n_heads} * spec.head_dim + 7) / 8 * 8;
}

AttentionArgs attention_args(const View& q, const BatchView& batch, const AttentionSpec& spec,
                             const KvLayer& kv) {
  AttentionArgs a;
  a.q = static_cast<const __nv_bfloat16*>(q.data);
  a.q_stride = q.stride;
  a.pages = static_cast<const uint8_t*>(kv.data);
  a.layout = KvLayout(spec, kv.quant, kv.page_size);
  a.query_start = batch.query_start;
  a.context_lens = batch.context_lens;
  a.page_table = batch.page_table;
  a.page_table_stride = batch.page_table_stride;
  a.n_seqs = batch.n_seqs;
  a.n_heads = spec.n_heads;
  a.n_kv_heads = spec.n_kv_heads;
  a.group = spec.n_heads / spec.n_kv_heads;
  a.head_dim = spec.head_dim;
  a.window = spec.window;
  a.score_scale = spec.softmax_scale * kLog2E;
  a.dynamic_scales = kv.quant.quantized() && kv.quant.dynamic;
  if (kv.quant.quantized() && !kv.quant.dynamic) a.k_scale = kv.k_scale, a.v_scale = kv.v_scale;
  return a;
}

// What the workspace holds: partial results of decodes, then rows that wait for their scale.
struct Workspace {
  int64_t pieces, ml_offset, rows_offset, bytes;
  Workspace(const AttentionSpec& spec, int64_t n_seqs, int64_t n_tokens) {
    pieces = decode_pieces(spec, n_seqs);
    ml_offset = pieces * decode_rows(spec) * padded(spec.head_dim) * int64_t{sizeof(float)};
    rows_offset = (ml_offset + pieces * decode_rows(spec) * int64_t{sizeof(float2)} + 255) / 256 * 256;
    bytes = rows_offset + n_tokens * waiting_stride(spec) * 2;
  }
};

DecodeArgs decode_args(const AttentionArgs& shared, QType cache, const Workspace& place, uint8_t* workspace) {
  DecodeArgs a{shared};
  a.rows = std::min(a.group, kRowsPerTile);
  a.chunks = (a.group + kRowsPerTile - 1) / kRowsPerTile;
  a.blocks = multiprocessors();
  a.warps = decode_warps(cache, a.layout.padded_dim);
  a.min_tiles = kMinDecodeTiles;
  a.partial = reinterpret_cast<float*>(workspace);
  a.partial_ml = reinterpret_cast<float2*>(workspace + place.ml_offset);
  return a;
}

PrefillArgs prefill_args(const AttentionArgs& shared, const AttentionPlan& plan, const QView& out) {
  PrefillArgs a{shared};
  a.tiles = plan.tiles;
  a.n_tiles = plan.n_tiles;
  a.out = RowEncoder(out);
  a.group_inverse = static_cast<uint32_t>((65535 + a.group) / a.group);
  return a;
}

}  // namespace

Status prepare_attention() {
  cudaError_t error = prepare_decode();
  if (error == cudaSuccess) error = prepare_prefill();
  if (error == cudaSuccess) return {};
  return unsupported(std::string("cuda: shared memory for attention: ") + cudaGetErrorString(error));
}

size_t attention_workspace_bytes(const OpsLimits& limits) {
  return static_cast<size_t>(Workspace(limits.attention, limits.max_seqs, limits.max_tokens).bytes);
}

void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const AttentionPlan& plan, const QView& out, void* workspace, cudaStream_t stream) {
  OCTET_CHECK(q.type == DType::kBF16);
  const AttentionArgs args = attention_args(q, batch, spec, kv);
  const Workspace place(spec, batch.n_seqs, batch.n_tokens);
  auto* memory = static_cast<uint8_t*>(workspace);
  // A scale a token needs all heads, of which a block of the prefill kernel has one: results wait in bf16.
  const bool waits = plan.n_tiles > 0 && out.args.quantized() && out.args.dynamic;
  const View rows{memory + place.rows_offset, DType::kBF16, batch.n_tokens,
                  int64_t{spec.n_heads} * spec.head_dim, waiting_stride(spec)};
  const QView to = waits ? QView{rows.data, {.type = QType::kBF16}, rows.rows, rows.cols, rows.stride} : out;
  if (plan.has_decodes && !plan.batch_invariant) {
    OCTET_CHECK(batch.n_seqs <= kMaxDecodeSeqs) << batch.n_seqs << " sequences";
    const DecodeArgs decode = decode_args(args, kv.quant.type, place, memory);
    launch_decode(decode, kv.quant.type, stream);
    launch_combine(decode, to, stream);
  }
  if (plan.n_tiles > 0) launch_prefill(prefill_args(args, plan, to), kv.quant.type, stream);
  if (waits) quantize(rows, out, stream);
}

}  // namespace octet::cuda
