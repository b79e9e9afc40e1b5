// The loading warpgroup of the prefill kernel: queries, keys and values into swizzled tiles.
//
// A 16-bit cache stands in its pages as the tensor cores want it: one warp copies it, the others bring the
// queries of the next item. An 8-bit cache is widened to 16 bits, where its codes are exact, by all four
// warps; scales go beside the tile.
#pragma once

#include <cfloat>

#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_prefill.cuh"
#include "backend/cuda/kernels/attention_rows.cuh"

namespace octet::cuda {

// What this warp wrote is there for the tensor cores.
__device__ __forceinline__ void hand_over(uint32_t barrier) {
  async_proxy_fence();
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

// A query's values as the operand wants them, in place: to fp16, divided by a power of two so that nothing of
// bf16 is lost, which is returned. 16 lanes (8 for heads of 64) share a row.
template <int kLanes>
__device__ __forceinline__ float query_to_half(uint32_t (&x)[4]) {
  float absmax = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) absmax = fmaxf(absmax, fmaxf(fabsf(bf16_low(x[j])), fabsf(bf16_high(x[j]))));
#pragma unroll
  for (int d = 1; d < kLanes; d *= 2) absmax = fmaxf(absmax, __shfl_xor_sync(~0u, absmax, d));
  uint32_t exponent = min(__float_as_uint(absmax) & 0x7f800000u, 0x7e800000u);
  if (exponent == 0) exponent = 0x3f800000u;
  const float inverse = __uint_as_float(0x7f000000u - exponent);
#pragma unroll
  for (int j = 0; j < 4; ++j) x[j] = pack<__half>(bf16_low(x[j]) * inverse, bf16_high(x[j]) * inverse);
  return __uint_as_float(exponent);
}

// One item's queries by S::kQueryThreads threads: copies of 16 bytes that are all under way before the first
// is waited for. Rows that do not exist, and dimensions behind the head's, are zeros.
template <class S>
__device__ void begin_queries(const PrefillArgs& a, const S& shared, const PrefillItem& item, int buffer,
                              int thread) {
  constexpr int kChunks = S::kTile / (kPrefillRows * 16);  // of 8 dimensions, a row
  const bool whole = a.head_dim % 8 == 0 && a.q_stride % 8 == 0 && reinterpret_cast<uintptr_t>(a.q) % 16 == 0;
  uint8_t* to = shared.query(buffer);
  for (int i = thread; i < kPrefillRows * kChunks; i += S::kQueryThreads) {
    const int32_t row = i / kChunks, dim = i % kChunks * 8;
    const bool exists = row < item.n_rows && dim < a.head_dim;
    const int32_t token = a.token_of(row), head = item.kv_head * a.group + row - token * a.group;
    const __nv_bfloat16* from =
        exists ? a.q + (item.token + token) * a.q_stride + head * a.head_dim + dim : a.q;
    if (whole) {
      copy_async(shared_address(to + swizzled(row, dim)), from, exists);
    } else {
      uint32_t x[4] = {0, 0, 0, 0};
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // head_dim is even
        if (exists && dim + 2 * j < a.head_dim) x[j] = load_pair(from + 2 * j);
      }
      *reinterpret_cast<uint4*>(to + swizzled(row, dim)) = *reinterpret_cast<uint4*>(x);
    }
  }
}
template <class S>
__device__ void finish_queries(const PrefillArgs& a, const S& shared, const PrefillItem& item, int buffer,
                               int thread) {
  await_copies();
  const float scale = a.score_scale * (a.k_scale != nullptr ? a.k_scale[item.kv_head] : 1.0f);
  if constexpr (S::kType == QType::kF16) {
    constexpr int kChunks = S::kTile / (kPrefillRows * 16);
    for (int i = thread; i < kPrefillRows * kChunks; i += S::kQueryThreads) {
      const int32_t row = i / kChunks, dim = i % kChunks * 8;
      auto* at = reinterpret_cast<uint4*>(shared.query(buffer) + swizzled(row, dim));
      uint4 bits = *at;
      uint32_t x[4] = {bits.x, bits.y, bits.z, bits.w};
      const float power = query_to_half<kChunks>(x);
      *at = {x[0], x[1], x[2], x[3]};
      if (dim == 0) shared.row_scale(buffer)[row] = scale * power;
    }
  } else {
    for (int row = thread; row < kPrefillRows; row += S::kQueryThreads) shared.row_scale(buffer)[row] = scale;
  }
  hand_over(shared.query_full(buffer));
}

// The tiles of keys of all items of a block, in order.
struct TileCursor {
  PrefillWalk walk;
  PrefillItem item;
  bool exists = false;
  int page_bits = 0;  // pages are 2^page_bits keys
  int32_t tile = 0;
  int32_t base = 0, pages = 0;  // the pages of the 32 page positions from tile `base` on, one a lane

