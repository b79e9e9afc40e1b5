// Few tokens: weights are wgmma's rows, tokens its columns, so that no product is wasted on rows that are not
// there.
//
//   bytes   n k weights once, m k activations from L2 for every tile of 64 or 128 weight rows
//   bound   by memory up to about 128 tokens: what counts is bytes in flight from the first cycle to the last
//
// One warp brings 128-byte columns of both operands through a ring of stages; one or two warpgroups multiply.
// Weights come before the kernel before this one ends (nothing there writes them), activations after. Two
// CTAs fit a multiprocessor, so the next product of the stream fills its ring while this one drains. Where a
// shape has fewer tiles than the GPU has places, the CTAs of a cluster split k; each adds up its share of the
// tile's results over all of them through shared memory, in the order of their ranks.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/cluster.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/device/tma.h"
#include "backend/cuda/device/wgmma.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_output.cuh"

namespace octet::cuda {

inline constexpr int kMaxStages = 32;

struct StreamArgs {
  TensorMap weights, tokens;
  GemmOutput out;
  int32_t stages = 0;
  int32_t split = 1, blocks = 0, blocks_per_split = 0;  // a block: a stage's worth of k
  int32_t token_tiles = 1;
};

// `kRows` weight rows x `kTokens`.
template <class Type, int kRows, int kTokens>
struct StreamTile {
  static constexpr int kThreads = 2 * kRows;                           // that multiply
  static constexpr int kPanels = kTokens <= 64 ? 2 : 1;                // of 128 bytes of k in a stage
  static constexpr int kWeights = kRows * 128, kActs = kTokens * 128;  // bytes of a panel
  static constexpr int kStageBytes = kPanels * (kWeights + kActs);
  static constexpr int kPitch = kRows + 4;  // of a token's results in shared memory: no bank conflicts
};

template <class Tile>
__device__ void stream_load(const StreamArgs& a, uint32_t ring, uint32_t full, uint32_t empty, int32_t first,
                            int32_t count, int32_t row, int32_t token) {
  const uint64_t once = evict_first_policy(), again = evict_last_policy();
  const auto weights = [&](int32_t i, int32_t stage) {
    const uint32_t to = ring + stage * Tile::kStageBytes;
    barrier_arrive_expect(full + 8 * stage, Tile::kStageBytes);
    for (int p = 0; p < Tile::kPanels; ++p)
      load_box(to + p * Tile::kWeights, &a.weights, ((first + i) * Tile::kPanels + p) * 128, row,
               full + 8 * stage, a.token_tiles > 1 ? evict_normal_policy() : once);
  };
  const auto tokens = [&](int32_t i, int32_t stage) {
    const uint32_t to = ring + stage * Tile::kStageBytes + Tile::kPanels * Tile::kWeights;
    for (int p = 0; p < Tile::kPanels; ++p)
      load_box(to + p * Tile::kActs, &a.tokens, ((first + i) * Tile::kPanels + p) * 128, token,
               full + 8 * stage, again);
  };
  const int32_t early = min(count, a.stages);
  for (int32_t i = 0; i < early; ++i) weights(i, i);
  let_next_kernel_start();
  wait_for_previous_kernel();
  for (int32_t i = 0; i < early; ++i) tokens(i, i);
  int32_t stage = 0;
  uint32_t phase = 0;
  for (int32_t i = early; i < count; ++i) {
    barrier_wait(empty + 8 * stage, phase);
    weights(i, stage);
    tokens(i, stage);
    if (++stage == a.stages) stage = 0, phase ^= 1;
  }
}

// One panel: four steps of k.
template <class Type, int kTokens, class Sum, int kCount>
__device__ __forceinline__ void multiply_panel(Sum (&d)[kCount], uint32_t a, uint32_t b, bool fresh) {
  const uint64_t da = wgmma_descriptor(a), db = wgmma_descriptor(b);
#pragma unroll
  for (int step = 0; step < 4; ++step)
    Wgmma<Type, kTokens>::run(d, da + 2 * step, db + 2 * step, fresh && step == 0 ? 0 : 1);
}

// This warpgroup's 64 rows, over its blocks of k.
template <class Type, class Tile, int kTokens, bool kPromote, class Sum, int kCount>
__device__ void stream_multiply(const StreamArgs& a, uint32_t ring, uint32_t full, uint32_t empty,
                                int32_t count, Sum (&d)[kCount]) {
  const int group = threadIdx.x / 128;
  const bool leader = threadIdx.x % 32 == 0;
  int32_t stage = 0, last = 0;
  uint32_t phase = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) d[i] = 0;
  for (int32_t i = 0; i < count; ++i) {
    barrier_wait(full + 8 * stage, phase);
    const uint32_t weights = ring + stage * Tile::kStageBytes + group * 64 * 128;
    const uint32_t tokens = ring + stage * Tile::kStageBytes + Tile::kPanels * Tile::kWeights;
    if constexpr (kPromote) {
      Sum part[kCount];
#pragma unroll
      for (int p = 0; p < Tile::kPanels; ++p) {
        wgmma_pin(part);
        wgmma_fence();
        multiply_panel<Type, kTokens>(part, weights + p * Tile::kWeights, tokens + p * Tile::kActs, true);
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_pin(part);
#pragma unroll
        for (int j = 0; j < kCount; ++j) d[j] += part[j];
      }
      if (leader) barrier_arrive(empty + 8 * stage);
    } else {
      wgmma_pin(d);
      wgmma_fence();
#pragma unroll
      for (int p = 0; p < Tile::kPanels; ++p)
        multiply_panel<Type, kTokens>(d, weights + p * Tile::kWeights, tokens + p * Tile::kActs, false);
      wgmma_commit();
      wgmma_wait<1>();  // the stage before this one is read
      if (leader && i > 0) barrier_arrive(empty + 8 * last);
    }
    last = stage;
    if (++stage == a.stages) stage = 0, phase ^= 1;
  }
  wgmma_wait<0>();
  wgmma_pin(d);
}

