// Products of a warpgroup (four warps, 64 rows): wgmma of 16-bit operands into float.
//
// Shared operands are panels of 128-byte rows (64 elements) under the 128-byte swizzle, from addresses that
// are multiples of 1,024. Fragments in registers are those of mma.m16n8k16 (mma.h), 16 rows a warp: d[4 j +
// i] is register i of columns 8 j to 8 j + 7.
#pragma once

#include <cstdint>
#include <type_traits>

#include <cuda_fp16.h>

#include "backend/cuda/device/wgmma.h"

namespace octet::cuda {

// Rows are the operand's M or N and k runs along them; the next k16 step is 32 bytes on.
__device__ __forceinline__ uint64_t row_operand(uint32_t shared) {
  return wgmma_descriptor(shared);
}
// Rows are k and N runs along them, panels of 64 columns `panel_bytes` apart; the next k16 step is 2,048
// bytes on.
__device__ __forceinline__ uint64_t column_operand(uint32_t shared, uint32_t panel_bytes) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | uint64_t{panel_bytes >> 4} << 16 |
         (shared & 0x3ffff) >> 4;
}
__device__ __forceinline__ uint64_t advance(uint64_t operand, uint32_t bytes) {
  return operand + (bytes >> 4);
}

// Before the first product after registers of the accumulator or of A were written.
__device__ __forceinline__ void products_fence() {
  wgmma_fence();
}
__device__ __forceinline__ void products_commit() {
  wgmma_commit();
}
// Until at most `kPending` committed groups are unfinished.
template <int kPending>
__device__ __forceinline__ void products_wait() {
  wgmma_wait<kPending>();
}
// Keeps uses of an accumulator behind a wait.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
  wgmma_pin(d);
}

template <class T>
using ProductType = std::conditional_t<std::is_same_v<T, __half>, F16, BF16>;

// d (+)= A B^T, 64 x 128 x 16: both row operands. add: false: d is overwritten.
template <class T>
__device__ __forceinline__ void product_rows(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  Wgmma<ProductType<T>, 128>::run(d, a, b, add);
}

// d (+)= A B, 64 x N x 16: A in registers, B a column operand; N is 128 or 64.
template <class T, int kCount>
__device__ __forceinline__ void product_columns(float (&d)[kCount], const uint32_t* a, uint64_t b, bool add) {
  WgmmaColumns<ProductType<T>, 2 * kCount>::run(d, a, b, add);
}

}  // namespace octet::cuda
