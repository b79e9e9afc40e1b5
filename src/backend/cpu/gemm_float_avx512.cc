// F32 and F16 on AVX-512: F16 is exact as f32, where FMA multiplies: 16 products an instruction. F16 weights
// stay 2 bytes in memory and are expanded a slice at a time, activations a block of rows at a time. At m = 1
// memory bounds both.
//
// Tile: 8 rows x 48 columns: 24 sums, 3 weights, 1 activation in the 32 registers.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 3, kLanes = 16;  // vectors of 16 columns
constexpr int kCols = kVectors * kLanes;
constexpr int64_t kAhead = 2048;  // bytes of the weight stream

__mmask16 first_lanes(int64_t n) {
  return n >= kLanes ? 0xffff : static_cast<__mmask16>((1u << n) - 1);
}

struct F32 {
  using Stored = float;
  static __m512 load16(const Stored* p, __mmask16 valid) { return _mm512_maskz_loadu_ps(valid, p); }
};

struct F16 {
  using Stored = uint16_t;
  static __m512 load16(const Stored* p, __mmask16 valid) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(valid, p));
  }
};

template <typename Format>
void load_a(const void* row, int64_t k, void* out) {
  for (int64_t i = 0; i < k; i += kLanes) {
    const __m512 values =
        Format::load16(static_cast<const typename Format::Stored*>(row) + i, first_lanes(k - i));
    _mm512_storeu_ps(static_cast<float*>(out) + i, values);
  }
}

template <typename Format>
void expand_b(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const typename Format::Stored*>(slice);
  for (int64_t i = 0; i < groups * kCols; i += kLanes) {
    _mm_prefetch(reinterpret_cast<const char*>(in + i) + kAhead, _MM_HINT_T0);
    _mm512_store_ps(static_cast<float*>(out) + i, Format::load16(in + i, first_lanes(kLanes)));
  }
}

template <int kM>
void tile(const TileArgs& t) {
  constexpr int kLines = lines_ahead(kM);
  auto* sums = static_cast<float*>(t.sums);
  __m512 sum[kM][kVectors];
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = t.add ? _mm512_loadu_ps(sums + i * t.sums_stride + v * kLanes) : _mm512_setzero_ps();
    }
  }
  const auto* a = static_cast<const char*>(t.a);
  const auto* b = static_cast<const float*>(t.b);
  const char* next = t.next;
  for (int64_t k = 0; k < t.groups; ++k, a += sizeof(float), b += kCols, next += t.next_step) {
    OCTET_UNROLL
    for (int line = 0; line < kLines; ++line) _mm_prefetch(next + line * 64, _MM_HINT_T1);
    __m512 w[kVectors];
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      w[v] = _mm512_load_ps(b + v * kLanes);
      OCTET_IN_REGISTER(w[v]);
    }
    OCTET_UNROLL
    for (int i = 0; i < kM; ++i) {
      const __m512 row =
          _mm512_set1_ps(*reinterpret_cast<const float*>(a + static_cast<size_t>(i) * t.a_stride));
      OCTET_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_fmadd_ps(row, w[v], sum[i][v]);
    }
  }
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sums + i * t.sums_stride + v * kLanes, sum[i][v]);
  }
}

void finish(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const float*>(f.sums) + i * f.sums_stride;
    for (int j = 0; j < f.cols; j += kLanes) {
      const __m512 result = _mm512_add_ps(_mm512_loadu_ps(sums + j), _mm512_loadu_ps(f.bias + j));
      _mm512_mask_storeu_ps(f.d + i * f.d_stride + j, first_lanes(f.cols - j), result);
    }
  }
}

template <typename Format, bool kExpand>
constexpr GemmKernel kernel() {
  return {.mr = 8,
          .nr = kCols,
          .k_group = 1,
          .k_pad = 1,
          .k_block = 160,
          .w_bits = 8 * sizeof(typename Format::Stored),
          .a_bytes = sizeof(float),
          .b_bytes = sizeof(float),
          .order = nullptr,
          .load_a = load_a<Format>,
          .expand_b = kExpand ? expand_b<Format> : nullptr,
          .tile = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>},
          .finish = finish};
}

constexpr GemmKernel kF32 = kernel<F32, false>();
constexpr GemmKernel kF16 = kernel<F16, true>();

}  // namespace

const GemmKernel& float_kernel_avx512(QType type) {
  return type == QType::kF16 ? kF16 : kF32;
}

}  // namespace octet
