// Decode attention: one new token a sequence, grouped heads, a paged cache of 16 or 8 bits.
//
// Maths: for each query head, softmax(q . K^T) . V over the sequence's keys, in pieces: each piece gives the
// largest score m, l = sum exp2(s - m) and O = sum exp2(s - m) v; attention_combine.cu adds pieces up.
// Bytes: every cached byte once; everything else is small. Bound by memory: one CTA an SM keeps about 200 KiB
// of bulk copies in flight. All (sequence, head, 64-key tile) units of the batch stand in one line that is
// cut into equal pieces, so ragged contexts cost nothing and the grid depends on the device alone.
//
// A producer warp copies tiles into a ring; tile i belongs to warp i % 4 of the four others, so that these
// never wait for each other before a segment (a sequence's head) ends. Products are tensor-core products of
// 16-bit operands with keys (then dimensions) as rows and the query heads of a group as the 8 columns: S^T =
// K Q^T, O^T = V^T P^T. 8-bit codes are widened to fp16, where they are exact; scales are applied to scores
// and weights in float. Queries go to fp16 divided by a power of two, so that they lose nothing of their
// bf16; weights are scaled by v's scales and kept below 1 by a maximum that counts those in.
#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/attention_decode.cuh"
#include "backend/cuda/kernels/attention_decode_tile.cuh"

namespace octet::cuda {
namespace {

constexpr int kThreads = 32 * (kConsumers + 1);
constexpr int kMergeBarrier = 1;

// A piece of one (sequence, virtual head): tiles [first, last).
struct Segment {
  int32_t seq = -1, vhead = 0, first = 0, last = 0, context = 0;
  int64_t unit_end = 0;  // of the line
  __device__ bool valid() const { return seq >= 0; }
};

// Walks the segments of one worker.
struct Walk {
  const DecodeArgs& a;
  const int32_t* prefix;  // [n_seqs + 1] units before each sequence
  int64_t end;

  __device__ Segment at(int64_t unit, int32_t seq) const {
    if (unit >= end) return {};
    while (prefix[seq + 1] <= unit) ++seq;
    const TileRange tiles = decode_tiles(a, seq);
    const int32_t n = tiles.last - tiles.first, in_seq = static_cast<int32_t>(unit - prefix[seq]);
    const int32_t vhead = in_seq / n, skipped = in_seq % n;
    const int64_t left = end - unit;
    const int32_t count = left < n - skipped ? static_cast<int32_t>(left) : n - skipped;
    return {seq,         vhead, tiles.first + skipped, tiles.first + skipped + count, a.context_lens[seq],
            unit + count};
  }
  __device__ Segment first(int64_t begin) const {
    int32_t low = 0, high = a.n_seqs;  // the last sequence that begins at `begin` or before
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      if (prefix[middle] <= begin)
        low = middle;
      else
        high = middle;
    }
    return at(begin, low);
  }
  __device__ Segment after(const Segment& s) const { return at(s.unit_end, s.seq); }
};

// Units before each sequence, by the whole block: loads side by side, then a scan by one warp.
__device__ void scan_units(const DecodeArgs& a, int32_t* prefix) {
  const int32_t n = a.n_seqs, vheads = a.n_kv_heads * a.chunks;
  for (int32_t s = threadIdx.x; s < n; s += kThreads) {
    const TileRange t = decode_tiles(a, s);
    prefix[s] = (t.last - t.first) * vheads;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    const int32_t lane = threadIdx.x, each = (n + 31) / 32, begin = min(lane * each, n),
                  end = min(begin + each, n);
    int32_t mine = 0;
    for (int32_t s = begin; s < end; ++s) mine += prefix[s];
    int32_t sum = mine;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int32_t left = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += left;
    }
    int32_t before = sum - mine;
    for (int32_t s = begin; s < end; ++s) {
      const int32_t units = prefix[s];
      prefix[s] = before;
      before += units;
    }
    if (lane == 31) prefix[n] = sum;
  }
}

// The pages of the 32 page positions from a tile's first on, one a lane.
__device__ __forceinline__ int32_t load_pages(const DecodeArgs& a, const Segment& s, int32_t tile) {
  const int32_t page = tile * (kTileKeys / a.layout.page_size) + threadIdx.x % 32;
  if (!s.valid() || page * a.layout.page_size >= s.context) return 0;
  return a.page_table[int64_t{s.seq} * a.page_table_stride + page];
}

