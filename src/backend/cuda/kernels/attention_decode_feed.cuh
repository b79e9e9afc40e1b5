// Which tiles a warp of the decode kernel takes, and their copies into its stage.
#pragma once

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/kernels/attention_decode.cuh"

namespace octet::cuda {

// A piece of one (sequence, virtual head): tiles [first, last).
struct Segment {
  int32_t seq = -1, vhead = 0, first = 0, last = 0, context = 0;
  int64_t unit_end = 0;  // of the line
  __device__ bool valid() const { return seq >= 0; }
};

// Walks the segments of one worker's piece.
struct Walk {
  const DecodeArgs& a;
  const Line& line;
  int64_t end;

  __device__ Segment at(int64_t unit, int32_t seq) const {
    if (unit >= end) return {};
    while (line.prefix[seq + 1] <= unit) ++seq;
    const int32_t context = line.context[seq];
    const TileRange tiles = decode_tiles(a, context);
    const int32_t n = tiles.last - tiles.first, in_seq = static_cast<int32_t>(unit - line.prefix[seq]);
    const int32_t vhead = in_seq / n, skipped = in_seq % n;
    const int64_t left = end - unit;
    const int32_t count = left < n - skipped ? static_cast<int32_t>(left) : n - skipped;
    return {seq, vhead, tiles.first + skipped, tiles.first + skipped + count, context, unit + count};
  }
  __device__ Segment first(int64_t begin) const {
    int32_t low = 0, high = a.n_seqs;  // the last sequence that begins at `begin` or before
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      if (line.prefix[middle] <= begin)
        low = middle;
      else
        high = middle;
    }
    return at(begin, low);
  }
  __device__ Segment after(const Segment& s) const { return at(s.unit_end, s.seq); }
};

// By the whole block: loads side by side, then a scan by one warp. The line is there after the next barrier.
__device__ void make_line(const DecodeArgs& a, const Line& line) {
  int32_t* prefix = line.prefix;
  const int32_t n = a.n_seqs, vheads = a.n_kv_heads * a.chunks;
  for (int32_t s = threadIdx.x; s < n; s += blockDim.x) {
    line.context[s] = decode_context(a, s);
    const TileRange t = decode_tiles(a, line.context[s]);
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

// The tiles of one warp, in order: every `step`-th of a piece of the line. Their copies go into the warp's
// stage and are shared by its lanes: a lane has one part (K, V, a panel of them, or scales) of one of a
// tile's pages. Lanes 16 to 23, which have none, bring the query rows along with a segment's first tile.
template <class S>
struct TileFeed {
  const DecodeArgs& a;
  const Walk& walk;
  uint32_t stage, full;  // where the tile goes, and the barrier that tells that it is there
  int32_t step;
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
  uint64_t once;  // the cache's policy in L2: no one else reads a tile, unless heads are in chunks

  // The warp's first tile is the `offset`-th from `begin` on.
  __device__ TileFeed(const DecodeArgs& args, const Walk& all, uint32_t to, uint32_t barrier, int64_t begin,
                      int32_t offset, int32_t tile_step, bool query_too)
      : a(args), walk(all), stage(to), full(barrier), step(tile_step), copy_query(query_too) {
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
    once = a.chunks == 1 ? evict_first_policy() : evict_normal_policy();
    s = walk.first(begin);
    go_to(s.first + offset, true);
  }
  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  __device__ bool valid() const { return s.valid(); }
  __device__ void advance() { go_to(tile + step, false); }

  // To tile `to` of this segment, or what lies as far behind its end in the next ones.
  __device__ void go_to(int32_t to, bool enters) {
    while (s.valid() && to >= s.last) {
      to -= s.last;
      s = walk.after(s);
      to += s.first;
      enters = true;
    }
    if (!s.valid()) return;
    tile = to;
    if (enters) enter_segment();
    if (enters || (tile - base) * kTileKeys >> page_bits >= 32) load_pages();
  }
  __device__ void enter_segment() {
    const int32_t kv_head = s.vhead / a.chunks, first = (s.vhead - kv_head * a.chunks) * kRowsPerTile;
    head = a.pages + kv_head * int64_t{a.layout.head_bytes} + from_offset;
    n_queries = copy_query ? min(a.rows, a.group - first) : 0;
    const int row = lane() - 16;
    query = row >= 0 && row < n_queries
                ? a.q + a.query_start[s.seq] * a.q_stride + (kv_head * a.group + first + row) * a.head_dim
                : nullptr;
  }
  __device__ void load_pages() {
    base = tile;
    const int32_t page = (tile * kTileKeys >> page_bits) + lane();
    const bool used = page << page_bits < s.context;
    pages = used ? a.page_table[int64_t{s.seq} * a.page_table_stride + page] : 0;
  }
  // The kernel before this one writes the newest token alone.
  __device__ bool is_old() const { return (tile + 1) * kTileKeys < s.context; }
  // Whether the tile is the warp's first of the segment, which brings the query rows along.
  __device__ bool begins() const { return tile - s.first < step; }

  // The tile's copies; announces those of the queries too.
  __device__ __forceinline__ void copy_tile() const {
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
      barrier_arrive_expect(full, bytes);
    }
    __syncwarp();
    const int32_t keys = min(a.layout.page_size, n_keys - (index << page_bits));
    if (copies && keys > 0) {
      bulk_copy(stage + to_offset, head + page * a.layout.page_bytes,
                ((keys + together) & ~together) * key_bytes, full, once);
    }
  }
  __device__ __forceinline__ void copy_queries() const {
    if (query == nullptr || !begins()) return;
    bulk_copy(stage + S::kQuery + (lane() - 16) * S::kQueryStride, query, a.head_dim * 2, full);
  }
};

}  // namespace octet::cuda
