// F32, F16, BF16 and FP8 on AVX2: all are exact as f32, where FMA multiplies: 16 products a cycle and core.
// Weights stay 1, 2 or 4 bytes in memory and are expanded a slice at a time, activations a block of rows at a
// time. At m = 1 memory bounds it (fp8: its expansion nearly so).
//
//   bf16   shifted left by 16
//   f16    vcvtph2ps
//   fp8    E4M3 s.eeee.mmm put where f16 has its sign, lower exponent and upper mantissa bits: f16 reads the
//          value times 2^-8 (bias 15 for 7), subnormals included, which the activations undo by 2^16
//
// Tile: 4 rows x 24 columns: 12 sums, 3 weights, 1 activation in the 16 registers.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 3, kLanes = 8;  // vectors of 8 columns
constexpr int kCols = kVectors * kLanes;
constexpr int64_t kAhead = 1024;  // bytes of the weight stream

struct F32 {
  using Stored = float;
  static constexpr float kActivationScale = 1;
  static __m256 load8(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
};

struct BF16 {
  using Stored = uint16_t;
  static constexpr float kActivationScale = 1;
  static __m256 load8(const void* p) {
    const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr float kActivationScale = 1;
  static __m256 load8(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
};

// Values times 2^-8.
struct Fp8 {
  using Stored = uint8_t;
  static constexpr float kActivationScale = 65536;
  static __m256 load8(const void* p) {
    const __m128i bits = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
    const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_andnot_si128(_mm_set1_epi16(0x7f), bits), 8);
    const __m128i nan = _mm_slli_epi16(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f)), 10);
    const __m128i half = _mm_or_si128(_mm_or_si128(sign, nan), _mm_slli_epi16(magnitude, 7));
    return _mm256_cvtph_ps(half);
  }
};

template <typename Format>
void load_a(const void* row, int64_t k, void* out) {
  using Stored = typename Format::Stored;
  const auto* in = static_cast<const Stored*>(row);
  auto* to = static_cast<float*>(out);
  const __m256 scale = _mm256_set1_ps(Format::kActivationScale);
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) _mm256_storeu_ps(to + i, _mm256_mul_ps(Format::load8(in + i), scale));
  if (i == k) return;
  Stored rest[kLanes] = {};
  alignas(32) float values[kLanes];
  for (int64_t j = i; j < k; ++j) rest[j - i] = in[j];
  _mm256_store_ps(values, _mm256_mul_ps(Format::load8(rest), scale));
  for (int64_t j = i; j < k; ++j) to[j] = values[j - i];
}

template <typename Format>
void expand_b(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const typename Format::Stored*>(slice);
  auto* to = static_cast<float*>(out);
  for (int64_t i = 0; i < groups * kCols; i += kLanes) {
    _mm_prefetch(reinterpret_cast<const char*>(in + i) + kAhead, _MM_HINT_T0);
    _mm256_store_ps(to + i, Format::load8(in + i));
  }
}

template <int kM>
void tile(const TileArgs& t) {
  auto* sums = static_cast<float*>(t.sums);
  __m256 sum[kM][kVectors];
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = t.add ? _mm256_load_ps(sums + i * kCols + v * kLanes) : _mm256_setzero_ps();
    }
  }
  const auto* a = static_cast<const char*>(t.a);
  const auto* b = static_cast<const float*>(t.b);
  const char* next = t.next;
  for (int64_t k = 0; k < t.groups; ++k, a += sizeof(float), b += kCols, next += t.next_step) {
    _mm_prefetch(next, _MM_HINT_T1);
    __m256 w[kVectors];
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) w[v] = _mm256_load_ps(b + v * kLanes);
    OCTET_UNROLL
    for (int i = 0; i < kM; ++i) {
      const __m256 row =
          _mm256_broadcast_ss(reinterpret_cast<const float*>(a + static_cast<size_t>(i) * t.a_stride));
      OCTET_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(row, w[v], sum[i][v]);
    }
  }
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm256_store_ps(sums + i * kCols + v * kLanes, sum[i][v]);
  }
}

void finish(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const float*>(f.sums) + i * kCols;
    const __m256 scale = _mm256_broadcast_ss(f.a_scale + i * f.a_scale_step);
    float* d = f.d + i * f.d_stride;
    for (int j = 0; j < f.cols; j += kLanes) {
      const __m256 scales = _mm256_mul_ps(scale, _mm256_loadu_ps(f.w_scale + j));
      const __m256 result = _mm256_fmadd_ps(_mm256_load_ps(sums + j), scales, _mm256_loadu_ps(f.bias + j));
      if (f.cols - j >= kLanes) {
        _mm256_storeu_ps(d + j, result);
      } else {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_ps(d + j, _mm256_cmpgt_epi32(_mm256_set1_epi32(f.cols - j), lane), result);
      }
    }
  }
}

template <typename Format, bool kExpand>
constexpr GemmKernel kernel() {
  return {.mr = 4,
          .nr = kCols,
          .k_group = 1,
          .k_block = 256,
          .w_bytes = sizeof(typename Format::Stored),
          .a_bytes = sizeof(float),
          .b_bytes = sizeof(float),
          .order = nullptr,
          .load_a = load_a<Format>,
          .expand_b = kExpand ? expand_b<Format> : nullptr,
          .tile = {tile<1>, tile<2>, tile<3>, tile<4>},
          .finish = finish};
}

constexpr GemmKernel kF32 = kernel<F32, false>();
constexpr GemmKernel kF16 = kernel<F16, true>();
constexpr GemmKernel kBF16 = kernel<BF16, true>();
constexpr GemmKernel kFp8 = kernel<Fp8, true>();

}  // namespace

const GemmKernel& float_kernel_avx2(QType type) {
  switch (type) {
    case QType::kF16:
      return kF16;
    case QType::kBF16:
      return kBF16;
    case QType::kFp8:
      return kFp8;
    default:
      return kF32;
  }
}

}  // namespace octet
