// What bringing a tile needs: queries, and a walk over the tiles of keys and their pages.
#pragma once

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

// A query's values as fp16, in place; where its largest is none that fp16 holds well, divided by a power of
// two, which is returned. Either way nothing of bf16 is lost. 16 lanes (8 for heads of 64) share a row.
template <int kLanes>
__device__ __forceinline__ float query_to_half(uint32_t (&x)[4]) {
  float absmax = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) absmax = fmaxf(absmax, fmaxf(fabsf(bf16_low(x[j])), fabsf(bf16_high(x[j]))));
#pragma unroll
  for (int d = 1; d < kLanes; d *= 2) absmax = fmaxf(absmax, __shfl_xor_sync(~0u, absmax, d));
  uint32_t exponent = min(__float_as_uint(absmax) & 0x7f800000u, 0x7e800000u);
  if (exponent == 0 || (absmax >= 0x1p-4f && absmax < 0x1p15f)) exponent = 0x3f800000u;
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
  if constexpr (S::kType != QType::kBF16) {
    constexpr int kChunks = S::kTile / (kPrefillRows * 16);
#pragma unroll 4
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

}  // namespace octet::cuda
