// What the kernel for many tokens (gemm_tile.cuh) does with a tile's sums: scaled and packed in registers,
// then through shared memory to where they belong by TMA; or written from registers where TMA cannot (f32,
// rows that are not aligned).
//
// A thread holds rows h = 0 and 1 (8 apart) of blocks of eight columns: d[4 b + 2 h + e] is column 8 b + e
// from its own, e = 0 and 1, which are neighbours.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/mma.h"
#include "backend/cuda/device/tma.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_output.cuh"

namespace octet::cuda {

struct TileArgs {
  TensorMap weights, tokens;
  TensorMap results;  // boxes of 64 rows x 32 columns, gated: 16, codes: all of a tile's; where out.vectors
  GemmOutput out;
  int32_t blocks = 0;  // of 128 bytes of k
  TileGrid grid;
  int32_t group = 1;   // pairs of token tiles whose tiles come one after the other
  bool twos = false;   // f32 results can be written two at a time
  bool plain = false;  // 8 bit: both scales; none in 16 bit; no bias, no zero point
};

// kBoxes times 32 columns of a warpgroup's 64 rows, packed, through shared memory to global memory.
template <int kBoxes>
__device__ __forceinline__ void tile_store(const TileArgs& a, const uint32_t* packed, uint32_t results,
                                           int32_t row, int32_t column) {
  const int thread = threadIdx.x % 128, lane = threadIdx.x % 32, group = threadIdx.x / 128;
  if (thread == 0) bulk_store_wait_read();  // of the columns before
  named_barrier_sync(group, 128);
  // Lanes 8 i to 8 i + 7 address rows of matrix i: rows 0 to 7, 8 to 15, the same eight columns on.
  // Rows of 64 bytes under the 64-byte swizzle.
  const uint32_t to = results + (thread / 32 * 16 + lane % 16) * 64 + ((lane / 16) ^ (lane / 2 % 4)) * 16;
#pragma unroll
  for (int q = 0; q < 2 * kBoxes; ++q)
    store_matrices((to ^ (q % 2 * 32)) + q / 2 * 4096, packed[4 * q], packed[4 * q + 1], packed[4 * q + 2],
                   packed[4 * q + 3]);
  async_proxy_fence();
  named_barrier_sync(group, 128);
  if (thread == 0 && row < a.out.m) {
    for (int box = 0; box < kBoxes; ++box)
      if (column + 32 * box < a.out.n) {
        if (a.out.add) {
          add_box(results + 4096 * box, &a.results, column + 32 * box, row);
        } else {
          store_box(results + 4096 * box, &a.results, column + 32 * box, row);
        }
      }
    bulk_store_commit();
  }
}

// The same of gated results, kBoxes times 16 columns: halves as pairs under the 32-byte swizzle, or the codes
// of pairs in rows without gaps.
template <int kBoxes>
__device__ __forceinline__ void tile_store_gated(const TileArgs& a, const uint32_t (&packed)[4 * kBoxes],
                                                 uint32_t results, int32_t row, int32_t column) {
  const int thread = threadIdx.x % 128, lane = threadIdx.x % 32, group = threadIdx.x / 128;
  const bool codes = is_codes(a.out.type);
  if (thread == 0) bulk_store_wait_read();  // of the tile before
  named_barrier_sync(group, 128);
  if (codes) {
    const uint32_t to = results + (thread / 32 * 16 + lane / 4) * 16 * kBoxes + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4 * kBoxes; ++i)
      store_shared_half(to + i % 2 * 8 * 16 * kBoxes + i / 2 * 8, static_cast<uint16_t>(packed[i]));
  } else {
    const uint32_t to = results + (thread / 32 * 16 + lane % 16) * 32 + ((lane / 16) ^ (lane / 4 % 2)) * 16;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box)
      store_matrices(to + 2048 * box, packed[4 * box], packed[4 * box + 1], packed[4 * box + 2],
                     packed[4 * box + 3]);
  }
  async_proxy_fence();
  named_barrier_sync(group, 128);
  if (thread == 0 && row < a.out.m) {
    if (codes) {
      if (column < a.out.columns()) store_box(results, &a.results, column, row);
    } else {
      for (int box = 0; box < kBoxes; ++box)
        if (column + 16 * box < a.out.columns())
          store_box(results + 2048 * box, &a.results, column + 16 * box, row);
    }
    bulk_store_commit();
  }
}

struct RowScales {
  float scale[2];
  int32_t zero[2];
};

// Scales of the weight's rows for pairs j of a thread, columns 8 j and 8 j + 1 from `column`.
template <int kPairs>
__device__ __forceinline__ void load_scales(const TileArgs& a, int32_t column, float2 (&scales)[kPairs]) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {  // n is even here
    const int32_t at = min(column + 8 * j, a.out.n - 2);
    scales[j] = __ldg(reinterpret_cast<const float2*>(a.out.w_scale + at));
  }
}