template <class Type, int kRows, int kTokens, bool kPromote>
__global__ __launch_bounds__(2 * kRows + 32) void stream_kernel(const __grid_constant__ StreamArgs a) {
  using Tile = StreamTile<Type, kRows, kTokens>;
  using Sum = typename Type::Sum;
  extern __shared__ uint8_t dynamic[];
  __shared__ alignas(8) uint64_t barriers[2 * kMaxStages];
  const uint32_t full = shared_address(barriers), empty = full + 8 * kMaxStages;
  const uint32_t ring = (shared_address(dynamic) + 1023) & ~1023u;
  const int32_t rank = blockIdx.x % a.split, tile = blockIdx.x / a.split;
  const int32_t token = tile % a.token_tiles * kTokens, row = tile / a.token_tiles * kRows;
  const int32_t first = min(a.blocks, rank * a.blocks_per_split);
  const int32_t count = min(a.blocks - first, a.blocks_per_split);
  if (threadIdx.x == 0) {
    for (int i = 0; i < a.stages; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, Tile::kThreads / 32);
    }
    barrier_init_fence();
    prefetch_tensor_map(&a.weights);
    prefetch_tensor_map(&a.tokens);
  }
  __syncthreads();

  // Results as [token][row], over the ring when all of it is read.
  constexpr uint32_t kPitchBytes = Tile::kPitch * 4;
  if (threadIdx.x < Tile::kThreads) {
    Sum d[kTokens / 2];
    wait_for_previous_kernel();
    stream_multiply<Type, Tile, kTokens, kPromote>(a, ring, full, empty, count, d);
    named_barrier_sync(1, Tile::kThreads);
    const int32_t lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
    const uint32_t to = ring + (threadIdx.x / 32 * 16 + g) * 4;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t bits;
        if constexpr (__is_same(Sum, float)) {
          bits = __float_as_uint(d[4 * j + i]);
        } else {
          bits = static_cast<uint32_t>(d[4 * j + i]);
        }
        asm volatile(
            "st.shared.u32 [%0], %1;" ::"r"(to + (8 * j + 2 * c + (i & 1)) * kPitchBytes + (i >> 1) * 32),
            "r"(bits)
            : "memory");
      }
    }
  } else if (threadIdx.x == Tile::kThreads) {
    stream_load<Tile>(a, ring, full, empty, first, count, row, token);
  }
  __syncwarp();
  if (a.split > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }

  if (threadIdx.x < Tile::kThreads) {
    constexpr int kEights = kRows / 8;
    const int32_t items = min(kTokens, a.out.m - token) * kEights;
    for (int32_t i = rank * Tile::kThreads + threadIdx.x; i < items; i += a.split * Tile::kThreads) {
      const uint32_t from = ring + i / kEights * kPitchBytes + i % kEights * 32;
      Sum sums[8] = {};
      for (int32_t s = 0; s < a.split; ++s) {
        const uint32_t address = a.split > 1 ? map_shared(from, s) : from;
        const uint4 low = load_cluster(address), high = load_cluster(address + 16);
        const uint32_t bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if constexpr (__is_same(Sum, float)) {
            sums[j] += __uint_as_float(bits[j]);
          } else {
            sums[j] += static_cast<int32_t>(bits[j]);
          }
        }
      }
      if (row + i % kEights * 8 < a.out.n)
        write_eight(a.out, token + i / kEights, row + i % kEights * 8, sums);
    }
  }
  if (a.split > 1) cluster_sync();  // others may still read this CTA's results
}

}  // namespace octet::cuda
