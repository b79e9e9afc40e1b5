// Attention of a few consecutive tokens of one sequence, for the query heads that share one kv head.
//
// Rows are tokens x heads of the group, so that K and V are read once for all of them:
//   s = q . K;  p = exp2(s * softmax_scale * log2(e) - max);  o = p . V / sum(p)
// with the usual running maximum and sum. Keys are taken in blocks of kBlockKeys counted from position 0, and
// blocks in segments of kSegmentKeys that are begun afresh and merged in order: both independent of the
// tile's size and of who works on which segment. A key that a row must not see has p = 0 exactly, which
// changes no sum. So the bits of a row depend on its own sequence alone.
//
// Operations: 4 * rows * keys * head_dim; bytes: the tile's K and V once. With the rows of a decode this is
// bound by memory, with those of a prefill by the multipliers.
#pragma once

#include "backend/cpu/isa.h"
#include "backend/cpu/kv_layout.h"

namespace octet::cpu {

inline constexpr int32_t kBlockKeys = 64, kSegmentKeys = 256;
inline constexpr int32_t kTileRows = 48;  // aimed at: the tile's operands then fit into the first-level cache

struct AttentionTile {
  const float* q = nullptr;  // [n_tokens, group, head_dim], q_stride from token to token
  int64_t q_stride = 0;
  int32_t n_tokens = 0, group = 0;
  int32_t first_position = 0;  // of the first token; the others follow
  int32_t window = 0;          // as AttentionSpec
  float softmax_scale = 0;
  const uint8_t* pool = nullptr;   // this kv head's block in page 0
  const int32_t* pages = nullptr;  // of this sequence

  int32_t rows() const { return n_tokens * group; }
  int32_t last_position() const { return first_position + n_tokens - 1; }
  int32_t first_key() const {
    return window > 0 && first_position >= window ? first_position - window + 1 : 0;
  }
  int32_t first_segment() const { return first_key() / kSegmentKeys; }
  int32_t last_segment() const { return last_position() / kSegmentKeys; }
};

// Sums over some of the keys, for `rows` rows: o = sum(p v), not divided yet, [rows, head_dim_padded]; l =
// sum(p); m the maximum that p is relative to, in powers of two.
struct AttentionState {
  float* o = nullptr;
  float* m = nullptr;
  float* l = nullptr;
};

// Memory that one thread works in. Sizes are for the most rows of a tile.
struct AttentionScratch {
  void* q = nullptr;         // [rows, head_dim] in the multiplier's type
  float* scores = nullptr;   // [rows, kBlockKeys]
  void* p = nullptr;         // [rows, kBlockKeys] in the multiplier's type
  uint16_t* k = nullptr;     // [kBlockKeys, head_dim] panels of an 8-bit cache in bf16
  uint16_t* v = nullptr;     // [kBlockKeys, head_dim_padded] likewise
  float* k_scale = nullptr;  // [kBlockKeys]
  float* v_scale = nullptr;
  AttentionState segment, total;

  // Takes its arrays from `memory`; returns the bytes it needs, alone if memory is null.
  size_t carve(uint8_t* memory, int32_t rows, const AttentionSpec& spec);
};

struct AttentionKernels {
  // Makes ready for `attend`: the tile's queries into scratch.q.
  void (*load_queries)(const AttentionTile&, const KvLayout&, const AttentionScratch&);
  // The keys of one segment into `out`.
  void (*attend)(const AttentionTile&, const KvLayout&, const AttentionScratch&, int32_t segment,
                 const AttentionState& out);
  // The state of no keys.
  void (*clear)(int32_t rows, int32_t width, const AttentionState& state);
  // total = total and segment together.
  void (*merge)(int32_t rows, int32_t width, const AttentionState& segment, const AttentionState& total);
  // out [rows, head_dim] = total.o / total.l; rows of a token are adjacent, tokens out_stride apart.
  void (*finish)(const AttentionTile&, const KvLayout&, const AttentionState& total, float* out,
                 int64_t out_stride);
};

// `type` of the cache.
const AttentionKernels& attention_kernels(Isa isa, QType type);

// Instantiations, each in a file compiled for its instruction set: for f16, and for bf16 and the 8-bit types.
extern const AttentionKernels kAttentionGenericF16, kAttentionGenericBf16, kAttentionAvx2F16,
    kAttentionAvx2Bf16, kAttentionAvx512F16, kAttentionAvx512Bf16;

}  // namespace octet::cpu
