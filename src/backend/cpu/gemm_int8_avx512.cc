// INT8 on AVX-512 VNNI: exact int32 sums of products of any codes.
//
// vpdpbusd adds four products of unsigned and signed bytes to each of 16 sums, without saturation: 64
// products an instruction, one (Zen 4) or two (Sapphire Rapids) a cycle. The activations are the unsigned
// side: load_a adds 128 by flipping the top bit, and the column sums of w take that back together with the
// input's zero point. Weights are read as they are stored, one byte each; at m = 1 memory bounds it.
//
// Tile: 8 rows x 48 columns, k by fours: 24 sums, 3 weights, 1 activation quad in the 32 registers.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 3, kLanes = 16;  // vectors of 16 columns
constexpr int kCols = kVectors * kLanes;
constexpr int32_t kOffset = 128;

void load_a(const void* row, int64_t k, void* out) {
  const __m512i top = _mm512_set1_epi8(static_cast<char>(kOffset));
  for (int64_t i = 0; i < k; i += 64) {
    const __mmask64 in_row = k - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (k - i)) - 1;
    const __m512i codes = _mm512_maskz_loadu_epi8(in_row, static_cast<const char*>(row) + i);
    _mm512_storeu_si512(static_cast<char*>(out) + i, _mm512_xor_si512(codes, top));
  }
}

template <int kM>
void tile(const TileArgs& t) {
  constexpr int kLines = lines_ahead(kM);
  auto* sums = static_cast<int32_t*>(t.sums);
  __m512i sum[kM][kVectors];
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = t.add ? _mm512_loadu_si512(sums + i * t.sums_stride + v * kLanes) : _mm512_setzero_si512();
    }
  }
  const auto* a = static_cast<const char*>(t.a);
  const auto* b = static_cast<const char*>(t.b);
  const char* next = t.next;
  for (int64_t g = 0; g < t.groups; ++g, a += 4, b += kVectors * 64, next += t.next_step) {
    OCTET_UNROLL
    for (int line = 0; line < kLines; ++line) _mm_prefetch(next + line * 64, _MM_HINT_T1);
    __m512i w[kVectors];
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      w[v] = _mm512_load_si512(b + v * 64);
      OCTET_IN_REGISTER(w[v]);
    }
    OCTET_UNROLL
    for (int i = 0; i < kM; ++i) {
      const __m512i row = _mm512_broadcastd_epi32(_mm_loadu_si32(a + static_cast<size_t>(i) * t.a_stride));
      OCTET_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_dpbusd_epi32(sum[i][v], row, w[v]);
    }
  }
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_si512(sums + i * t.sums_stride + v * kLanes, sum[i][v]);
  }
}

void finish(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const int32_t*>(f.sums) + i * f.sums_stride;
    const int step = i * f.a_scale_step;
    const __m512i zero = _mm512_set1_epi32(kOffset + (f.a_zero != nullptr ? f.a_zero[step] : 0));
    const __m512 scale = _mm512_set1_ps(f.a_scale[step]);
    for (int j = 0; j < f.cols; j += kLanes) {
      const __mmask16 valid =
          f.cols - j >= kLanes ? 0xffff : static_cast<__mmask16>((1u << (f.cols - j)) - 1);
      const __m512i correction = _mm512_mullo_epi32(zero, _mm512_loadu_si512(f.w_sum + j));
      const __m512i dot = _mm512_sub_epi32(_mm512_loadu_si512(sums + j), correction);
      const __m512 scales = _mm512_mul_ps(scale, _mm512_loadu_ps(f.w_scale + j));
      const __m512 result = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scales, _mm512_loadu_ps(f.bias + j));
      _mm512_mask_storeu_ps(f.d + i * f.d_stride + j, valid, result);
    }
  }
}

constexpr GemmKernel kKernel = {
    .mr = 8,
    .nr = kCols,
    .k_group = 4,
    .k_pad = 4,
    .k_block = 576,
    .w_bits = 8,
    .a_bytes = 1,
    .b_bytes = 1,
    .order = nullptr,
    .load_a = load_a,
    .expand_b = nullptr,
    .tile = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>},
    .finish = finish};

}  // namespace

const GemmKernel& int8_kernel_avx512() {
  return kKernel;
}

}  // namespace octet
