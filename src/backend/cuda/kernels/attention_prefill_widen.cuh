// Tiles of an 8-bit cache: its codes become 16-bit values, in which they are exact, on their way into the
// tiles; scales go beside them.
#pragma once

#include <cfloat>

#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_prefill_tiles.cuh"

namespace octet::cuda {

// Of each K and each V a warp widens two blocks of 16 keys, at (4 b + warp) * 16. A block's codes are
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

}  // namespace octet::cuda
