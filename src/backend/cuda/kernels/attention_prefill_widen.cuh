// Tiles of an 8-bit cache: one warpgroup has the keys, one the values, both half of the queries. Codes land,
// by bulk copies, in the tile itself and become fp16 in place: a block of 16 keys lands in its own rows of
// the last panel, is read into registers and written over its rows of all panels. (Loads from global memory
// would have to end before the fence that hands a tile over.)
//
// With static scales, which are applied to scores and results, fp16 holds the codes, exactly. Dynamic scales
// are multiplied in here, so that the softmax, which is what the products wait for, has none: keys and values
// are then what a cache of fp16 would hold, to its largest of 65,504, with two roundings of 2^-11.
#pragma once

#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_prefill_tiles.cuh"

namespace octet::cuda {

// A warp has 32 keys of each tile, two blocks of 16.
__device__ __forceinline__ int32_t first_row() {
  return static_cast<int32_t>(threadIdx.x / 32 % 4 * 32);
}

// Brings this warp's codes of the cursor's tile to where they are widened, and their scales beside it. Lanes
// 0 and 1 copy a block each.
template <class S, bool kValue>
__device__ __forceinline__ void land_codes(const PrefillArgs& a, const TileCursor& cursor, uint8_t* tile,
                                           float* scales, uint32_t landed) {
  const int lane = threadIdx.x % 32;
  if (lane == 0) barrier_arrive_expect(landed, 2 * (S::kBlockCodes + (a.dynamic_scales ? 64 : 0)));
  const int32_t row = first_row() + lane % 2 * 16, page_row = cursor.row_in_page(row);
  const uint8_t* head = cursor.head(a, row);  // all lanes
  if (lane >= 2) return;
  bulk_copy(shared_address(tile + S::kLanding + row * 128),
            head + (kValue ? a.layout.v_offset : 0) + page_row * (S::kBlockCodes / 16), S::kBlockCodes,
            landed);
  if (a.dynamic_scales) {
    const int32_t at = (kValue ? a.layout.page_size : 0) + page_row;
    bulk_copy(shared_address(scales + row), head + a.layout.scale_offset + at * 4, 64, landed);
  }
}

// Codes are divided by this before they are multiplied by their scale times this: without it the scales of a
// row whose values are below 2^-6 would be among fp16's subnormal numbers.
template <QType kType>
inline constexpr float kScaleBy = kType == QType::kInt8 ? 128.0f : 256.0f;

// Four codes to pairs of fp16; kScaled: times `scale`, kScaleBy times their scale, twice.
template <QType kType, bool kScaled>
__device__ __forceinline__ uint2 widen(uint32_t codes, uint32_t scale) {
  uint2 r;
  if constexpr (kType == QType::kFp8) {
    r = {e4m3x2_to_f16x2(codes), e4m3x2_to_f16x2_high(codes)};
    constexpr uint32_t kBy256 = 0x1c001c00;
    if constexpr (kScaled) r = {multiply_f16x2(r.x, kBy256), multiply_f16x2(r.y, kBy256)};
  } else {
    codes ^= 0x80808080u;
    r = {biased_int8x2_to_f16x2<0x4140, kScaled>(codes), biased_int8x2_to_f16x2<0x4342, kScaled>(codes)};
  }
  if constexpr (kScaled) r = {multiply_f16x2(r.x, scale), multiply_f16x2(r.y, scale)};
  return r;
}

// A key's factor as a pair of fp16, one a lane. Keys from `valid` on have none: it may be NaN.
template <QType kType>
__device__ __forceinline__ uint32_t pair_of_scales(const float* scales, int32_t valid) {
  const int32_t key = first_row() + static_cast<int32_t>(threadIdx.x % 32);
  const float scale = key < valid ? scales[key] * kScaleBy<kType> : 0.0f;
  return pack<__half>(scale, scale);
}

// One block, in place. K: a lane has 8 dimensions of keys g and g + 8; V: 4 dimensions of keys 2c, 2c +
// 1, 2c + 8, 2c + 9. Lanes of odd g take K's parts of 32 dimensions in turns with those of even g, so that
// they write to different banks. Chunk c of row r stands at c ^ (r & 7): what the unrolled j and i add to a
// chunk or a row is the exclusive or of a constant. Values of keys from `valid` on are zeros: they may be
// NaN. `scales`: of the warp's keys, one a lane.
template <class S, bool kValue, bool kScaled>
__device__ __forceinline__ void widen_block(uint8_t* tile, int32_t row, int32_t valid, uint32_t scales) {
  constexpr int kParts = S::kBlockCodes / 512;
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  const uint8_t* landed = tile + S::kLanding + row * 128;
  uint4 codes[kParts];
#pragma unroll
  for (int j = 0; j < kParts; ++j)
    codes[j] = *reinterpret_cast<const uint4*>(landed + (kValue ? j : j ^ g % 2) * 512 + lane * 16);
  __syncwarp();  // all lanes have read what is written over now
  if (kValue && S::kType == QType::kFp8 && valid < row + 16) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      if (row + 2 * c >= valid) codes[j].x = 0;
      if (row + 2 * c + 1 >= valid) codes[j].y = 0;
      if (row + 2 * c + 8 >= valid) codes[j].z = 0;
      if (row + 2 * c + 9 >= valid) codes[j].w = 0;
    }
  }
  uint32_t scale[4] = {};  // of each word's key
  if constexpr (kScaled) {
    const int from = row % 32 + (kValue ? 2 * c : g);
    scale[0] = __shfl_sync(~0u, scales, from);
    scale[1] = kValue ? __shfl_sync(~0u, scales, from + 1) : scale[0];
    scale[2] = __shfl_sync(~0u, scales, from + 8);
    scale[3] = kValue ? __shfl_sync(~0u, scales, from + 9) : scale[2];
  }
  uint8_t* at = tile + row * 128;
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
            widen<S::kType, kScaled>(words[i], scale[i]);
      } else if (i % 2 == 0) {
        const uint2 low = widen<S::kType, kScaled>(words[i], scale[i]),
                    high = widen<S::kType, kScaled>(words[i + 1], scale[i]);
        *reinterpret_cast<uint4*>(places[j % 2][0] + j / 2 * S::kPanel + i / 2 * 1024) = {low.x, low.y,
                                                                                          high.x, high.y};
      }
    }
  }
}

