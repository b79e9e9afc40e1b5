// Many tokens: tiles of 128 tokens x kColumns rows of the weight; the CTAs of a cluster stand two along m and
// kAcross (1 or 2) along n.
//
//   bound   by the tensor cores; for each 128 bytes of k a tile brings 128 / kAcross + kColumns / 2 rows of
//           them from L2
//
// Persistent. One thread brings both operands through a ring of stages. CTAs beside each other along m share
// their weights, those beside each other along n their tokens: each brings half and sends it to both, for
// without that L2 would be the bound; a stage is free when the warpgroups of all who share it have read it.
// Two warpgroups multiply 64 tokens each. When a tile's sums are complete they are scaled and packed in
// registers; then the next tile's products begin, and behind them the packed results go through shared memory
// to where they belong. The second warpgroup starts a block of k late, so that the tensor cores work for one
// while the other packs.
//
// Where the last 256 tokens are 128 or fewer, their tiles are flat: the CTAs of a cluster stand along n, each
// with weights of its own. A warpgroup without tokens passes its stages on.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/cluster.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/device/tma.h"
#include "backend/cuda/device/wgmma.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_tile_results.cuh"

namespace octet::cuda {

inline constexpr int kTileThreads = 384;
inline constexpr int64_t kKeptTokenBytes = 16 << 20;  // of about 50 MB of L2

// The order of tiles: down a group of pairs of token tiles before the next columns, so that what many read at
// a time stays in L2; flat ones in the end.
struct TilePlace {
  int32_t token;   // the cluster's first
  int32_t column;  // of tiles, of flat ones the first of two
  bool flat;
  __device__ static TilePlace at(const TileArgs& a, int32_t i) {
    const int32_t whole = a.grid.pairs * a.grid.columns;
    if (i >= whole) return {a.grid.pairs * 256, 2 * (i - whole), true};
    const int32_t group = i / (a.group * a.grid.columns), rest = i - group * a.group * a.grid.columns;
    const int32_t height = min(a.group, a.grid.pairs - group * a.group);
    return {(group * a.group + rest % height) * 256, rest / height, false};
  }
};

template <int kColumns, int kAcross>
struct TileShape {
  static constexpr int kSharers =
      1 + kAcross;  // CTAs whose loads come here, and whose share is free with ours
  static constexpr int kStages = kColumns > 128 ? 4 : 6;
  static constexpr int kTokenBytes = 128 * 128, kStageBytes = kTokenBytes + kColumns * 128;
  static constexpr int kCount = kColumns / 2;   // sums a thread holds
  static constexpr int kBoxes = kColumns / 32;  // of results
  // Shared memory: the ring; results of a warpgroup, 128 columns at a time; barriers.
  static constexpr int kResults = kStages * kStageBytes, kResultBytes = 64 * 128 * 2;
  static constexpr int kBarriers = kResults + 2 * kResultBytes;
  static constexpr int kSharedBytes = kBarriers + 2 * 8 * kStages;
};

template <int kStages>
struct RingPlace {
  int32_t stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

template <class Shape, int kColumns, int kAcross>
__device__ __forceinline__ void tile_load(const TileArgs& a, uint32_t shared, uint32_t rank) {
  const uint32_t full = shared + Shape::kBarriers, empty = full + 8 * Shape::kStages;
  const uint32_t down = rank % 2, across = rank / 2;
  // Every column of tiles reads the tokens, which stay in L2 where they leave room; weights that one pair of
  // token tiles reads leave it.
  const bool few = int64_t{a.out.m} * a.blocks * 128 <= kKeptTokenBytes;
  const uint64_t again = few ? evict_last_policy() : evict_normal_policy(),
                 once = a.out.m <= 256 ? evict_first_policy() : evict_normal_policy();
  const int32_t tiles = a.grid.tiles();
  const auto weights = [&](const TilePlace& place, int32_t block, int32_t stage) {
    constexpr int32_t kHalf = kColumns / 2;
    const uint32_t to = shared + stage * Shape::kStageBytes + Shape::kTokenBytes;
    barrier_arrive_expect(full + 8 * stage, Shape::kStageBytes);
    if (place.flat) {
      const int32_t row = (place.column + static_cast<int32_t>(down)) * kColumns;
      for (int32_t half = 0; half < 2; ++half)
        load_box(to + half * kHalf * 128, &a.weights, block * 128, row + half * kHalf, full + 8 * stage,
                 once);
    } else {
      load_box_multicast(to + down * kHalf * 128, &a.weights, block * 128,
                         (place.column * kAcross + across) * kColumns + down * kHalf, full + 8 * stage,
                         static_cast<uint16_t>(3 << 2 * across), once);
    }
  };
  const auto tokens = [&](const TilePlace& place, int32_t block, int32_t stage) {
    const uint32_t to = shared + stage * Shape::kStageBytes;
    const int32_t row = place.token + (place.flat ? 0 : static_cast<int32_t>(down) * 128);
    if constexpr (kAcross == 1) {
      load_box(to, &a.tokens, block * 128, row, full + 8 * stage, again);
    } else {
      load_box_multicast(to + across * 64 * 128, &a.tokens, block * 128, row + across * 64, full + 8 * stage,
                         static_cast<uint16_t>(5 << down), again);
    }
  };
  // The first stages' weights come before the kernel before this one has ended.
  int32_t tile = cluster_index();
  const int32_t early = min(a.blocks, Shape::kStages);
  for (int32_t i = 0; i < early; ++i) weights(TilePlace::at(a, tile), i, i);
  let_next_kernel_start();
  wait_for_previous_kernel();
  for (int32_t i = 0; i < early; ++i) tokens(TilePlace::at(a, tile), i, i);
  RingPlace<Shape::kStages> at;
  for (int32_t i = 0; i < early; ++i) at.next();
  bool filled = early == Shape::kStages;  // the ring once, so that stages must be waited for
  for (int32_t block = early; tile < tiles; tile += cluster_count(), block = 0) {
    const TilePlace place = TilePlace::at(a, tile);
    for (; block < a.blocks; ++block) {
      if (filled) barrier_wait(empty + 8 * at.stage, at.phase ^ 1);
      weights(place, block, at.stage);
      tokens(place, block, at.stage);
      at.next();
      filled |= at.stage == 0;
    }
  }
}

template <class Type, int kColumns, int kAcross, bool kGated>
__device__ __forceinline__ void tile_multiply(const TileArgs& a, uint32_t shared) {
  using Shape = TileShape<kColumns, kAcross>;
  using Sum = typename Type::Sum;
  constexpr int kCount = Shape::kCount;
  const uint32_t full = shared + Shape::kBarriers, empty = full + 8 * Shape::kStages;
  const int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
  const uint32_t results = shared + Shape::kResults + group * Shape::kResultBytes;
  const auto rank = static_cast<int32_t>(cluster_rank());
  const int32_t tiles = a.grid.tiles();
  RingPlace<Shape::kStages> at;
  int32_t last = 0;
  Sum d[kCount];
  uint32_t packed[kGated ? kCount / 4 : kCount / 2] = {};
  bool pending = false;
  float inverse = 1;
  int32_t stored_row = 0, stored_column = 0;

  const auto issue = [&](bool fresh) {
    barrier_wait(full + 8 * at.stage, at.phase);
    const uint32_t stage = shared + at.stage * Shape::kStageBytes;
    const uint64_t tokens = wgmma_descriptor(stage + group * 64 * 128),
                   weights = wgmma_descriptor(stage + Shape::kTokenBytes);
    wgmma_pin(d);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step)
      Wgmma<Type, kColumns>::run(d, tokens + 2 * step, weights + 2 * step, fresh && step == 0 ? 0 : 1);
    wgmma_commit();
  };
  // A warp's arrival at the stage's barrier of every CTA that brings a part of it: lane 0 at ours, lane 1 at
  // that of the other along m, lane 2 along n.
  const auto release = [&](int32_t stage) {
    if (lane < Shape::kSharers) barrier_arrive_cluster(map_shared(empty + 8 * stage, rank ^ lane));
  };
  // The products before those just issued are done.
  const auto settle = [&] {
    wgmma_wait<1>();
    release(last);
    last = at.stage;
    at.next();
  };

