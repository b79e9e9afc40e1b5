// The prefill kernel's arguments, its shared memory and its list of work.
#pragma once

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/kernels/attention_args.cuh"
#include "backend/cuda/kernels/encode.cuh"

namespace octet::cuda {

struct PrefillArgs : AttentionArgs {
  const PrefillTile* tiles = nullptr;
  int32_t n_tiles = 0;
  RowEncoder out;              // of any form but one with a scale a token
  uint32_t group_inverse = 0;  // ceil(2^16 / group)

  // The token of a tile's row, row / group: exact for the 128 rows that there are.
  __device__ int32_t token_of(int32_t row) const {
    return static_cast<int32_t>(static_cast<uint32_t>(row) * group_inverse >> 16);
  }
};

cudaError_t prepare_prefill();
void launch_prefill(const PrefillArgs& args, QType cache, cudaStream_t stream);

// One tile of one kv head: row r is query head r % group of token r / group.
struct PrefillItem : PrefillTile {
  int32_t kv_head = 0, n_rows = 0;
};

// The items of one block: rounds alternate their direction, because tiles come longest first.
struct PrefillWalk {
  int32_t round = 0;

  __device__ bool next(const PrefillArgs& a, PrefillItem& item) {
    const int32_t blocks = static_cast<int32_t>(gridDim.x), block = static_cast<int32_t>(blockIdx.x);
    const int32_t index = round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
    if (index >= a.n_tiles * a.n_kv_heads) return false;  // only the last round lacks any
    static_cast<PrefillTile&>(item) = a.tiles[index / a.n_kv_heads];
    item.kv_head = index % a.n_kv_heads;
    item.n_rows = item.n_tokens * a.group;
    ++round;
    return true;
  }
};

template <QType kCacheType, int kDim>
struct PrefillShared {
  static constexpr QType kType = kCacheType;
  static constexpr bool kEightBit = kType == QType::kInt8 || kType == QType::kFp8;
  // Operands of both products. 8-bit codes are exact in either type, and made with less work in fp16, in
  // which weights and what codes are scaled to lose less too.
  using Operand = std::conditional_t<kType == QType::kBF16, __nv_bfloat16, __half>;
  static constexpr int kStages = kDim == 64 ? 4 : 2;
  static constexpr int kPanel = kPrefillKeys * 128;      // bytes of 64 columns of a tile
  static constexpr int kTile = kPrefillKeys * kDim * 2;  // bytes of Q, K or V
  static constexpr int kQuery = 0, kKey = 2 * kTile, kValue = kKey + kStages * kTile;
  static constexpr int kRowScale = kValue + kStages * kTile;  // f32 [2][128]
  // 8 bit: where the scales of a tile's codes land, f32 [128], for K and for V.
  static constexpr int kCodeScale = kRowScale + 2 * kPrefillRows * 4,
                       kCodeScales = kEightBit ? 2 * kStages : 0;
  // 8 bit: a block of 16 keys' codes, and where they land: this far behind its rows of the tile.
  static constexpr int kBlockCodes = 16 * kDim, kLanding = kTile - kPanel;
  static constexpr int kBarriers = kCodeScale + kCodeScales * kPrefillKeys * 4;
  static constexpr int kLandings = kEightBit ? 2 * kStages * 4 : 0;  // one a K or V and warp
  static constexpr int kBytes = kBarriers + 8 * (4 + 4 * kStages + kLandings);
  // Threads that load: a warpgroup, or one for the codes of K and one for those of V; 256 more compute.
  static constexpr int kLoadThreads = kEightBit ? 256 : 128, kThreads = kLoadThreads + 256;
  // Threads that bring Q: all that load, but for the warp that copies K and V.
  static constexpr int kQueryThreads = kEightBit ? 256 : 96;

  uint8_t* base;
  __device__ uint8_t* query(int i) const { return base + kQuery + i * kTile; }
  __device__ uint8_t* key(int i) const { return base + kKey + i * kTile; }
  __device__ uint8_t* value(int i) const { return base + kValue + i * kTile; }
  __device__ float* row_scale(int i) const {
    return reinterpret_cast<float*>(base + kRowScale) + i * kPrefillRows;
  }
  __device__ float* code_scale(bool value, int i) const {
    return reinterpret_cast<float*>(base + kCodeScale) + (value * kStages + i) * kPrefillKeys;
  }
  __device__ uint32_t barrier(int i) const { return shared_address(base + kBarriers) + 8 * i; }
  __device__ uint32_t query_full(int i) const { return barrier(i); }
  __device__ uint32_t query_empty(int i) const { return barrier(2 + i); }
  __device__ uint32_t key_full(int i) const { return barrier(4 + i); }
  __device__ uint32_t key_empty(int i) const { return barrier(4 + kStages + i); }
  __device__ uint32_t value_full(int i) const { return barrier(4 + 2 * kStages + i); }
  __device__ uint32_t value_empty(int i) const { return barrier(4 + 3 * kStages + i); }
  __device__ uint32_t landed(bool value, int i, int warp) const {
    return barrier(4 + 4 * kStages + (value * kStages + i) * 4 + warp);
  }

  __device__ void init_barriers() const {
    for (int i = 0; i < 2; ++i) {
      barrier_init(query_full(i), kQueryThreads / 32);
      barrier_init(query_empty(i), 8);
    }
    for (int i = 0; i < kStages; ++i) {
      barrier_init(key_full(i), kEightBit ? 4 : 1);
      barrier_init(value_full(i), kEightBit ? 4 : 1);
      barrier_init(key_empty(i), 8);
      barrier_init(value_empty(i), 8);
    }
    for (int i = 0; i < kLandings; ++i) barrier_init(landed(false, 0, i), 1);
    barrier_init_fence();
  }
};

// Bytes from a tile's start to dimension `dim` (a multiple of 8) of row `row`, under the 128-byte swizzle.
__device__ __forceinline__ uint32_t swizzled(int32_t row, int32_t dim) {
  return dim / 64 * (kPrefillKeys * 128) + row * 128 + ((dim % 64 / 8 ^ (row & 7)) << 4);
}

}  // namespace octet::cuda