// Sums scaled and packed in pairs: packed[2 j + h] is row 8 h, columns 8 j and 8 j + 1 from `column`.
template <class Type, int kFirst, int kPairs, class Sum, int kCount>
__device__ __forceinline__ void pack_plain(const Sum (&d)[kCount], const RowScales& rows,
                                           const float2 (&scales)[kPairs], uint32_t (&packed)[kCount / 2]) {
#pragma unroll
  for (int i = 2 * kFirst; i < 2 * (kFirst + kPairs); ++i) {
    float low = static_cast<float>(d[2 * i]), high = static_cast<float>(d[2 * i + 1]);
    if constexpr (Type::kBytes == 1) {
      low = __fmul_rn(__fmul_rn(low, rows.scale[i % 2]), scales[i / 2 - kFirst].x);
      high = __fmul_rn(__fmul_rn(high, rows.scale[i % 2]), scales[i / 2 - kFirst].y);
    }
    packed[i] = bf16_pair(low, high);
  }
}
template <class Sum, int kCount>
__device__ __forceinline__ void pack_any(const GemmOutput& out, const Sum (&d)[kCount], int32_t column,
                                         const RowScales& rows, uint32_t (&packed)[kCount / 2]) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const int32_t at = column + i / 2 * 8;
    float v[2] = {};
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if (at + e < out.n)
        v[e] = out.value(d[2 * i + e], at + e, rows.scale[i % 2], rows.zero[i % 2], out.column_scale(at + e));
    packed[i] = bf16_pair(v[0], v[1]);
  }
}

// Gates are the even blocks of eight columns, their factors the odd ones: packed[2 j + h] is row 8 h, results
// 8 j and 8 j + 1 from column / 2, as two halves or two codes. Of kPairs of the thread's blocks, from kFirst.
template <class Type, bool kPlain, int kFirst, int kPairs, class Sum, int kCount>
__device__ __forceinline__ void pack_gated(const TileArgs& a, const Sum (&d)[kCount], int32_t column,
                                           const RowScales& rows, const float2 (&scales)[kPairs],
                                           float inverse, uint32_t (&packed)[kCount / 4]) {
#pragma unroll
  for (int i = kFirst; i < kFirst + kPairs; i += 2) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float v[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float part[2];  // gate, factor
#pragma unroll
        for (int p = 0; p < 2; ++p) {
          const Sum sum = d[4 * (i + p) + 2 * h + e];
          if constexpr (kPlain) {
            part[p] = static_cast<float>(sum);
            if constexpr (Type::kBytes == 1) {
              const float2& scale = scales[i + p - kFirst];
              part[p] = __fmul_rn(__fmul_rn(part[p], rows.scale[h]), e == 0 ? scale.x : scale.y);
            }
          } else {
            const int32_t at = min(column + 8 * (i + p) + e, a.out.n - 1);
            part[p] = a.out.value(sum, at, rows.scale[h], rows.zero[h], a.out.column_scale(at));
          }
        }
        v[e] = silu_mul(part[0], part[1]);
      }
      packed[i + h] = is_codes(a.out.type) ? code_pair(a.out.type, v[0], v[1], inverse)
                                           : half_pair(a.out.type, v[0], v[1]);
    }
  }
}

// Sums straight to where they belong: f32, or rows that TMA cannot write.
template <class Sum, int kCount>
__device__ __forceinline__ void write_sums(const TileArgs& a, const Sum (&d)[kCount], int32_t row,
                                           int32_t column, const RowScales& rows) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const int32_t r = row + i % 2 * 8, c = column + i / 2 * 8;
    if (r >= a.out.m || c >= a.out.n) continue;
    const auto value = [&](int e) {
      return a.out.value(d[2 * i + e], c + e, rows.scale[i % 2], rows.zero[i % 2], a.out.column_scale(c + e));
    };
    if (a.twos) {
      *reinterpret_cast<float2*>(static_cast<float*>(a.out.d) + r * a.out.stride + c) =
          make_float2(value(0), value(1));
    } else {
      a.out.store(r, c, value(0), 1);
      if (c + 1 < a.out.n) a.out.store(r, c + 1, value(1), 1);
    }
  }
}
template <class Sum, int kCount>
__device__ __forceinline__ void write_gated(const TileArgs& a, const Sum (&d)[kCount], int32_t row,
                                            int32_t column, const RowScales& rows, float inverse) {
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    const int h = i / 2 % 2, e = i % 2, block = i / 4 * 2;
    const int32_t r = row + 8 * h, c = column + 8 * block + e;
    if (r >= a.out.m || c >= a.out.n) continue;
    const auto value = [&](int p) {
      return a.out.value(d[4 * (block + p) + 2 * h + e], c + 8 * p, rows.scale[h], rows.zero[h],
                         a.out.column_scale(c + 8 * p));
    };
    a.out.store(r, (c - c % 8) / 2 + c % 8, silu_mul(value(0), value(1)), inverse);
  }
}

}  // namespace octet::cuda