  // The tile before, in one turn or two.
  const auto store_first = [&] {
    if constexpr (kGated) {
      tile_store_gated<kColumns / 32>(a, packed, results, stored_row, stored_column / 2);
    } else {
      tile_store<4>(a, packed, results, stored_row, stored_column);
    }
  };
  const auto store_rest = [&] {
    if constexpr (!kGated && Shape::kBoxes > 4)
      tile_store<Shape::kBoxes - 4>(a, packed + 32, results, stored_row, stored_column + 128);
  };

  wait_for_previous_kernel();
  if constexpr (kGated) inverse = a.out.inverse();
  if (group == 1) named_barrier_sync(3, 256);
  bool first = true;
  for (int32_t tile = cluster_index(); tile < tiles; tile += cluster_count()) {
    const TilePlace place = TilePlace::at(a, tile);
    const int32_t row = place.token + (place.flat ? 0 : rank % 2 * 128) + group * 64;
    const int32_t column =
        (place.flat ? place.column + rank % 2 : place.column * kAcross + rank / 2) * kColumns;
    if (row >= a.out.m) {  // no token of this tile is ours
      if (pending) {
        store_first();
        store_rest();
      }
      pending = false;
      if (first && group == 0) named_barrier_arrive(3, 256);
      first = false;
      for (int32_t block = 0; block < a.blocks; ++block) {
        barrier_wait(full + 8 * at.stage, at.phase);
        release(at.stage);
        at.next();
      }
      continue;
    }
    issue(true);
    last = at.stage;
    at.next();
    if (pending) store_first();
    if (a.blocks > 1) {
      issue(false);
      settle();
    }
    if (first && group == 0) named_barrier_arrive(3, 256);
    first = false;
    if (pending) store_rest();
    for (int32_t block = 2; block < a.blocks; ++block) {
      issue(false);
      settle();
    }
    // What the sums are multiplied by comes while the last products run.
    const int32_t own_row = row + threadIdx.x % 128 / 32 * 16 + lane / 4, own_column = column + lane % 4 * 2;
    RowScales rows;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool inside = own_row + 8 * h < a.out.m;
      rows.scale[h] = inside ? a.out.row_scale(own_row + 8 * h) : 0;
      rows.zero[h] = inside ? a.out.row_zero(own_row + 8 * h) : 0;
    }
    constexpr int kPairs = kCount / 8;
    const bool scaled = Type::kBytes == 1 && a.plain;
    float2 scales[kPairs] = {};
    if (scaled) load_scales(a, own_column, scales);
    wgmma_wait<0>();
    wgmma_pin(d);
    release(last);
    if constexpr (kGated) {
      if (a.out.vectors) {
        if (a.plain) {
          float2 more[kPairs] = {};
          if (scaled) load_scales(a, own_column + 8 * kPairs, more);
          pack_gated<Type, true, 0>(a, d, own_column, rows, scales, inverse, packed);
          pack_gated<Type, true, kPairs>(a, d, own_column, rows, more, inverse, packed);
        } else {
          pack_gated<Type, false, 0>(a, d, own_column, rows, scales, inverse, packed);
          pack_gated<Type, false, kPairs>(a, d, own_column, rows, scales, inverse, packed);
        }
      } else {
        write_gated(a, d, own_row, own_column, rows, inverse);
      }
    } else if (!a.out.vectors) {
      write_sums(a, d, own_row, own_column, rows);
    } else if (a.plain) {
      float2 more[kPairs] = {};
      if (scaled) load_scales(a, own_column + 8 * kPairs, more);
      pack_plain<Type, 0>(d, rows, scales, packed);
      pack_plain<Type, kPairs>(d, rows, more, packed);
    } else {
      pack_any(a.out, d, own_column, rows, packed);
    }
    pending = a.out.vectors, stored_row = row, stored_column = column;
  }
  if (pending) {
    store_first();
    store_rest();
    if (threadIdx.x % 128 == 0) bulk_store_wait();
  }
}

template <class Type, int kColumns, int kAcross, bool kGated>
__global__ __launch_bounds__(kTileThreads, 1) void tile_kernel(const __grid_constant__ TileArgs a) {
  using Shape = TileShape<kColumns, kAcross>;
  const uint32_t shared = shared_address(dynamic_shared_memory());
  const uint32_t full = shared + Shape::kBarriers, empty = full + 8 * Shape::kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shape::kStages; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, 8 * Shape::kSharers);  // of every warp that multiplies
    }
    barrier_init_fence();
    prefetch_tensor_map(&a.weights);
    prefetch_tensor_map(&a.tokens);
    if (a.out.vectors) prefetch_tensor_map(&a.results);
  }
  cluster_sync();
  if (threadIdx.x < 128) {
    set_register_limit_down<40>();
    if (threadIdx.x == 0) tile_load<Shape, kColumns, kAcross>(a, shared, cluster_rank());
  } else {
    set_register_limit_up<232>();
    tile_multiply<Type, kColumns, kAcross, kGated>(a, shared);
  }
  __syncwarp();
  cluster_sync();  // others may still write here
}

}  // namespace octet::cuda
