// What the decode kernel, its combine kernel and their launcher share.
#pragma once

#include "backend/cuda/kernels/attention_args.cuh"

namespace octet::cuda {

struct DecodeArgs : AttentionArgs {
  int32_t rows = 0;              // query heads of a virtual head: min(group, 8)
  int32_t chunks = 0;            // virtual heads of a kv head: ceil(group / 8)
  int32_t blocks = 0;            // of the decode kernel: one a multiprocessor
  int32_t warps = 0;             // of a block
  int32_t min_tiles = 0;         // that a block should have before another is put to work
  float* partial = nullptr;      // [blocks * warps + n_seqs * virtual heads][rows][padded_dim]
  float2* partial_ml = nullptr;  // [the same][rows]: largest score, sum of exp2(score - largest)
};

// Tiles [first, last) of a context that a decoding sequence reads. Other sequences and padding have a context
// of 0 here, and no tiles.
struct TileRange {
  int32_t first = 0, last = 0;
};
__device__ __forceinline__ int32_t decode_context(const DecodeArgs& a, int32_t seq) {
  const int32_t context = a.context_lens[seq];
  return a.query_start[seq + 1] - a.query_start[seq] == 1 ? max(context, 0) : 0;
}
__device__ __forceinline__ TileRange decode_tiles(const DecodeArgs& a, int32_t context) {
  const int32_t first_key = a.window > 0 ? max(0, context - a.window) : 0;
  return {first_key / kTileKeys, (context + kTileKeys - 1) / kTileKeys};
}

inline constexpr int kMostDecodeWarps = 8;  // of a block

// The tiles of all sequences and virtual heads, in that order, are one line of `total` units, cut into equal
// pieces, one a worker. Partial results stand in the order of the line: that of the worker-th piece in the
// segment-th (sequence, virtual head) at worker + segment.
//
// A worker is a block, whose warps share each segment; or, where there are segments enough that every block
// would have some, a warp: then no warp waits for another, which a segment of few tiles would spend more time
// on than on its tiles. Where there are fewer tiles than warps, each block has some of the latter idle.
struct DecodeSplit {
  int64_t total = 0;
  int32_t workers = 0;
  bool by_warp = false, idle_warps = false;
  __device__ DecodeSplit(const DecodeArgs& a, int64_t total_units) : total(total_units) {
    const int32_t warps = a.blocks * a.warps, segments = a.n_seqs * a.n_kv_heads * a.chunks;
    by_warp = segments >= a.blocks || (2 * segments >= a.blocks && total >= warps);
    idle_warps = total < warps;
    const int64_t useful = by_warp ? total : (total + a.min_tiles - 1) / a.min_tiles;
    workers = static_cast<int32_t>(min(useful, static_cast<int64_t>(by_warp ? warps : a.blocks)));
  }
  __device__ int32_t worker(int32_t block, int32_t n_blocks, int32_t warp, int32_t n_warps) const {
    return !by_warp ? block : idle_warps ? warp * n_blocks + block : block * n_warps + warp;
  }
  __device__ int64_t begin(int32_t worker) const { return total * worker / workers; }
  __device__ int32_t worker_of(int64_t unit) const {
    return static_cast<int32_t>(((unit + 1) * workers - 1) / total);
  }
};

// The line as a block sees it, in shared memory: units before each sequence [n_seqs + 1], and its context
// [n_seqs].
struct Line {
  int32_t *prefix, *context;
};

cudaError_t prepare_decode();
int32_t decode_warps(QType cache, int32_t padded_dim);
void launch_decode(const DecodeArgs& args, QType cache, cudaStream_t stream);
void launch_combine(const DecodeArgs& args, const QView& out, cudaStream_t stream);

}  // namespace octet::cuda
