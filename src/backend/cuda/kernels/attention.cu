#include <algorithm>

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_prefill.cuh"
#include "base/check.h"

namespace octet::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

// Tiles a decode worker should have before another is put to work: fewer leave too many pieces to combine.
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
  return multiprocessors() + n_seqs * spec.n_kv_heads * ((group + kRowsPerTile - 1) / kRowsPerTile);
}
int64_t decode_rows(const AttentionSpec& spec) {
  return std::min(spec.n_heads / spec.n_kv_heads, kRowsPerTile);
}

DecodeArgs decode_args(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                       void* workspace) {
  DecodeArgs a;
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
  a.rows = std::min(a.group, kRowsPerTile);
  a.chunks = (a.group + kRowsPerTile - 1) / kRowsPerTile;
  a.workers = multiprocessors();
  a.min_tiles = kMinDecodeTiles;
  a.score_scale = spec.softmax_scale * kLog2E;
  a.dynamic_scales = kv.quant.quantized() && kv.quant.dynamic;
  if (kv.quant.quantized() && !kv.quant.dynamic) a.k_scale = kv.k_scale, a.v_scale = kv.v_scale;
  const int64_t pieces = decode_pieces(spec, batch.n_seqs);
  a.partial = static_cast<float*>(workspace);
  a.partial_ml = reinterpret_cast<float2*>(a.partial + pieces * decode_rows(spec) * padded(spec.head_dim));
  return a;
}

PrefillArgs prefill_args(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                         const AttentionPlan& plan, const QView& out, void* workspace) {
  PrefillArgs a;
  a.q = static_cast<const __nv_bfloat16*>(q.data);
  a.q_stride = q.stride;
  a.pages = static_cast<const uint8_t*>(kv.data);
  a.layout = KvLayout(spec, kv.quant, kv.page_size);
  a.query_start = batch.query_start;
  a.context_lens = batch.context_lens;
  a.page_table = batch.page_table;
  a.page_table_stride = batch.page_table_stride;
  a.n_heads = spec.n_heads;
  a.n_kv_heads = spec.n_kv_heads;
  a.group = spec.n_heads / spec.n_kv_heads;
  a.head_dim = spec.head_dim;
  a.window = spec.window;
  a.tiles = plan.tiles;
  a.n_tiles = plan.n_tiles;
  a.score_scale = spec.softmax_scale * kLog2E;
  a.dynamic_scales = kv.quant.quantized() && kv.quant.dynamic;
  if (kv.quant.quantized() && !kv.quant.dynamic) a.k_scale = kv.k_scale, a.v_scale = kv.v_scale;
  a.out = RowEncoder(out);
  const int64_t cols = int64_t{spec.n_heads} * spec.head_dim;
  a.rows = RowEncoder({workspace, {.type = QType::kBF16}, batch.n_tokens, cols, cols, nullptr, nullptr});
  return a;
}

}  // namespace

size_t attention_workspace_bytes(const OpsLimits& limits) {
  const AttentionSpec& spec = limits.attention;
  const int64_t row =
      decode_rows(spec) * (padded(spec.head_dim) * int64_t{sizeof(float)} + int64_t{sizeof(float2)});
  const int64_t decode = decode_pieces(spec, limits.max_seqs) * row;
  const int64_t prefill = int64_t{limits.max_tokens} * spec.n_heads * spec.head_dim * 2;
  return static_cast<size_t>(std::max(decode, prefill));  // one after the other
}

void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
               const AttentionPlan& plan, const QView& out, void* workspace, cudaStream_t stream) {
  OCTET_CHECK(q.type == DType::kBF16);
  if (plan.has_decodes && !plan.batch_invariant) {
    OCTET_CHECK(batch.n_seqs <= kMaxDecodeSeqs) << batch.n_seqs << " sequences";
    const DecodeArgs args = decode_args(q, batch, spec, kv, workspace);
    launch_decode(args, kv.quant.type, stream);
    launch_combine(args, out, stream);
  }
  if (plan.n_tiles > 0)
    launch_prefill(prefill_args(q, batch, spec, kv, plan, out, workspace), kv.quant.type, stream);
}

}  // namespace octet::cuda
