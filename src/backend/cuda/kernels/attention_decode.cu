// Decode attention: one new token a sequence, grouped heads, a paged cache of 16 or 8 bits.
//
// Maths: for each query head, softmax(q . K^T) . V over the sequence's keys, in pieces: each piece gives the
// largest score m, l = sum exp2(s - m) and O = sum exp2(s - m) v; attention_combine.cu adds pieces up.
// Bytes: every cached byte once; everything else is small. Bound by memory: one CTA an SM keeps up to 160 KiB
// of bulk copies in flight. All (sequence, head, 64-key tile) units of the batch stand in one line that is
// cut into equal pieces, so ragged contexts cost nothing and the grid depends on the device alone.
//
// A warp has a stage in shared memory: it computes what is there, asks for its next tile, and the other warps
// of its multiprocessor compute until that has come. With few segments (a sequence's head) a block has a
// piece of the line, whose tiles its warps take in turn, and they add up what they have when a segment ends.
// With many each warp has a piece. Products are tensor-core products of 16-bit operands with keys (then
// dimensions) as rows and the query heads of a group as the 8 columns: S^T = K Q^T, O^T = V^T P^T. 8-bit
// codes are widened to fp16, where they are exact; scales are applied to scores and weights in float. Queries
// go to fp16 divided by a power of two, so that they lose nothing of their bf16; weights are scaled by v's
// scales and kept below 1 by a maximum that counts those in.
#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_decode_feed.cuh"
#include "backend/cuda/kernels/attention_decode_tile.cuh"

namespace octet::cuda {
namespace {

// The warps' shares of a segment, added up in the order of the warps, to the partial results.
template <class S, int kDim>
__device__ void merge(const DecodeArgs& a, const S& shared, int64_t slot, float v_scale) {
  const int thread = threadIdx.x;
  for (int i = thread; i < a.rows * (kDim / 4); i += 32 * S::kWarps) {
    const int row = i / (kDim / 4), dim = i % (kDim / 4) * 4;
    float largest = -INFINITY, sum = 0;
#pragma unroll
    for (int w = 0; w < S::kWarps; ++w) largest = fmaxf(largest, shared.merge_ml(w)[row].x);
    float4 total = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < S::kWarps; ++w) {
      const float2 ml = shared.merge_ml(w)[row];
      const float weight = exp2_approx(ml.x - largest);
      const float4 o = *reinterpret_cast<const float4*>(shared.merge(w) + row * S::kMergeStride + dim);
      sum += weight * ml.y;
      total.x += weight * o.x, total.y += weight * o.y, total.z += weight * o.z, total.w += weight * o.w;
    }
    const float v = v_scale;
    reinterpret_cast<float4*>(a.partial)[(slot * a.rows + row) * (kDim / 4) + dim / 4] = {
        total.x * v, total.y * v, total.z * v, total.w * v};
    if (dim == 0) a.partial_ml[slot * a.rows + row] = {largest, sum};
  }
}

template <QType kType, int kDim>
__global__ void __launch_bounds__(32 * DecodeShared<kType, kDim>::kWarps, 1)
    decode_kernel(const __grid_constant__ DecodeArgs a) {
  using S = DecodeShared<kType, kDim>;
  const S shared{dynamic_shared_memory()};
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4;
  uint8_t* const stage = shared.stage(warp);
  const uint32_t full = shared.full(warp);
  if (lane == 0) {
    barrier_init(full, 1);
    barrier_init_fence();
  }
  const Line line = shared.line();
  make_line(a, line);
  __syncthreads();
  let_next_kernel_start();
  const DecodeSplit split(a, line.prefix[a.n_seqs]);
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  const int32_t worker = split.worker(block, a.blocks, warp, S::kWarps);
  if (worker >= split.workers) return;
  const int64_t begin = split.begin(worker);
  const Walk walk{a, line, split.begin(worker + 1)};
  const bool copy_query =
      a.head_dim % 8 == 0 && a.q_stride % 8 == 0 && reinterpret_cast<uintptr_t>(a.q) % 16 == 0;
  TileFeed<S> feed(a, walk, shared_address(stage), full, begin, split.by_warp ? 0 : warp,
                   split.by_warp ? 1 : S::kWarps, copy_query);
  const bool early = feed.valid() && feed.is_old();
  if (early) feed.copy_tile();
  wait_for_previous_kernel();
  if (feed.valid()) {
    if (!early) feed.copy_tile();
    feed.copy_queries();
  }

  DecodeConsumer<kType, kDim> consumer;
  uint32_t phase = 0;
  for (Segment s = walk.first(begin); s.valid(); s = split.by_warp ? feed.s : walk.after(s)) {
    consumer.reset();
    const int32_t first_key = a.window > 0 ? s.context - a.window : 0;
    for (bool has_query = false; feed.s.unit_end == s.unit_end; phase ^= 1) {
      barrier_wait(full, phase);
      if (!has_query) {
        const int32_t in_group = s.vhead % a.chunks * kRowsPerTile + g;
        const int64_t head = s.vhead / a.chunks * a.group + in_group;
        const __nv_bfloat16* row =
            copy_query ? reinterpret_cast<const __nv_bfloat16*>(stage + S::kQuery + g * S::kQueryStride)
                       : a.q + a.query_start[s.seq] * a.q_stride + head * a.head_dim;
        consumer.load_query(a, g < a.rows && in_group < a.group ? row : nullptr,
                            a.k_scale != nullptr ? a.k_scale[s.vhead / a.chunks] : 1.0f);
        has_query = true;
      }
      const int32_t key = feed.tile * kTileKeys;
      feed.advance();  // what it loads comes while this tile is computed
      consumer.tile(a, stage, first_key - key, s.context - key);
      __syncwarp();
      if (feed.valid()) {
        feed.copy_tile();
        feed.copy_queries();
      }
    }
    const int64_t piece = worker + int64_t{s.seq} * a.n_kv_heads * a.chunks + s.vhead;
    const float v_scale = a.v_scale != nullptr ? a.v_scale[s.vhead / a.chunks] : 1.0f;
    if (split.by_warp) {
      consumer.store(a, a.partial + piece * a.rows * kDim, kDim, a.partial_ml + piece * a.rows, v_scale);
    } else {
      consumer.store(a, shared.merge(warp), S::kMergeStride, shared.merge_ml(warp), 1);
      __syncthreads();
      merge<S, kDim>(a, shared, piece, v_scale);
      __syncthreads();
    }
  }
}

}  // namespace

cudaError_t prepare_decode() {
  return prepare_all([]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    return cudaFuncSetAttribute(decode_kernel<kType, kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                kDecodeSharedBytes);
  });
}

int32_t decode_warps(QType cache, int32_t padded_dim) {
  int32_t warps = 0;
  with_cache(cache, padded_dim, [&]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    warps = DecodeShared<kType, kDim>::kWarps;
  });
  return warps;
}

void launch_decode(const DecodeArgs& args, QType cache, cudaStream_t stream) {
  with_cache(cache, args.layout.padded_dim, [&]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    launch_dependent(decode_kernel<kType, kDim>, args.blocks, 32 * args.warps, kDecodeSharedBytes, stream,
                     args);
  });
}

}  // namespace octet::cuda
