// INT8 on AVX2: exact int32 sums of products of any codes.
//
// vpmaddubsw would take 32 products at once, but saturates (2 * 255 * 127 > 32,767), and the ways around
// that (sign transfer, splitting weights) cost the instructions that it saves. So both operands are widened
// to 16 bits, where vpmaddwd is exact: 16 products and their first addition in one instruction, of which Zen
// 3 issues two a cycle, with the vpaddd beside each: 32 products a cycle and core. Weights stay bytes in
// memory and are widened a slice at a time, activations a block of rows at a time; at m = 1 this keeps ahead
// of memory, which bounds it there.
//
// Tile: 6 rows x 16 columns, k by twos: 12 sums, 2 weights, 1 activation pair and 1 product in the 16
// registers.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 2, kLanes = 8;  // vectors of 8 columns
constexpr int kCols = kVectors * kLanes;
constexpr int kUnroll = 2;        // groups an iteration: with one, issuing the loop itself costs a tenth
constexpr int64_t kAhead = 1024;  // bytes of the weight stream

void load_a(const void* row, int64_t k, void* out) {
  const auto* in = static_cast<const int8_t*>(row);
  auto* to = static_cast<int16_t*>(out);
  int64_t i = 0;
  for (; i + 16 <= k; i += 16) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_cvtepi8_epi16(codes));
  }
  for (; i < k; ++i) to[i] = in[i];
  for (; i % (2 * kUnroll) != 0; ++i) to[i] = 0;
}

void expand_b(const void* slice, int64_t groups, void* out) {
  constexpr int kBytes = 16;  // widened at once
  const auto* in = static_cast<const char*>(slice);
  auto* to = static_cast<__m256i*>(out);
  for (int64_t g = 0; g < groups; g += kUnroll, in += kUnroll * kVectors * kBytes, to += kUnroll * kVectors) {
    _mm_prefetch(in + kAhead, _MM_HINT_T0);
    OCTET_UNROLL
    for (int v = 0; v < kUnroll * kVectors; ++v) {
      const __m128i codes = _mm_load_si128(reinterpret_cast<const __m128i*>(in + v * kBytes));
      _mm256_store_si256(to + v, _mm256_cvtepi8_epi16(codes));
    }
  }
}

__m256i load_sums(const int32_t* sums) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
}

template <int kM>
void tile(const TileArgs& t) {
  auto* sums = static_cast<int32_t*>(t.sums);
  __m256i sum[kM][kVectors];
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = t.add ? load_sums(sums + i * t.sums_stride + v * kLanes) : _mm256_setzero_si256();
    }
  }
  const auto* a = static_cast<const char*>(t.a);
  const auto* b = static_cast<const __m256i*>(t.b);
  const char* next = t.next;
  for (int64_t g = 0; g < t.groups; g += kUnroll, next += kUnroll * t.next_step) {
    _mm_prefetch(next, _MM_HINT_T1);
    OCTET_UNROLL
    for (int u = 0; u < kUnroll; ++u, a += 4, b += kVectors) {
      __m256i w[kVectors];
      OCTET_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        w[v] = _mm256_load_si256(b + v);
        OCTET_IN_REGISTER(w[v]);
      }
      OCTET_UNROLL
      for (int i = 0; i < kM; ++i) {
        const auto* pair = reinterpret_cast<const float*>(a + static_cast<size_t>(i) * t.a_stride);
        const __m256i row = _mm256_castps_si256(_mm256_broadcast_ss(pair));
        OCTET_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_madd_epi16(row, w[v]));
          OCTET_IN_REGISTER(sum[i][v]);
        }
      }
    }
  }
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i * t.sums_stride + v * kLanes), sum[i][v]);
  }
}

void finish(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const int32_t*>(f.sums) + i * f.sums_stride;
    const int step = i * f.a_scale_step;
    const __m256i zero = _mm256_set1_epi32(f.a_zero != nullptr ? f.a_zero[step] : 0);
    const __m256 scale = _mm256_broadcast_ss(f.a_scale + step);
    float* d = f.d + i * f.d_stride;
    for (int j = 0; j < f.cols; j += kLanes) {
      const __m256i w_sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(f.w_sum + j));
      const __m256i dot = _mm256_sub_epi32(load_sums(sums + j), _mm256_mullo_epi32(zero, w_sum));
      const __m256 scales = _mm256_mul_ps(scale, _mm256_loadu_ps(f.w_scale + j));
      const __m256 result = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scales, _mm256_loadu_ps(f.bias + j));
      if (f.cols - j >= kLanes) {
        _mm256_storeu_ps(d + j, result);
      } else {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_ps(d + j, _mm256_cmpgt_epi32(_mm256_set1_epi32(f.cols - j), lane), result);
      }
    }
  }
}

constexpr GemmKernel kKernel = {.mr = 6,
                                .nr = kCols,
                                .k_group = 2,
                                .k_pad = 2 * kUnroll,
                                .k_block = 576,
                                .w_bits = 8,
                                .a_bytes = 2,
                                .b_bytes = 2,
                                .order = nullptr,
                                .load_a = load_a,
                                .expand_b = expand_b,
                                .tile = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>},
                                .finish = finish};

}  // namespace

const GemmKernel& int8_kernel_avx2() {
  return kKernel;
}

}  // namespace octet
