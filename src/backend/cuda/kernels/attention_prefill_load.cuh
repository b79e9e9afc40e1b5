// What loads in the prefill kernel: queries, keys and values into swizzled tiles.
//
// A 16-bit cache stands in its pages as the tensor cores want it: one warp copies it, three bring the queries
// of the next item. An 8-bit cache is widened to 16 bits by two warpgroups, which bring the queries too.
#pragma once

#include "backend/cuda/kernels/attention_prefill_tiles.cuh"
#include "backend/cuda/kernels/attention_prefill_widen.cuh"

namespace octet::cuda {

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

// 16 bit: the queries of all items by three warps.
template <class S>
__device__ void load_queries(const PrefillArgs& a, const S& shared) {
  const int thread = static_cast<int>(threadIdx.x) - 32;
  PrefillWalk walk;
  PrefillItem item;
  for (int n_items = 0; walk.next(a, item); ++n_items) {
    const int buffer = n_items % 2;
    if (n_items >= 2) barrier_wait(shared.query_empty(buffer), (n_items / 2 - 1) & 1);
    begin_queries(a, shared, item, buffer, thread);
    finish_queries(a, shared, item, buffer, thread);
  }
}

template <class S>
__device__ void prefill_load(const PrefillArgs& a, const S& shared) {
  if constexpr (S::kEightBit) {
    if (threadIdx.x < 128) {
      load_codes<S, false>(a, shared);
    } else {
      load_codes<S, true>(a, shared);
    }
  } else if (threadIdx.x < 32) {
    copy_cache(a, shared);
  } else {
    load_queries(a, shared);
  }
}

}  // namespace octet::cuda