  __device__ void begin(const PrefillArgs& a) {
    page_bits = a.layout.page_size == 64 ? 6 : a.layout.page_size == 32 ? 5 : 4;
    next_item(a);
  }
  __device__ void advance(const PrefillArgs& a) {
    if (++tile == item.last) return next_item(a);
    if (page_of(tile - base) >= 32) load_pages(a);
  }
  __device__ void next_item(const PrefillArgs& a) {
    exists = walk.next(a, item);
    tile = item.first;
    if (exists) load_pages(a);
  }
  __device__ void load_pages(const PrefillArgs& a) {
    base = tile;
    const int32_t page = page_of(tile) + static_cast<int32_t>(threadIdx.x % 32);
    const bool used = page << page_bits < item.context;
    pages = used ? a.page_table[int64_t{item.seq} * a.page_table_stride + page] : 0;
  }
  __device__ int32_t page_of(int32_t of_tile) const { return of_tile * kPrefillKeys >> page_bits; }
  __device__ int32_t row_in_page(int32_t row) const { return row & ((1 << page_bits) - 1); }
  // Where this head's part of the page with key `row` of the tile begins. All lanes.
  __device__ const uint8_t* head(const PrefillArgs& a, int32_t row) const {
    const int32_t page = __shfl_sync(~0u, pages, min(page_of(tile - base) + (row >> page_bits), 31));
    return a.pages + page * a.layout.page_bytes + item.kv_head * int64_t{a.layout.head_bytes};
  }
  __device__ int32_t valid() const { return min(kPrefillKeys, item.context - tile * kPrefillKeys); }
};

// 16 bit: K or V of one tile by one warp.
template <class S>
__device__ void copy_tile(const PrefillArgs& a, const TileCursor& cursor, bool value, uint8_t* to,
                          uint32_t barrier) {
  constexpr int kPanels = S::kTile / S::kPanel;
  const int lane = threadIdx.x % 32;
  const int32_t page_size = a.layout.page_size, valid = cursor.valid();
  const int panel = lane % kPanels, index = lane / kPanels;
  const uint8_t* head = cursor.head(a, min(index * page_size, kPrefillKeys - 1));
  const int32_t rows = index < cursor.page_of(1) ? max(0, min(page_size, valid - index * page_size)) : 0;
  if (value &&
      valid < kPrefillKeys) {  // what stands behind the context may be NaN, which zeros would not mask
    const int32_t words = (kPrefillKeys - valid) * 8;
    for (int i = lane; i < words * kPanels; i += 32)
      *reinterpret_cast<uint4*>(to + i / words * S::kPanel + valid * 128 + i % words * 16) = {};
    async_proxy_fence();
  }
  __syncwarp();
  if (lane == 0) barrier_arrive_expect(barrier, valid * 128 * kPanels);
  __syncwarp();
  if (rows > 0) {
    const uint8_t* from = head + (value ? a.layout.v_offset : 0) + panel * page_size * 128;
    bulk_copy(shared_address(to) + panel * S::kPanel + index * page_size * 128, from, rows * 128, barrier);
  }
}

template <class S>
__device__ void copy_cache(const PrefillArgs& a, const S& shared) {
  TileCursor cursor;
  cursor.begin(a);
  for (uint32_t count = 0; cursor.exists; cursor.advance(a), ++count) {
    const int slot = count % S::kStages;
    const uint32_t round = count / S::kStages;
    if (round > 0) barrier_wait(shared.key_empty(slot), (round - 1) & 1);
    copy_tile<S>(a, cursor, false, shared.key(slot), shared.key_full(slot));
    if (round > 0) barrier_wait(shared.value_empty(slot), (round - 1) & 1);
    copy_tile<S>(a, cursor, true, shared.value(slot), shared.value_full(slot));
  }
}

// 8 bit: of each K and each V a warp widens two blocks of 16 keys, at (4 b + warp) * 16. A block's codes are
// one piece of the page, which comes by a bulk copy, three blocks ahead: a load into registers would have to
// end before the fence that hands a tile over.
template <class S>
struct CodeFeed {
  TileCursor cursor;
  const uint8_t* head[2];  // of the pages of the cursor's two blocks
  int next_slot = 0, slot = 0;
  uint32_t phase = 0;

  static __device__ int warp() { return static_cast<int>(threadIdx.x / 32); }
  static __device__ int32_t row(int b) { return (b * 4 + warp()) * 16; }
  static __device__ int after(int i) { return i + 1 == S::kStagedBlocks ? 0 : i + 1; }

