// The second half of decode attention: adds up the partial results of a token's heads, always in the order of
// the context, and writes the token in its consumer's form; one block a token, so that a scale a token needs
// no pass of its own. Bytes: the partial results (still in L2) once, the output once.
#include "backend/cuda/device/mma.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/encode.cuh"
#include "base/check.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kItems = 8;  // groups of four dimensions a thread: 128 heads of 128

__device__ float block_max(float x, float* shared) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[threadIdx.x % kWarps];
#pragma unroll
  for (int d = kWarps / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
  return x;
}

__device__ int32_t block_sum(int32_t x, int32_t* shared) {
  x = __reduce_add_sync(~0u, x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  return __reduce_add_sync(~0u, threadIdx.x % 32 < kWarps ? shared[threadIdx.x % 32] : 0);
}

// Units of the line before sequence `seq`, and of all.
__device__ void count_units(const DecodeArgs& a, int32_t seq, int32_t* before, int32_t* total,
                            int32_t* shared) {
  int32_t mine_before = 0, mine = 0;
  for (int32_t s = threadIdx.x; s < a.n_seqs; s += kThreads) {
    const TileRange t = decode_tiles(a, s);
    mine += t.last - t.first;
    if (s < seq) mine_before += t.last - t.first;
  }
  mine = __reduce_add_sync(~0u, mine);
  mine_before = __reduce_add_sync(~0u, mine_before);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine, shared[kWarps + threadIdx.x / 32] = mine_before;
  __syncthreads();
  const int32_t vheads = a.n_kv_heads * a.chunks;
  const int32_t sum = __reduce_add_sync(~0u, threadIdx.x % 32 < kWarps ? shared[threadIdx.x % 32] : 0);
  const int32_t sum_before =
      __reduce_add_sync(~0u, threadIdx.x % 32 < kWarps ? shared[kWarps + threadIdx.x % 32] : 0);
  *total = sum * vheads;
  *before = sum_before * vheads;
}

// The sum of pieces [first, first + n) of one row at four dimensions, divided by its weight. The loads of
// eight pieces are under way together.
__device__ float4 combine(const DecodeArgs& a, int64_t first, int32_t n, int32_t row, int32_t dim) {
  constexpr int kAtOnce = 8;
  const float2* ml = a.partial_ml + first * a.rows + row;
  const float4* piece =
      reinterpret_cast<const float4*>(a.partial + (first * a.rows + row) * a.layout.padded_dim + dim);
  const int64_t step = int64_t{a.rows} * a.layout.padded_dim / 4;
  float largest = -INFINITY, sum = 0;
  float4 total = {0, 0, 0, 0};
  for (int32_t begin = 0; begin < n; begin += kAtOnce) {
    float2 scale[kAtOnce];
    float4 o[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const bool exists = begin + i < n;
      scale[i] = exists ? ml[(begin + i) * a.rows] : float2{-INFINITY, 0};
      o[i] = exists ? piece[(begin + i) * step] : float4{0, 0, 0, 0};
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

__global__ void __launch_bounds__(kThreads)
    combine_kernel(const __grid_constant__ DecodeArgs a, const __grid_constant__ RowEncoder out) {
  __shared__ int32_t counts[2 * kWarps];
  __shared__ float maxima[kWarps];
  let_next_kernel_start();
  const int32_t seq = blockIdx.x;
  int32_t before, total;
  count_units(a, seq, &before, &total, counts);
  const TileRange tiles = decode_tiles(a, seq);
  const int32_t token = a.query_start[seq], n_tiles = tiles.last - tiles.first;
  const bool mine = a.query_start[seq + 1] - token == 1;
  const DecodeSplit split(a, total);
  wait_for_previous_kernel();
  if (!mine) return;

  const int32_t fours = (a.head_dim + 3) / 4, n_items = a.n_heads * fours;
  float x[kItems][4] = {};
  float absmax = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int32_t item = threadIdx.x + i * kThreads;
    if (item >= n_items) break;
    const int32_t head = item / fours, dim = item % fours * 4;
    if (n_tiles > 0) {
      const int32_t in_group = head % a.group;
      const int32_t vhead = head / a.group * a.chunks + in_group / kRowsPerTile;
      const int64_t unit = before + int64_t{vhead} * n_tiles;
      const int32_t first = split.worker_of(unit), last = split.worker_of(unit + n_tiles - 1);
      const int64_t segment = int64_t{seq} * a.n_kv_heads * a.chunks + vhead;
      const float4 r = combine(a, first + segment, last - first + 1, in_group % kRowsPerTile, dim);
      x[i][0] = r.x, x[i][1] = r.y, x[i][2] = r.z, x[i][3] = r.w;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[i][j] = dim + j < a.head_dim ? __bfloat162float(__float2bfloat16_rn(x[i][j])) : 0;
      absmax = fmaxf(absmax, out.magnitude(x[i][j]));
    }
  }
  if (out.dynamic) absmax = block_max(absmax, maxima);
  const float inverse = out.row_inverse(token, absmax, threadIdx.x == 0);
  int32_t n_outliers = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int32_t item = threadIdx.x + i * kThreads;
    if (item >= n_items) break;
    const int32_t head = item / fours, dim = item % fours * 4;
    const int32_t col = head * a.head_dim + dim, n = min(4, a.head_dim - dim);
    if (out.outlier > 0) {
      for (int32_t j = 0; j < n; ++j) n_outliers += out.put1(token, col + j, x[i][j], inverse);
    } else {
      out.put(token, col, x[i], n, inverse);
    }
  }
  if (out.outlier > 0) {
    n_outliers = block_sum(n_outliers, counts);
    if (threadIdx.x == 0) out.outlier_count[token] = n_outliers;
  }
}

}  // namespace

void launch_combine(const DecodeArgs& args, const QView& out, cudaStream_t stream) {
  launch_dependent(combine_kernel, args.n_seqs, kThreads, 0, stream, args, RowEncoder(out));
}

}  // namespace octet::cuda