// The keys, or the values, of all tiles by a warpgroup, and half of each item's queries.
template <class S, bool kValue>
__device__ __forceinline__ void load_codes(const PrefillArgs& a, const S& shared) {
  TileCursor cursor;
  cursor.begin(a);
  int n_items = 0;
  for (uint32_t count = 0; cursor.exists; cursor.advance(a), ++count) {
    const int slot = count % S::kStages, buffer = n_items % 2;
    const uint32_t round = count / S::kStages;
    const bool with_queries = cursor.tile == cursor.item.first;
    if (with_queries) {
      if (n_items >= 2) barrier_wait(shared.query_empty(buffer), (n_items / 2 - 1) & 1);
      begin_queries(a, shared, cursor.item, buffer, static_cast<int>(threadIdx.x));
    }
    if (round > 0) barrier_wait(kValue ? shared.value_empty(slot) : shared.key_empty(slot), (round - 1) & 1);
    uint8_t* tile = kValue ? shared.value(slot) : shared.key(slot);
    float* scales = shared.code_scale(kValue, slot);
    const uint32_t landed = shared.landed(kValue, slot, threadIdx.x / 32 % 4);
    land_codes<S, kValue>(a, cursor, tile, scales, landed);
    if (with_queries) {
      finish_queries(a, shared, cursor.item, buffer, static_cast<int>(threadIdx.x));
      ++n_items;
    }
    barrier_wait(landed, round & 1);
    const int32_t row = first_row(), valid = cursor.valid();
    if (a.dynamic_scales) {
      const uint32_t pairs = pair_of_scales<S::kType>(scales, valid);
      widen_block<S, kValue, true>(tile, row, valid, pairs);
      widen_block<S, kValue, true>(tile, row + 16, valid, pairs);
    } else {
      widen_block<S, kValue, false>(tile, row, valid, 0);
      widen_block<S, kValue, false>(tile, row + 16, valid, 0);
    }
    hand_over(kValue ? shared.value_full(slot) : shared.key_full(slot));
  }
}

}  // namespace octet::cuda
