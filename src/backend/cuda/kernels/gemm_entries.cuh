// The tiles that exist, for one operand type.
#pragma once

#include "backend/cuda/kernels/gemm_launch.h"
#include "backend/cuda/kernels/gemm_stream.cuh"
#include "backend/cuda/kernels/gemm_tile.cuh"

namespace octet::cuda {

template <class Type, bool kPromote>
const void* stream_tile(int32_t rows, int32_t tokens) {
#define OCTET_TILE(r, t) \
  if (rows == r && tokens == t) return reinterpret_cast<const void*>(&stream_kernel<Type, r, t, kPromote>);
  OCTET_TILE(64, 8)
  OCTET_TILE(64, 16)
  OCTET_TILE(64, 32)
  OCTET_TILE(64, 64)
  OCTET_TILE(64, 128)
  OCTET_TILE(128, 64)
  OCTET_TILE(128, 128)
  if constexpr (!kPromote) {
    OCTET_TILE(64, 256)
    OCTET_TILE(128, 256)
  }
#undef OCTET_TILE
  return nullptr;
}

template <class Type>
const void* stream_entry(const GemmPlan& plan) {
  if constexpr (__is_same(Type, E4M3)) {
    if (plan.promote) return stream_tile<Type, true>(plan.tile_n, plan.tile_m);
  }
  return plan.promote ? nullptr : stream_tile<Type, false>(plan.tile_n, plan.tile_m);
}

template <class Type>
const void* tile_entry(const GemmPlan& plan, bool gated) {
  if (plan.promote || plan.tile_m != 128) return nullptr;
#define OCTET_TILE(n, four)                                                                    \
  if (plan.tile_n == n && plan.square == four)                                                 \
    return gated ? reinterpret_cast<const void*>(&tile_kernel < Type, n, four ? 2 : 1, true >) \
                 : reinterpret_cast<const void*>(&tile_kernel < Type, n, four ? 2 : 1, false >);
  OCTET_TILE(128, false)
  OCTET_TILE(128, true)
  OCTET_TILE(192, false)
  OCTET_TILE(224, false)
  OCTET_TILE(256, false)
#undef OCTET_TILE
  return nullptr;
}

}  // namespace octet::cuda
