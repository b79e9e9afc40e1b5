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

// `kTileRows` weight rows x `kTileTokens`.
template <class Type, int kTileRows, int kTileTokens>
struct StreamTile {
  static constexpr int kRows = kTileRows, kTokens = kTileTokens;
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
               full + 8 * stage, once);
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

// Sums of kCount neighbouring rows of the weight for a token, from the CTAs that share the tile, in the order
// of their ranks.
template <class Sum, int kCount>
__device__ __forceinline__ void gather_sums(uint32_t from, int32_t split, Sum (&sums)[kCount]) {
  const auto add = [&](int part, const uint4& four) {
    const uint32_t bits[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (__is_same(Sum, float)) {
        sums[4 * part + i] += __uint_as_float(bits[i]);
      } else {
        sums[4 * part + i] += static_cast<int32_t>(bits[i]);
      }
    }
  };
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] = 0;
  if (split == 1) {
#pragma unroll
    for (int part = 0; part < kCount / 4; ++part) add(part, load_shared(from + 16 * part));
    return;
  }
  for (int32_t s = 0; s < split; ++s) {
    const uint32_t address = map_shared(from, s);
#pragma unroll
    for (int part = 0; part < kCount / 4; ++part) add(part, load_cluster(address + 16 * part));
  }
}

// The tile's results, [token][row] in shared memory, a token's scale behind its rows: a thread takes kCount
// rows, the same of every token. Theirs were loaded before.
template <class Type, class Tile, int kCount>
__device__ __forceinline__ void stream_write(const StreamArgs& a, uint32_t results, const float (&scales)[16],
                                             int32_t rank, int32_t row, int32_t token) {
  constexpr int kGroups = Tile::kRows / kCount, kStep = Tile::kThreads / kGroups;
  const int32_t group = threadIdx.x % kGroups, column = row + group * kCount;
  if (column >= a.out.n) return;
  const int32_t tokens = min(Tile::kTokens, a.out.m - token);
  const float inverse = a.out.inverse();
#pragma unroll 2
  for (int32_t t = rank * kStep + threadIdx.x / kGroups; t < tokens; t += a.split * kStep) {
    typename Type::Sum sums[kCount];
    const uint32_t from = results + t * Tile::kPitch * 4;
    gather_sums(from + group * kCount * 4, a.split, sums);
    const float scale = __uint_as_float(load_shared(from + Tile::kRows * 4).x);
    const int32_t zero = a.out.row_zero(token + t);
    float v[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      v[i] = a.out.value(sums[i], min(column + i, a.out.n - 1), scale, zero, scales[i]);
    if constexpr (kCount == 16) {
      float product[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) product[i] = silu_mul(v[i], v[8 + i]);
      write_eight(a.out, token + t, column / 2, inverse, product);
    } else {
      write_eight(a.out, token + t, column, inverse, v);
    }
  }
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
  float scales[16];  // of this thread's columns of results: no kernel of a step writes them
  if (threadIdx.x < Tile::kThreads) {
    const int32_t taken = a.out.gated ? 16 : 8;
    a.out.column_scales(row + threadIdx.x % (kRows / taken) * taken, scales);
    Sum d[kTokens / 2];
    wait_for_previous_kernel();
    constexpr int kScales = (kTokens + Tile::kThreads - 1) / Tile::kThreads;
    float own[kScales];
#pragma unroll
    for (int i = 0; i < kScales; ++i)
      own[i] =
          a.out.row_scale(min(token + static_cast<int32_t>(threadIdx.x) + i * Tile::kThreads, a.out.m - 1));
    stream_multiply<Type, Tile, kTokens, kPromote>(a, ring, full, empty, count, d);
    named_barrier_sync(1, Tile::kThreads);
#pragma unroll
    for (int i = 0; i < kScales; ++i)
      if (const uint32_t t = threadIdx.x + i * Tile::kThreads; t < kTokens)
        store_shared(ring + t * kPitchBytes + kRows * 4, __float_as_uint(own[i]));
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
        store_shared(to + (8 * j + 2 * c + (i & 1)) * kPitchBytes + (i >> 1) * 32, bits);
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
    if (a.out.gated) {
      stream_write<Type, Tile, 16>(a, ring, scales, rank, row, token);
    } else {
      stream_write<Type, Tile, 8>(a, ring, scales, rank, row, token);
    }
  }
  if (a.split > 1) cluster_sync();  // others may still read this CTA's results
}

}  // namespace octet::cuda