  __device__ void begin(const PrefillArgs& a, const S& shared) {
    cursor.begin(a);
    find_pages(a);
    issue<0>(a, shared);
    issue<1>(a, shared);
    issue<2>(a, shared);
  }
  __device__ __forceinline__ void find_pages(const PrefillArgs& a) {
    if (!cursor.exists) return;
#pragma unroll
    for (int b = 0; b < 2; ++b) head[b] = cursor.head(a, row(b));
  }
  // kBlock: of the cursor's tile: K, K, V, V.
  template <int kBlock>
  __device__ __forceinline__ void issue(const PrefillArgs& a, const S& shared) {
    if (!cursor.exists) return;
    constexpr bool kValue = kBlock >= 2;
    if (threadIdx.x % 32 == 0) {
      const int32_t page_row = cursor.row_in_page(row(kBlock % 2));
      const bool scales = !kValue && a.dynamic_scales;
      const uint32_t to = shared_address(shared.staged(warp(), next_slot));
      const uint32_t full = shared.staged_full(warp(), next_slot);
      const uint8_t* from = head[kBlock % 2];
      barrier_arrive_expect(full, S::kBlockCodes + (scales ? 2 * 64 : 0));
      bulk_copy(to, from + (kValue ? a.layout.v_offset : 0) + page_row * (S::kBlockCodes / 16),
                S::kBlockCodes, full);
      if (scales) {
        from += a.layout.scale_offset + page_row * 4;
        bulk_copy(to + S::kBlockCodes, from, 64, full);
        bulk_copy(to + S::kBlockCodes + 64, from + a.layout.page_size * 4, 64, full);
      }
    }
    next_slot = after(next_slot);
    if constexpr (kBlock == 3) {
      cursor.advance(a);
      find_pages(a);
    }
  }
  __device__ const uint8_t* take(const S& shared) const {
    barrier_wait(shared.staged_full(warp(), slot), phase);
    return shared.staged(warp(), slot);
  }
  // All lanes have read what was taken, block `kBlock` of its tile: its place is for the third after it.
  template <int kBlock>
  __device__ __forceinline__ void release(const PrefillArgs& a, const S& shared) {
    slot = after(slot);
    phase ^= slot == 0;
    __syncwarp();
    issue<(kBlock + 3) % 4>(a, shared);
  }
};

// Four codes to pairs of bf16 (keys) or fp16 (values), in which they are exact.
template <QType kType, bool kValue>
__device__ __forceinline__ uint2 widen(uint32_t codes) {
  if constexpr (kType == QType::kInt8) {
    if constexpr (!kValue) return {int8x2_to_bf16x2<0x4140>(codes), int8x2_to_bf16x2<0x4342>(codes)};
    codes ^= 0x80808080u;
    return {biased_int8x2_to_f16x2<0x4140>(codes), biased_int8x2_to_f16x2<0x4342>(codes)};
  }
  if constexpr (!kValue) return {e4m3x2_to_bf16x2<0x1404>(codes), e4m3x2_to_bf16x2<0x3424>(codes)};
  return {e4m3x2_to_f16x2(codes), e4m3x2_to_f16x2_high(codes)};
}

// One block into its tile. K: a lane has 8 dimensions of keys g and g + 8; V: 4 dimensions of keys 2c, 2c +
// 1, 2c + 8, 2c + 9. Lanes of odd g take K's parts of 32 dimensions in turns with those of even g, so that
// they write to different banks. Chunk c of row r stands at c ^ (r & 7): what the unrolled j and i add to a
// chunk or a row is the exclusive or of a constant. Values of keys from `valid` on are zeros: they may be
// NaN.
template <class S, bool kValue>
__device__ __forceinline__ void widen_block(const uint8_t* staged, int32_t row, int32_t valid, uint8_t* to) {
  constexpr int kParts = S::kBlockCodes / 512;
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  uint4 codes[kParts];
#pragma unroll
  for (int j = 0; j < kParts; ++j)
    codes[j] = *reinterpret_cast<const uint4*>(staged + (kValue ? j : j ^ g % 2) * 512 + lane * 16);
  if (kValue && S::kType == QType::kFp8 && valid < row + 16) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      if (row + 2 * c >= valid) codes[j].x = 0;
      if (row + 2 * c + 1 >= valid) codes[j].y = 0;
      if (row + 2 * c + 8 >= valid) codes[j].z = 0;
      if (row + 2 * c + 9 >= valid) codes[j].w = 0;
    }
  }
  uint8_t* at = to + row * 128;
  at += kValue ? c * 256 + ((g / 2 ^ 2 * c) << 4) + g % 2 * 8 : g * 128 + ((c ^ g ^ g % 2 * 4) << 4);
  // The places at `at` with bit 6, or bit 4, the other way round.
  const int32_t other_half = (reinterpret_cast<uintptr_t>(at) & 64) != 0 ? -64 : 64;
  const int32_t other_chunk = (reinterpret_cast<uintptr_t>(at) & 16) != 0 ? -16 : 16;
  uint8_t* const places[2][2] = {{at, at + other_chunk}, {at + other_half, at + other_half + other_chunk}};
