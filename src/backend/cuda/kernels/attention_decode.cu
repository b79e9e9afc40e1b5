// Decode attention: one new token a sequence, grouped heads, a paged cache of 16 or 8 bits.
//
// Maths: for each query head, softmax(q . K^T) . V over the sequence's keys, in pieces: each piece gives the
// largest score m, l = sum exp2(s - m) and O = sum exp2(s - m) v; attention_combine.cu adds pieces up.
// Bytes: every cached byte once; everything else is small. Bound by memory: one CTA an SM keeps about 200 KiB
// of bulk copies in flight. All (sequence, head, 64-key tile) units of the batch stand in one line that is
// cut into equal pieces, so ragged contexts cost nothing and the grid depends on the device alone.
//
// Four warps compute. With few segments (a sequence's head) a block has a piece of the line: one more warp
// copies tiles into a ring, tile i is warp i % 4's, and the four add up what they have when a segment ends.
// With many each warp has a piece, every fourth stage of the ring, and a warp of its own that fills them.
// Products are tensor-core products of 16-bit operands with keys (then dimensions) as rows and the query
// heads of a group as the 8 columns: S^T = K Q^T, O^T = V^T P^T. 8-bit codes are widened to fp16, where they
// are exact; scales are applied to scores and weights in float. Queries go to fp16 divided by a power of two,
// so that they lose nothing of their bf16; weights are scaled by v's scales and kept below 1 by a maximum
// that counts those in.
#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_decode_feed.cuh"
#include "backend/cuda/kernels/attention_decode_tile.cuh"

namespace octet::cuda {
namespace {

constexpr int kMergeBarrier = 1;

// The four warps' shares of a segment, added up in the order of the warps, to the partial results.
template <class S, int kDim>
__device__ void merge(const DecodeArgs& a, const S& shared, int64_t slot, float v_scale) {
  const int thread = threadIdx.x;
  for (int i = thread; i < a.rows * (kDim / 4); i += 32 * kConsumers) {
    const int row = i / (kDim / 4), dim = i % (kDim / 4) * 4;
    float largest = -INFINITY, sum = 0;
#pragma unroll
    for (int w = 0; w < kConsumers; ++w) largest = fmaxf(largest, shared.merge_ml(w)[row].x);
    float4 total = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kConsumers; ++w) {
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
__device__ void consume(const DecodeArgs& a, const DecodeShared<kType, kDim>& shared, const Walk& walk,
                        int64_t begin, int32_t worker, const RingPart& ring, bool copy_query) {
  using S = DecodeShared<kType, kDim>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
  const bool alone = ring.readers == 1;
  DecodeConsumer<kType, kDim> consumer;
  uint32_t count = ring.first;
  for (Segment s = walk.first(begin); s.valid(); s = walk.after(s)) {
    consumer.reset();
    const int32_t first_key = a.window > 0 ? s.context - a.window : 0;
    bool has_query = false;
    for (int32_t tile = s.first; tile < s.last; ++tile, count += ring.step) {
      if (static_cast<int>(count % kConsumers) != warp) continue;
      const int slot = count % S::kStages;
      uint8_t* stage = shared.stage(slot);
      barrier_wait(shared.full(slot), count / S::kStages & 1);
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
      consumer.tile(a, stage, first_key - tile * kTileKeys, s.context - tile * kTileKeys);
      __syncwarp();
      if (lane == 0) barrier_arrive(shared.empty(slot));
    }
    const int64_t piece = worker + int64_t{s.seq} * a.n_kv_heads * a.chunks + s.vhead;
    const float v_scale = a.v_scale != nullptr ? a.v_scale[s.vhead / a.chunks] : 1.0f;
    if (alone) {
      consumer.store(a, a.partial + piece * a.rows * kDim, kDim, a.partial_ml + piece * a.rows, v_scale);
      continue;
    }
    consumer.store(a, shared.merge(warp), S::kMergeStride, shared.merge_ml(warp), 1);
    named_barrier_sync(kMergeBarrier, 32 * kConsumers);
    merge<S, kDim>(a, shared, piece, v_scale);
    named_barrier_sync(kMergeBarrier, 32 * kConsumers);
  }
}

template <QType kType, int kDim>
__global__ void __launch_bounds__(kDecodeThreads, 1) decode_kernel(const __grid_constant__ DecodeArgs a) {
  const DecodeShared<kType, kDim> shared{dynamic_shared_memory()};
  const bool copies = threadIdx.x / 32 >= kConsumers;
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32 % kConsumers);
  if (threadIdx.x == kDecodeThreads - 1) {
    for (int i = 0; i < shared.kStages; ++i) {
      barrier_init(shared.full(i), 1);
      barrier_init(shared.empty(i), 1);
    }
    barrier_init_fence();
  }
  scan_units(a, shared.prefix());
  __syncthreads();
  let_next_kernel_start();
  if (!copies) wait_for_previous_kernel();  // who copies waits once it has fetched what it can
  const DecodeSplit split(a, shared.prefix()[a.n_seqs]);
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  const int32_t worker = split.by_warp ? block * kConsumers + warp : block;
  if (worker >= split.workers || (copies && warp > 0 && !split.by_warp)) return;
  const RingPart ring = split.by_warp ? RingPart{static_cast<uint32_t>(warp), kConsumers, 1} : RingPart{};
  const int64_t begin = split.begin(worker);
  const Walk walk{a, shared.prefix(), split.begin(worker + 1)};
  const bool copy_query =
      a.head_dim % 8 == 0 && a.q_stride % 8 == 0 && reinterpret_cast<uintptr_t>(a.q) % 16 == 0;
  if (copies) {
    produce(a, shared, walk, begin, ring, copy_query);
  } else {
    consume<kType, kDim>(a, shared, walk, begin, worker, ring, copy_query);
  }
}

}  // namespace

cudaError_t prepare_decode() {
  return prepare_all([]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    return cudaFuncSetAttribute(decode_kernel<kType, kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                kDecodeSharedBytes);
  });
}

void launch_decode(const DecodeArgs& args, QType cache, cudaStream_t stream) {
  with_cache(cache, args.layout.padded_dim, [&]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    launch_dependent(decode_kernel<kType, kDim>, args.blocks, kDecodeThreads, kDecodeSharedBytes, stream,
                     args);
  });
}

}  // namespace octet::cuda
