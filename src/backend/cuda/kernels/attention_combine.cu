// The second half of decode attention: adds up the partial results of a token's heads, always in the order of
// the context, and writes the token in its consumer's form. Bytes: the partial results (still in L2) once,
// the output once; what counts is latency, so that few tokens are shared by more blocks.
#include "backend/cuda/device/cluster_max.cuh"
#include "backend/cuda/device/mma.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/device/reduce.cuh"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/encode.cuh"

namespace octet::cuda {
namespace {

constexpr int kMostThreads = 512, kMostWarps = kMostThreads / 32;
constexpr int kMostItems = 8;  // groups of four dimensions a thread: 128 heads of 128

// Where the results of a sequence's heads stand: the pieces of virtual head v are those of workers [first[v],
// last[v]]. By the whole block, which has passed a barrier when it returns.
struct PieceRange {
  int32_t first, last;
};
__device__ void find_pieces(const DecodeArgs& a, int32_t seq, int32_t n_tiles, PieceRange* of_head,
                            int64_t* scratch) {
  int64_t units = 0;  // of the line before the sequence, and of all in the upper half
  for (int32_t s = threadIdx.x; s < a.n_seqs; s += blockDim.x) {
    const TileRange t = decode_tiles(a, decode_context(a, s));
    const int64_t n = t.last - t.first;
    units += (n << 32) + (s < seq ? n : 0);
  }
  units = block_reduce<Sum>(units, scratch, int64_t{0});
  const int32_t heads = a.n_kv_heads * a.chunks, before = static_cast<int32_t>(units) * heads;
  if (n_tiles > 0) {
    const DecodeSplit split(a, (units >> 32) * heads);
    for (int32_t v = threadIdx.x; v < heads; v += blockDim.x) {
      const int64_t unit = before + int64_t{v} * n_tiles;
      of_head[v] = {split.worker_of(unit), split.worker_of(unit + n_tiles - 1)};
    }
  }
  __syncthreads();
}

// Four dimensions of a head, and the pieces that are theirs.
struct Item {
  int32_t col = -1, n_dims = 0;   // col < 0: none
  int32_t n_pieces = 0;           // one after the other from here on:
  const float2* ml = nullptr;     // every a.rows
  const float4* piece = nullptr;  // every a.rows * padded_dim / 4
};

// The sum of an item's pieces, divided by its weight. Loads of kAtOnce pieces are under way together.
template <int kAtOnce>
__device__ __forceinline__ float4 combine(const DecodeArgs& a, const Item& item) {
  const int64_t step = int64_t{a.rows} * a.layout.padded_dim / 4;
  float largest = -INFINITY, sum = 0;
  float4 total = {0, 0, 0, 0};
  for (int32_t begin = 0; begin < item.n_pieces; begin += kAtOnce) {
    float2 scale[kAtOnce];
    float4 o[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const bool exists = begin + i < item.n_pieces;
      scale[i] = exists ? item.ml[(begin + i) * a.rows] : float2{-INFINITY, 0};
      o[i] = exists ? item.piece[(begin + i) * step] : float4{0, 0, 0, 0};
    }
    float top = largest;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) top = fmaxf(top, scale[i].x);
    const float shrink = exp2_approx(largest - top);
    largest = top;
    sum *= shrink;
    total.x *= shrink, total.y *= shrink, total.z *= shrink, total.w *= shrink;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float weight = exp2_approx(scale[i].x - largest);
      sum += weight * scale[i].y;
      total.x += weight * o[i].x, total.y += weight * o[i].y;
      total.z += weight * o[i].z, total.w += weight * o[i].w;
    }
  }
  const float inverse = 1 / sum;
  return {total.x * inverse, total.y * inverse, total.z * inverse, total.w * inverse};
}

