// The loading warpgroup of the prefill kernel: queries, keys and values into swizzled tiles.
//
// A 16-bit cache stands in its pages as the tensor cores want it: one warp copies it, the others bring the
// queries of the next item. An 8-bit cache is widened to bf16 on the way by all four warps: codes are exact
// in bf16; where scales are dynamic, code * scale is rounded to bf16.
#pragma once

#include "backend/cuda/device/mma.h"
#include "backend/cuda/kernels/attention_prefill.cuh"
#include "backend/cuda/kernels/attention_rows.cuh"

namespace octet::cuda {

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
__device__ void load_queries(const PrefillArgs& a, const S& shared, const PrefillItem& item, int buffer,
                             int thread) {
  constexpr int kChunks = S::kTile / (kPrefillRows * 16);  // of 8 dimensions, a row
  const bool whole = a.head_dim % 8 == 0 && a.q_stride % 8 == 0 && reinterpret_cast<uintptr_t>(a.q) % 16 == 0;
  uint8_t* to = shared.query(buffer);
  for (int i = thread; i < kPrefillRows * kChunks; i += S::kQueryThreads) {
    const int32_t row = i / kChunks, dim = i % kChunks * 8;
    const bool exists = row < item.n_rows && dim < a.head_dim;
    const int32_t head = item.kv_head * a.group + row % a.group;
    const __nv_bfloat16* from =
        exists ? a.q + (item.token + row / a.group) * a.q_stride + head * a.head_dim + dim : a.q;
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
  await_copies();
  const float scale = a.score_scale * (a.k_scale != nullptr ? a.k_scale[item.kv_head] : 1.0f);
  if constexpr (S::kHalfQueries) {
    for (int i = thread; i < kPrefillRows * kChunks; i += S::kQueryThreads) {
      const int32_t row = i / kChunks, dim = i % kChunks * 8;
      auto* at = reinterpret_cast<uint4*>(to + swizzled(row, dim));
      uint4 bits = *at;
      uint32_t x[4] = {bits.x, bits.y, bits.z, bits.w};
      const float power = query_to_half<kChunks>(x);
      *at = {x[0], x[1], x[2], x[3]};
      if (dim == 0) shared.row_scale(buffer)[row] = scale * power;
    }
  } else {
    for (int row = thread; row < kPrefillRows; row += S::kQueryThreads) shared.row_scale(buffer)[row] = scale;
  }
  async_proxy_fence();
  barrier_arrive(shared.query_full(buffer));
}

// The pages of the 32 page positions from a tile's first on, one a lane.
__device__ __forceinline__ int32_t prefill_pages(const PrefillArgs& a, const PrefillItem& item,
                                                 int32_t tile) {
  const int32_t page = tile * (kPrefillKeys / a.layout.page_size) + threadIdx.x % 32;
  if (page * a.layout.page_size >= item.context) return 0;
  return a.page_table[int64_t{item.seq} * a.page_table_stride + page];
}

// 16 bit: K or V of one tile by one warp. pages: the tile's, from lane `at` on.
template <class S>
__device__ void copy_tile(const PrefillArgs& a, const PrefillItem& item, int32_t tile, bool value,
                          uint8_t* to, uint32_t barrier, int32_t pages, int32_t at) {
  constexpr int kPanels = S::kTile / S::kPanel;
  const int lane = threadIdx.x % 32;
  const int32_t page_size = a.layout.page_size, valid = min(kPrefillKeys, item.context - tile * kPrefillKeys);
  const int panel = lane % kPanels, index = lane / kPanels;
  const int32_t page = __shfl_sync(~0u, pages, min(at + index, 31));
  const int32_t rows =
      index < kPrefillKeys / page_size ? max(0, min(page_size, valid - index * page_size)) : 0;
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
    const uint8_t* from = a.pages + page * a.layout.page_bytes + item.kv_head * int64_t{a.layout.head_bytes} +
                          (value ? a.layout.v_offset : 0) + panel * page_size * 128;
    bulk_copy(shared_address(to) + panel * S::kPanel + index * page_size * 128, from, rows * 128, barrier);
  }
}

// Two bf16 of two 8-bit codes in the lower bytes, times a scale each.
template <QType kType>
__device__ __forceinline__ uint32_t widen(uint32_t codes, float scale0, float scale1) {
  const uint32_t halves =
      kType == QType::kInt8 ? biased_int8x2_to_f16x2<0x4140>(codes ^ 0x8080u) : e4m3x2_to_f16x2(codes);
  const float2 x = __half22float2(*reinterpret_cast<const __half2*>(&halves));
  return pack<__nv_bfloat16>(x.x * scale0, x.y * scale1);
}

// 8 bit: a block of 16 keys a warp at a time. K: a lane has 8 dimensions of keys g and g + 8; V: 4 dimensions
// of keys 2c, 2c + 1, 2c + 8, 2c + 9.
template <class S>
__device__ void widen_block(const PrefillArgs& a, const uint8_t* head, bool value, int32_t page_row,
                            int32_t valid, int32_t row, uint8_t* to) {
  constexpr int kDim = S::kTile / (kPrefillKeys * 2);
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  const uint8_t* codes = head + (value ? a.layout.v_offset : 0) + page_row * kDim + lane * 16;
  uint4 r[kDim / 32];
#pragma unroll
  for (int j = 0; j < kDim / 32; ++j) r[j] = *reinterpret_cast<const uint4*>(codes + j * 512);
  const float* scales = reinterpret_cast<const float*>(head + a.layout.scale_offset) +
                        (value ? a.layout.page_size : 0) + page_row;
  int32_t keys[4];  // of the four words
  float scale[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    keys[i] = value ? 2 * c + i % 2 + i / 2 * 8 : g + i / 2 * 8;
    scale[i] = keys[i] >= valid ? 0.0f : a.dynamic_scales ? scales[keys[i]] : 1.0f;
  }
#pragma unroll
  for (int j = 0; j < kDim / 32; ++j) {
    uint32_t words[4] = {r[j].x, r[j].y, r[j].z, r[j].w};
    uint32_t wide[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (keys[i] >= valid) words[i] = 0;  // may be NaN
      wide[i][0] = widen<S::kType>(words[i] & 0xffffu, scale[i], scale[i]);
      wide[i][1] = widen<S::kType>(words[i] >> 16, scale[i], scale[i]);
    }
    if (value) {
      const int32_t dim = j * 32 + g * 4;
#pragma unroll
      for (int i = 0; i < 4; ++i)
        *reinterpret_cast<uint2*>(to + swizzled(row + keys[i], dim / 8 * 8) + dim % 8 * 2) = {wide[i][0],
                                                                                              wide[i][1]};
    } else {
#pragma unroll
      for (int i = 0; i < 4; i += 2)
        *reinterpret_cast<uint4*>(to + swizzled(row + keys[i], j * 32 + c * 8)) = {
            wide[i][0], wide[i][1], wide[i + 1][0], wide[i + 1][1]};
    }
  }
}

// K or V of one tile by the four warps.
template <class S>
__device__ void widen_tile(const PrefillArgs& a, const PrefillItem& item, int32_t tile, bool value,
                           uint8_t* to, uint32_t barrier, int32_t pages, int32_t at) {
  const int warp = threadIdx.x / 32 % 4;
  const int32_t page_size = a.layout.page_size, valid = min(kPrefillKeys, item.context - tile * kPrefillKeys);
#pragma unroll
  for (int b = 0; b < kPrefillKeys / 64; ++b) {
    const int32_t row = (b * 4 + warp) * 16;
    const int32_t page = __shfl_sync(~0u, pages, min(at + row / page_size, 31));
    const uint8_t* head = a.pages + page * a.layout.page_bytes + item.kv_head * int64_t{a.layout.head_bytes};
    widen_block<S>(a, head, value, row % page_size, valid - row, row, to);
  }
  async_proxy_fence();
  barrier_arrive(barrier);
}

// All items' keys and values, through the ring.
template <class S>
__device__ void load_cache(const PrefillArgs& a, const S& shared, const PrefillItem& item, uint32_t& count) {
  const int32_t per_tile = kPrefillKeys / a.layout.page_size;
  int32_t base = item.first;
  int32_t pages = prefill_pages(a, item, base);
  for (int32_t tile = item.first; tile < item.last; ++tile, ++count) {
    if ((tile - base) * per_tile >= 32) {
      base = tile;
      pages = prefill_pages(a, item, base);
    }
    const int slot = count % S::kStages;
    const uint32_t round = count / S::kStages;
    const auto fill = [&](bool value, uint8_t* to, uint32_t full, uint32_t empty) {
      if (round > 0) barrier_wait(empty, (round - 1) & 1);
      if constexpr (S::kEightBit) {
        widen_tile<S>(a, item, tile, value, to, full, pages, (tile - base) * per_tile);
      } else {
        copy_tile<S>(a, item, tile, value, to, full, pages, (tile - base) * per_tile);
      }
    };
    fill(false, shared.key(slot), shared.key_full(slot), shared.key_empty(slot));
    fill(true, shared.value(slot), shared.value_full(slot), shared.value_empty(slot));
  }
}

template <class S>
__device__ void prefill_load(const PrefillArgs& a, const S& shared) {
  const int warp = threadIdx.x / 32 % 4;
  const bool loads_cache = S::kEightBit || warp == 0, loads_query = S::kEightBit || warp != 0;
  uint32_t count = 0;
  PrefillWalk walk;
  PrefillItem item;
  for (int n_items = 0; walk.next(a, item); ++n_items) {
    const int buffer = n_items % 2;
    if (loads_query) {
      if (n_items >= 2) barrier_wait(shared.query_empty(buffer), (n_items / 2 - 1) & 1);
      load_queries(a, shared, item, buffer, threadIdx.x % 128 - (S::kEightBit ? 0 : 32));
    }
    if (loads_cache) load_cache(a, shared, item, count);
  }
}

}  // namespace octet::cuda
