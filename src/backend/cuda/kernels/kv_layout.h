// What a page of the CUDA backend's key-value cache holds.
//
// Page: one block a kv head, [K codes][V codes][K scales][V scales], so that all of a page that one head's
// attention reads is one contiguous piece: a bulk copy brings it into shared memory in the order in which the
// tensor cores want it, with no tensor map and no shuffling on the way.
//
// 16 bit: K and V are [padded_dim / 64][page_size][64] each: panels whose rows are 128 bytes, their 16-byte
//   chunks permuted by the row (chunk c of row r stands at c ^ (r & 7)): the 128-byte swizzle of WGMMA, also
//   free of bank conflicts for ldmatrix.
// 8 bit: codes are widened in registers, so they stand in the order of mma.m16n8k16's fragments: blocks of 16
//   keys by 32 dimensions, 16 bytes a lane (`code_offset` says which), read by one conflict-free access.
//   Scales: f32 [page_size] of K, then of V; present whether they are used or not (static scales).
//
// padded_dim is head_dim rounded up to 64 or 128. K's padding is zero; V's padding is never looked at.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/ops.h"

#if defined(__CUDACC__)
#define OCTET_HD __host__ __device__ __forceinline__
#else
#define OCTET_HD inline
#endif

namespace octet::cuda {

inline constexpr int32_t kBestPageSize = 64;
inline constexpr int32_t kMaxHeadDim = 128;

struct KvLayout {
  int32_t padded_dim = 0, page_size = 0, code_bytes = 0;
  int32_t v_offset = 0, scale_offset = 0, head_bytes = 0;  // scale_offset: 0 for 16 bit
  int64_t page_bytes = 0;

  KvLayout() = default;
  KvLayout(const AttentionSpec& spec, const KvQuant& quant, int32_t page_tokens)
      : padded_dim(spec.head_dim <= 64 ? 64 : 128), page_size(page_tokens) {
    const bool eight = quant.quantized();
    code_bytes = eight ? 1 : 2;
    v_offset = page_size * padded_dim * code_bytes;
    scale_offset = eight ? 2 * v_offset : 0;
    head_bytes = 2 * v_offset + (eight ? 2 * page_size * 4 : 0);
    page_bytes = int64_t{head_bytes} * spec.n_kv_heads;
  }

  // Bytes from the start of a 16-bit K (or V) panel set to dimension `dim` of the key at `row`; 8 dimensions
  // from a multiple of 8 on are contiguous.
  OCTET_HD int32_t half_offset(int32_t row, int32_t dim) const {
    const int32_t chunk = (dim % 64) / 8 ^ (row & 7);
    return dim / 64 * page_size * 128 + row * 128 + chunk * 16 + dim % 8 * 2;
  }
  // Bytes from the start of the 8-bit K codes; 8 dimensions from a multiple of 8 on are contiguous.
  OCTET_HD int32_t k_code_offset(int32_t row, int32_t dim) const {
    const int32_t lane = row % 8 * 4 + dim % 32 / 8;
    return row / 16 * 16 * padded_dim + dim / 32 * 512 + lane * 16 + row % 16 / 8 * 8 + dim % 8;
  }
  // Bytes from the start of the 8-bit V codes; 4 dimensions from a multiple of 4 on are contiguous.
  OCTET_HD int32_t v_code_offset(int32_t row, int32_t dim) const {
    const int32_t lane = dim % 32 / 4 * 4 + row % 8 / 2;
    return row / 16 * 16 * padded_dim + dim / 32 * 512 + lane * 16 + (row % 2 + row % 16 / 8 * 2) * 4 +
           dim % 4;
  }
};

}  // namespace octet::cuda