// `parts` blocks a token; where a scale needs all of it, they are a cluster. Everything but the pieces
// themselves is found before the decode kernel has ended. Registers: beside a block of the decode kernel
// there is room for one of up to 256 threads, which then stands ready.
template <int kItems, int kThreads, int kAtOnce>
__global__ void __launch_bounds__(kThreads, kItems > 4                 ? 1
                                            : kThreads == kMostThreads ? 2
                                                                       : 3)
    combine_kernel(const __grid_constant__ DecodeArgs a, const __grid_constant__ RowEncoder out,
                   int32_t parts) {
  __shared__ PieceRange of_head[kMaxHeads];
  __shared__ int64_t sums[kMostWarps];
  __shared__ int32_t counts[kMostWarps];
  __shared__ float maxima[kMostWarps], cluster_slot;
  let_next_kernel_start();
  const int32_t seq = static_cast<int32_t>(blockIdx.x) / parts,
                part = static_cast<int32_t>(blockIdx.x) % parts;
  const TileRange tiles = decode_tiles(a, decode_context(a, seq));
  const int32_t token = a.query_start[seq], n_tiles = tiles.last - tiles.first;
  const bool mine = a.query_start[seq + 1] - token == 1;
  find_pieces(a, seq, n_tiles, of_head, sums);

  const int32_t fours = (a.head_dim + 3) / 4, n_items = a.n_heads * fours,
                each = (n_items + parts - 1) / parts;
  Item items[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int32_t in_part = static_cast<int32_t>(threadIdx.x + i * blockDim.x), index = part * each + in_part;
    if (in_part >= each || index >= n_items) continue;
    const int32_t head = index / fours, dim = index % fours * 4;
    items[i].col = head * a.head_dim + dim;
    items[i].n_dims = min(4, a.head_dim - dim);
    if (n_tiles == 0) continue;
    const int32_t in_group = head % a.group;
    const int32_t vhead = head / a.group * a.chunks + in_group / kRowsPerTile;
    const PieceRange pieces = of_head[vhead];
    const int64_t row =
        (pieces.first + int64_t{seq} * a.n_kv_heads * a.chunks + vhead) * a.rows + in_group % kRowsPerTile;
    items[i].n_pieces = pieces.last - pieces.first + 1;
    items[i].ml = a.partial_ml + row;
    items[i].piece = reinterpret_cast<const float4*>(a.partial + row * a.layout.padded_dim + dim);
  }
  wait_for_previous_kernel();
  if (!mine) return;

  float x[kItems][4] = {};
  float absmax = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (items[i].n_pieces > 0) {
      const float4 r = combine<kAtOnce>(a, items[i]);
      x[i][0] = r.x, x[i][1] = r.y, x[i][2] = r.z, x[i][3] = r.w;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[i][j] = j < items[i].n_dims ? __bfloat162float(__float2bfloat16_rn(x[i][j])) : 0;
      absmax = fmaxf(absmax, out.magnitude(x[i][j]));
    }
  }
  const bool shared_row = out.dynamic && parts > 1;
  if (out.dynamic) absmax = block_reduce<Max>(absmax, maxima, 0.0f);
  if (shared_row) absmax = cluster_max(absmax, &cluster_slot);
  const float inverse = out.row_inverse(token, absmax, threadIdx.x == 0 && part == 0);
  int32_t n_outliers = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (items[i].col < 0) continue;
    if (out.outlier > 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j < items[i].n_dims) n_outliers += out.put1(token, items[i].col + j, x[i][j], inverse);
      }
    } else {
      out.put(token, items[i].col, x[i], items[i].n_dims, inverse);
    }
  }
  if (out.outlier > 0) {
    n_outliers = block_reduce<Sum>(n_outliers, counts, 0);
    if (threadIdx.x == 0) out.outlier_count[token] = n_outliers;
  }
  if (shared_row) cluster_wait();
}

// Blocks a token: as many as multiprocessors would idle otherwise.
int32_t parts_of_a_token(const DecodeArgs& a, int32_t n_items, const QView& out) {
  if (out.args.outlier > 0) return 1;  // they are counted by one block
  int32_t parts = 8;
  while (parts > 1 && (a.n_seqs * parts > a.blocks || n_items / parts < 128)) parts /= 2;
  return parts;
}

}  // namespace

void launch_combine(const DecodeArgs& args, const QView& out, cudaStream_t stream) {
  const int32_t n_items = args.n_heads * ((args.head_dim + 3) / 4),
                parts = parts_of_a_token(args, n_items, out);
  const int32_t each = (n_items + parts - 1) / parts;
  const int32_t items = (each + kMostThreads - 1) / kMostThreads;
  const int32_t threads = ((each + items - 1) / items + 31) / 32 * 32;
  const bool one_cluster = parts > 1 && out.args.quantized() && out.args.dynamic;
  // Few blocks with many pieces each load more of them at once.
  const auto kernel = items > 4       ? combine_kernel<kMostItems, kMostThreads, 4>
                      : items > 2     ? combine_kernel<4, kMostThreads, 4>
                      : items > 1     ? combine_kernel<2, kMostThreads, 4>
                      : threads > 256 ? combine_kernel<1, kMostThreads, 4>
                      : threads > 128 ? combine_kernel<1, 256, 8>
                                      : combine_kernel<1, 128, 16>;
  launch_dependent_clusters(kernel, args.n_seqs * parts, one_cluster ? parts : 1, threads, 0, stream, args,
                            RowEncoder(out), parts);
}

}  // namespace octet::cuda