#pragma unroll
  for (int j = 0; j < kParts; ++j) {
    const uint32_t words[4] = {codes[j].x, codes[j].y, codes[j].z, codes[j].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kValue) {
        *reinterpret_cast<uint2*>(places[j % 2][i % 2] + j / 2 * S::kPanel + i % 2 * 128 + i / 2 * 1024) =
            widen<S::kType, kValue>(words[i]);
      } else if (i % 2 == 0) {
        const uint2 low = widen<S::kType, kValue>(words[i]), high = widen<S::kType, kValue>(words[i + 1]);
        *reinterpret_cast<uint4*>(places[j % 2][0] + j / 2 * S::kPanel + i / 2 * 1024) = {low.x, low.y,
                                                                                          high.x, high.y};
      }
    }
  }
}

// Of 16 keys, one in lanes l and l + 16: the scale of its score, the logarithm and the inverse of its
// value's.
__device__ __forceinline__ void store_scales(const float* staged, float score_scale, int32_t row,
                                             int32_t valid, float* to) {
  const int lane = threadIdx.x % 32;
  const int32_t key = row + lane % 16;
  const bool exists = key < valid;  // else it may be NaN
  const float scale = exists ? staged[lane] : 1.0f;
  if (lane < 16) {
    to[key / 2 * 4 + key % 2] = scale * score_scale;
  } else {
    const float v = fmaxf(scale, FLT_MIN);
    to[key / 2 * 4 + 2 + key % 2] = __log2f(v);
    to[2 * kPrefillKeys + key] = 1 / v;
  }
}

// One tile's K, or V, by four warps. Keys from `valid` on are behind the context.
template <class S>
__device__ void widen_keys(const PrefillArgs& a, const S& shared, CodeFeed<S>& feed, uint32_t count,
                           int32_t valid) {
  const int slot = count % S::kStages;
  if (count >= S::kStages) barrier_wait(shared.key_empty(slot), (count / S::kStages - 1) & 1);
  const auto widen_one = [&](int b) {
    const uint8_t* staged = feed.take(shared);
    widen_block<S, false>(staged, feed.row(b), valid, shared.key(slot));
    if (!a.dynamic_scales) return;
    store_scales(reinterpret_cast<const float*>(staged + S::kBlockCodes), a.score_scale, feed.row(b), valid,
                 shared.key_scale(count));
  };
  widen_one(0);
  feed.template release<0>(a, shared);
  widen_one(1);
  feed.template release<1>(a, shared);
  hand_over(shared.key_full(slot));
}
template <class S>
__device__ void widen_values(const PrefillArgs& a, const S& shared, CodeFeed<S>& feed, uint32_t count,
                             int32_t valid) {
  const int slot = count % S::kStages;
  if (count >= S::kStages) barrier_wait(shared.value_empty(slot), (count / S::kStages - 1) & 1);
  widen_block<S, true>(feed.take(shared), feed.row(0), valid, shared.value(slot));
  feed.template release<2>(a, shared);
  widen_block<S, true>(feed.take(shared), feed.row(1), valid, shared.value(slot));
  feed.template release<3>(a, shared);
  hand_over(shared.value_full(slot));
}

template <class S>
__device__ void prefill_load(const PrefillArgs& a, const S& shared) {
  if (!S::kEightBit && threadIdx.x < 32) return copy_cache(a, shared);
  const int thread = threadIdx.x - (128 - S::kQueryThreads);
  CodeFeed<S> feed;
  if constexpr (S::kEightBit) feed.begin(a, shared);
  PrefillWalk walk;
  PrefillItem item;
  uint32_t count = 0;
  for (int n_items = 0; walk.next(a, item); ++n_items) {
    const int buffer = n_items % 2;
    if (n_items >= 2) barrier_wait(shared.query_empty(buffer), (n_items / 2 - 1) & 1);
    begin_queries(a, shared, item, buffer, thread);
    if constexpr (S::kEightBit) widen_keys(a, shared, feed, count, item.context - item.first * kPrefillKeys);
    finish_queries(a, shared, item, buffer, thread);
    if constexpr (S::kEightBit) {
      for (int32_t tile = item.first; tile < item.last; ++tile, ++count) {
        const int32_t valid = item.context - tile * kPrefillKeys;
        if (tile > item.first) widen_keys(a, shared, feed, count, valid);
        widen_values(a, shared, feed, count, valid);
      }
    }
  }
}

}  // namespace octet::cuda
