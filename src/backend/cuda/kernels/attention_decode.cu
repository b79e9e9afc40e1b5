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

// The tiles of one worker, in order, and their copies, which the lanes share: a lane has one part (K, V, a
// panel of them, or scales) of one of a tile's pages. Lanes 16 to 23, which have none, bring a segment's
// query rows.
template <class S>
struct TileFeed {
  const DecodeArgs& a;
  const S& shared;
  const Walk& walk;
  bool copy_query;
  // Of this lane: its page of a tile, where its part begins in a head of the page and in a stage, bytes a
  // key, and keys that are copied together, less one.
  int page_bits, index;
  uint32_t from_offset, to_offset, key_bytes, together;
  bool copies;
  // Of the segment.
  Segment s;
  const uint8_t* head;
  const __nv_bfloat16* query;  // this lane's row, or null
  int32_t n_queries;
  // Of the tile; pages: of the 32 page positions from tile `base` on, one a lane.
  int32_t tile, base, pages;

  __device__ TileFeed(const DecodeArgs& args, const S& memory, const Walk& all, int64_t begin, bool query_too)
      : a(args), shared(memory), walk(all), copy_query(query_too) {
    constexpr int kPanels = S::kV / (kTileKeys * 128);  // 16 bit: of K, and of V
    const KvLayout& layout = a.layout;
    page_bits = layout.page_size == 64 ? 6 : layout.page_size == 32 ? 5 : 4;
    const int part_bits = S::kEightBit ? (a.dynamic_scales ? 2 : 1) : (kPanels == 2 ? 2 : 1);
    const int part = lane() & ((1 << part_bits) - 1);
    index = lane() >> part_bits;
    copies = index < kTileKeys >> page_bits;
    if constexpr (!S::kEightBit) {
      key_bytes = 128, together = 0;
      from_offset = part * layout.page_size * 128;
      to_offset = part * kTileKeys * 128;
    } else if (part < 2) {
      key_bytes = layout.padded_dim, together = 15;
      from_offset = part * layout.v_offset;
      to_offset = part * S::kV;
    } else {
      key_bytes = 4, together = 3;
      from_offset = layout.scale_offset + (part - 2) * layout.page_size * 4;
      to_offset = S::kScales + (part - 2) * kTileKeys * 4;
    }
    to_offset += (index << page_bits) * key_bytes;
    begin_segment(walk.first(begin));
  }
  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  __device__ bool valid() const { return s.valid(); }
  __device__ void advance() {
    if (++tile == s.last) {
      begin_segment(walk.after(s));
    } else if ((tile - base) * kTileKeys >> page_bits >= 32) {
      load_pages(tile);
    }
  }
  __device__ void begin_segment(const Segment& segment) {
    s = segment;
    if (!s.valid()) return;
    const int32_t kv_head = s.vhead / a.chunks, first = (s.vhead - kv_head * a.chunks) * kRowsPerTile;
    head = a.pages + kv_head * int64_t{a.layout.head_bytes} + from_offset;
    n_queries = copy_query ? min(a.rows, a.group - first) : 0;
    const int row = lane() - 16;
    query = row >= 0 && row < n_queries
                ? a.q + a.query_start[s.seq] * a.q_stride + (kv_head * a.group + first + row) * a.head_dim
                : nullptr;
    load_pages(s.first);
  }
  __device__ void load_pages(int32_t first) {
    tile = base = first;
    const int32_t page = (tile * kTileKeys >> page_bits) + lane();
    const bool used = page << page_bits < s.context;
    pages = used ? a.page_table[int64_t{s.seq} * a.page_table_stride + page] : 0;
  }
  // The kernel before this one writes the newest token alone.
  __device__ bool is_old() const { return (tile + 1) * kTileKeys < s.context; }
  // A segment's first tiles bring its query rows along, one copy for each consumer.
  __device__ bool begins() const { return tile - s.first < kConsumers; }

  // The tile's copies; announces those of the queries too.
  __device__ __forceinline__ void copy_tile(int slot) const {
    const int32_t n_keys = min(kTileKeys, s.context - tile * kTileKeys);
    const int32_t page = __shfl_sync(~0u, pages, min(((tile - base) * kTileKeys >> page_bits) + index, 31));
    if (lane() == 0) {
      uint32_t bytes = begins() ? n_queries * a.head_dim * 2 : 0;
      if constexpr (S::kEightBit) {
        bytes += 2 * ((n_keys + 15) / 16 * 16 * a.layout.padded_dim);
        if (a.dynamic_scales) bytes += 2 * ((n_keys + 3) / 4 * 16);
      } else {
        bytes += n_keys * 2 * a.layout.padded_dim * 2;
      }
      barrier_arrive_expect(shared.full(slot), bytes);
    }
    __syncwarp();
    const int32_t keys = min(a.layout.page_size, n_keys - (index << page_bits));
    if (copies && keys > 0) {
      bulk_copy(shared_address(shared.stage(slot)) + to_offset, head + page * a.layout.page_bytes,
                ((keys + together) & ~together) * key_bytes, shared.full(slot));
    }
  }
  __device__ __forceinline__ void copy_queries(int slot) const {
    if (query == nullptr || !begins()) return;
    bulk_copy(shared_address(shared.stage(slot)) + S::kQuery + (lane() - 16) * S::kQueryStride, query,
              a.head_dim * 2, shared.full(slot));
  }
};

// Fills the ring with what was there before the kernel before this one, waits for that, and goes on.
template <class S>
__device__ void produce(const DecodeArgs& a, const S& shared, const Walk& walk, int64_t begin,
                        bool copy_query) {
  TileFeed<S> feed(a, shared, walk, begin, copy_query);
  {
    TileFeed<S> early = feed;
    for (int slot = 0; slot < S::kStages && early.valid(); ++slot, early.advance()) {
      if (early.is_old()) early.copy_tile(slot);
    }
  }
  wait_for_previous_kernel();
  for (uint32_t count = 0; feed.valid(); feed.advance(), ++count) {
    const int slot = count % S::kStages;
    const uint32_t round = count / S::kStages;
    if (round > 0) barrier_wait(shared.empty(slot), (round - 1) & 1);
    if (round > 0 || !feed.is_old()) feed.copy_tile(slot);
    feed.copy_queries(slot);
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
  if (warp != kConsumers) wait_for_previous_kernel();  // the producer waits once it has fetched what it can
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
