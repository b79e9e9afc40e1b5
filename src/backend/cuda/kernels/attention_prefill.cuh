// The prefill kernel's arguments, its shared memory and its list of work.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_limits.h"
#include "backend/cuda/kernels/encode.cuh"
#include "backend/cuda/kernels/kv_layout.h"

namespace octet::cuda {

inline constexpr int kPrefillThreads = 384;  // a warpgroup that loads, two that compute

struct PrefillArgs {
  const __nv_bfloat16* q = nullptr;  // [n_tokens, q_stride]
  int64_t q_stride = 0;
  const uint8_t* pages = nullptr;
  KvLayout layout;
  const int32_t *query_start = nullptr, *context_lens = nullptr, *page_table = nullptr;
  int32_t page_table_stride = 0;
  int32_t n_heads = 0, n_kv_heads = 0, group = 0, head_dim = 0, window = 0;
  PrefillTile* tiles = nullptr;
  int32_t n_tiles = 0;
  bool take_turns = true;       // the computing warpgroups issue their products one after the other
  float score_scale = 0;        // of q . k, in powers of two
  bool dynamic_scales = false;  // 8 bit: one a token and head, in the page
  const float *k_scale = nullptr, *v_scale = nullptr;  // [n_kv_heads] static scales, else null
  RowEncoder out;
  RowEncoder rows;  // bf16 [n_tokens, n_heads * head_dim]: results that wait for their token's scale
};

void launch_prefill(const PrefillArgs& args, QType cache, cudaStream_t stream);

// One tile of one kv head: up to 128 rows, row r being query head r % group of token r / group.
struct PrefillItem {
  int32_t tile = 0, kv_head = 0, seq = 0;
  int32_t token = 0;  // the first, in the batch
  int32_t n_rows = 0;
  int32_t position = 0;  // of the first token
  int32_t context = 0;
  int32_t first = 0, last = 0;  // tiles of keys

  // The i-th of this block; tile < 0: there is none. Rounds alternate their direction, because items come
  // longest first.
  __device__ static PrefillItem at(const PrefillArgs& a, int32_t i) {
    const int32_t blocks = gridDim.x, place = i % 2 == 0 ? blockIdx.x : blocks - 1 - blockIdx.x;
    const int64_t index = int64_t{i} * blocks + place;
    PrefillItem item;
    item.tile = -1;
    if (index >= int64_t{a.n_tiles} * a.n_kv_heads) return item;
    item.tile = static_cast<int32_t>(index / a.n_kv_heads);
    item.kv_head = static_cast<int32_t>(index % a.n_kv_heads);
    item.seq = a.tiles[item.tile].seq;
    const int32_t first_token = a.tiles[item.tile].first_token, begin = a.query_start[item.seq];
    const int32_t n_new = a.query_start[item.seq + 1] - begin;
    const int32_t n_tokens = min(kPrefillRows / a.group, n_new - first_token);
    item.context = a.context_lens[item.seq];
    item.token = begin + first_token;
    item.n_rows = n_tokens * a.group;
    item.position = item.context - n_new + first_token;
    const int32_t first_key = a.window > 0 ? max(0, item.position + 1 - a.window) : 0;
    item.first = first_key / kPrefillKeys;
    item.last = (item.position + n_tokens - 1) / kPrefillKeys + 1;
    return item;
  }
  // How many rounds `at` may be asked for: rounds of the reversed kind can be empty before the last one.
  __device__ static int32_t rounds(const PrefillArgs& a) {
    return static_cast<int32_t>((int64_t{a.n_tiles} * a.n_kv_heads + gridDim.x - 1) / gridDim.x);
  }
};

template <QType kCacheType, int kDim>
struct PrefillShared {
  static constexpr QType kType = kCacheType;
  static constexpr bool kEightBit = kType == QType::kInt8 || kType == QType::kFp8;
  static constexpr int kStages = kDim == 64 ? 4 : 2;
  static constexpr int kPanel = kPrefillKeys * 128;      // bytes of 64 columns of a tile
  static constexpr int kTile = kPrefillKeys * kDim * 2;  // bytes of Q, K or V
  static constexpr int kQuery = 0, kKey = 2 * kTile, kValue = kKey + kStages * kTile;
  static constexpr int kRowScale = kValue + kStages * kTile;  // f32 [2][128]
  static constexpr int kBarriers = kRowScale + 2 * kPrefillRows * 4;
  static constexpr int kBytes = kBarriers + 8 * (4 + 4 * kStages) + 16;
  // Threads that bring Q: all that load, or those that a bulk copy of K and V leaves free.
  static constexpr int kQueryThreads = kEightBit ? 128 : 96;

  uint8_t* base;
  __device__ uint8_t* query(int i) const { return base + kQuery + i * kTile; }
  __device__ uint8_t* key(int i) const { return base + kKey + i * kTile; }
  __device__ uint8_t* value(int i) const { return base + kValue + i * kTile; }
  __device__ float* row_scale(int i) const {
    return reinterpret_cast<float*>(base + kRowScale) + i * kPrefillRows;
  }
  __device__ uint32_t barrier(int i) const { return shared_address(base + kBarriers) + 8 * i; }
  __device__ uint32_t query_full(int i) const { return barrier(i); }
  __device__ uint32_t query_empty(int i) const { return barrier(2 + i); }
  __device__ uint32_t key_full(int i) const { return barrier(4 + i); }
  __device__ uint32_t key_empty(int i) const { return barrier(4 + kStages + i); }
  __device__ uint32_t value_full(int i) const { return barrier(4 + 2 * kStages + i); }
  __device__ uint32_t value_empty(int i) const { return barrier(4 + 3 * kStages + i); }
  __device__ int32_t* flag() const { return reinterpret_cast<int32_t*>(base + kBytes - 16); }

  __device__ void init_barriers() const {
    for (int i = 0; i < 2; ++i) {
      barrier_init(query_full(i), kQueryThreads);
      barrier_init(query_empty(i), 8);
    }
    for (int i = 0; i < kStages; ++i) {
      barrier_init(key_full(i), kEightBit ? 128 : 1);
      barrier_init(value_full(i), kEightBit ? 128 : 1);
      barrier_init(key_empty(i), 8);
      barrier_init(value_empty(i), 8);
    }
    barrier_init_fence();
  }
};

// Bytes from a tile's start to dimension `dim` (a multiple of 8) of row `row`, under the 128-byte swizzle.
__device__ __forceinline__ uint32_t swizzled(int32_t row, int32_t dim) {
  return dim / 64 * (kPrefillKeys * 128) + row * 128 + ((dim % 64 / 8 ^ (row & 7)) << 4);
}

}  // namespace octet::cuda