// One tile's copies, spread over the lanes; `pages` holds the tile's pages from lane `at` on.
template <class S>
__device__ void fill_stage(const DecodeArgs& a, const S& shared, int slot, const Segment& s, int32_t tile,
                           int32_t pages, int32_t at, bool with_query) {
  const int lane = threadIdx.x % 32;
  const KvLayout& layout = a.layout;
  const int32_t page_size = layout.page_size;
  const int32_t valid = min(kTileKeys, s.context - tile * kTileKeys);
  constexpr int kPanels = S::kV / (kTileKeys * 128);  // 16 bit: of K, and of V
  const int parts = S::kEightBit ? (a.dynamic_scales ? 4 : 2) : 2 * kPanels;
  const int part = lane % parts, index = lane / parts;  // what of which page
  const int32_t page = __shfl_sync(~0u, pages, min(at + index, 31));
  const int32_t rows = index < kTileKeys / page_size ? min(page_size, valid - index * page_size) : 0;
  const uint8_t* head =
      a.pages + page * layout.page_bytes + (s.vhead / a.chunks) * int64_t{layout.head_bytes};
  uint32_t bytes = 0, to = shared_address(shared.stage(slot));
  const uint8_t* from = head;
  if (rows > 0) {
    if constexpr (!S::kEightBit) {
      bytes = rows * 128;
      from += part * page_size * 128;
      to += (part * kTileKeys + index * page_size) * 128;
    } else if (part < 2) {
      bytes = (rows + 15) / 16 * 16 * layout.padded_dim;
      from += part * layout.v_offset;
      to += part * S::kV + index * page_size * layout.padded_dim;
    } else {
      bytes = (rows + 3) / 4 * 16;
      from += layout.scale_offset + (part - 2) * page_size * 4;
      to += S::kScales + ((part - 2) * kTileKeys + index * page_size) * 4;
    }
  }
  // Lanes 16 to 23 may hold no part of a cache tile (at most 4 pages of 4 parts): the query rows.
  if (with_query && lane >= 16 && lane - 16 < a.rows) {
    const int32_t row = lane - 16,
                  head_index = s.vhead / a.chunks * a.group + s.vhead % a.chunks * kRowsPerTile + row;
    if (s.vhead % a.chunks * kRowsPerTile + row < a.group) {
      bytes = a.head_dim * 2;
      from =
          reinterpret_cast<const uint8_t*>(a.q + a.query_start[s.seq] * a.q_stride + head_index * a.head_dim);
      to = shared_address(shared.stage(slot)) + S::kQuery + row * S::kQueryStride;
    }
  }
  const uint32_t total = __reduce_add_sync(~0u, bytes);
  if (lane == 0) barrier_arrive_expect(shared.full(slot), total);
  __syncwarp();
  if (bytes > 0) bulk_copy(to, from, bytes, shared.full(slot));
}

template <class S>
__device__ void produce(const DecodeArgs& a, const S& shared, const Walk& walk, int64_t begin,
                        bool copy_query) {
  const int32_t per_tile = kTileKeys / a.layout.page_size;
  uint32_t count = 0;  // tiles so far
  Segment s = walk.first(begin);
  int32_t pages = load_pages(a, s, s.first);
  while (s.valid()) {
    const Segment next = walk.after(s);
    const int32_t next_pages = load_pages(a, next, next.first);
    int32_t base = s.first;
    for (int32_t tile = s.first; tile < s.last; ++tile, ++count) {
      if ((tile - base) * per_tile >= 32) {
        base = tile;
        pages = load_pages(a, s, tile);
      }
      const int slot = count % S::kStages;
      const uint32_t round = count / S::kStages;
      if (round > 0) barrier_wait(shared.empty(slot), (round - 1) & 1);
      fill_stage(a, shared, slot, s, tile, pages, (tile - base) * per_tile,
                 copy_query && tile - s.first < kConsumers);
    }
    s = next;
    pages = next_pages;
  }
}

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
                        int64_t begin, int32_t worker, bool copy_query) {
  using S = DecodeShared<kType, kDim>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
  DecodeConsumer<kType, kDim> consumer;
  uint32_t count = 0;
  for (Segment s = walk.first(begin); s.valid(); s = walk.after(s)) {
    consumer.reset();
    const int32_t first_key = a.window > 0 ? s.context - a.window : 0;
    bool has_query = false;
    for (int32_t tile = s.first; tile < s.last; ++tile, ++count) {
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
    consumer.store(a, shared.merge(warp), shared.merge_ml(warp));
    named_barrier_sync(kMergeBarrier, 32 * kConsumers);
    merge<S, kDim>(a, shared, worker + int64_t{s.seq} * a.n_kv_heads * a.chunks + s.vhead,
                   a.v_scale != nullptr ? a.v_scale[s.vhead / a.chunks] : 1.0f);
    named_barrier_sync(kMergeBarrier, 32 * kConsumers);
  }
}

template <QType kType, int kDim>
__global__ void __launch_bounds__(kThreads, 1) decode_kernel(const __grid_constant__ DecodeArgs a) {
  const DecodeShared<kType, kDim> shared{dynamic_shared_memory()};
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == kThreads - 1) {
    for (int i = 0; i < shared.kStages; ++i) {
      barrier_init(shared.full(i), 1);
      barrier_init(shared.empty(i), 1);
    }
    barrier_init_fence();
  }
  scan_units(a, shared.prefix());
  __syncthreads();
  let_next_kernel_start();
  wait_for_previous_kernel();
  const DecodeSplit split(a, shared.prefix()[a.n_seqs]);
  const int32_t worker = blockIdx.x;
  if (worker >= split.workers) return;
  const int64_t begin = split.begin(worker);
  const Walk walk{a, shared.prefix(), split.begin(worker + 1)};
  const bool copy_query =
      a.head_dim % 8 == 0 && a.q_stride % 8 == 0 && reinterpret_cast<uintptr_t>(a.q) % 16 == 0;
  if (warp == kConsumers) {
    produce(a, shared, walk, begin, copy_query);
  } else {
    consume<kType, kDim>(a, shared, walk, begin, worker, copy_query);
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
    launch_dependent(decode_kernel<kType, kDim>, args.workers, kThreads, kDecodeSharedBytes, stream, args);
  });
}

}  // namespace octet::cuda
