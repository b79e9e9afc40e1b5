// F32, F16, BF16, FP8, and weights alone of INT8, FP8 or INT4, on AVX2: all are exact as f32, where FMA
// multiplies: 16 products a cycle and core. Weights stay half a byte to 4 bytes in memory and are expanded a
// slice at a time, activations a block of rows at a time. At m = 1 memory bounds it (fp8: its expansion
// nearly so).
//
//   bf16   shifted left by 16
//   f16    vcvtph2ps
//   fp8    E4M3 s.eeee.mmm put where f16 has its sign, lower exponent and upper mantissa bits: f16 reads the
//          value times 2^-8 (bias 15 for 7), subnormals included, which the activations undo
//   int8   sign-extended and converted
//   int4   16 columns of two k in 16 bytes: low bits, then high bits, less 8, converted
//
// Tile: 6 rows x 16 columns: 12 sums, 2 weights, 1 activation in the 16 registers.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 2, kLanes = 8;  // vectors of 8 columns
constexpr int kCols = kVectors * kLanes;
constexpr int kUnroll = 2;        // values of k an iteration
constexpr int64_t kAhead = 1024;  // bytes of the weight stream

struct F32 {
  using Stored = float;
  static constexpr int kShift = 0;
  static void load16(const Stored* p, __m256& low, __m256& high) {
    low = _mm256_loadu_ps(p);
    high = _mm256_loadu_ps(p + 8);
  }
};

struct BF16 {
  using Stored = uint16_t;
  static constexpr int kShift = 0;
  static __m256 load8(const Stored* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void load16(const Stored* p, __m256& low, __m256& high) {
    low = load8(p);
    high = load8(p + 8);
  }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr int kShift = 0;
  static void load16(const Stored* p, __m256& low, __m256& high) {
    low = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    high = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)));
  }
};

// Values times 2^-8.
struct Fp8 {
  using Stored = uint8_t;
  static constexpr int kShift = 8;
  static void load16(const Stored* p, __m256& low, __m256& high) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i bits = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);  // s s eeee mmm 0000000
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi16(0x3f80));
    const __m256i sign = _mm256_and_si256(bits, _mm256_set1_epi16(static_cast<int16_t>(0x8000)));
    // Only the code of NaN, all ones, carries into the exponent's top bit, which makes it f16's NaN too.
    const __m256i carry = _mm256_add_epi16(magnitude, _mm256_set1_epi16(0x80));
    const __m256i nan = _mm256_and_si256(carry, _mm256_set1_epi16(0x4000));
    const __m256i half = _mm256_or_si256(_mm256_or_si256(magnitude, sign), nan);
    low = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
    high = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
  }
};

__m256 float_of(__m128i bytes) {  // the lower eight, signed
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

struct Int8 {
  using Stored = int8_t;
  static constexpr int kShift = 0;
  static void load16(const Stored* p, __m256& low, __m256& high) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    low = float_of(codes);
    high = float_of(_mm_srli_si128(codes, 8));
  }
};

// Rows are scaled by what their own and the weights' expansion leave out: 2^kShift each.
template <typename Format, int kWeightShift>
void load_a(const void* row, int64_t k, void* out) {
  using Stored = typename Format::Stored;
  const auto* in = static_cast<const Stored*>(row);
  auto* to = static_cast<float*>(out);
  const __m256 scale = _mm256_set1_ps(static_cast<float>(1 << (Format::kShift + kWeightShift)));
  for (int64_t i = 0; i < k; i += 16) {
    Stored rest[16] = {};
    for (int64_t j = i; k - i < 16 && j < k; ++j) rest[j - i] = in[j];
    __m256 low, high;
    Format::load16(k - i < 16 ? rest : in + i, low, high);
    _mm256_storeu_ps(to + i, _mm256_mul_ps(low, scale));
    _mm256_storeu_ps(to + i + 8, _mm256_mul_ps(high, scale));
  }
}

template <typename Format>
void expand_b(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const typename Format::Stored*>(slice);
  auto* to = static_cast<float*>(out);
  for (int64_t i = 0; i < groups * kCols; i += 16) {
    _mm_prefetch(reinterpret_cast<const char*>(in + i) + kAhead, _MM_HINT_T0);
    __m256 low, high;
    Format::load16(in + i, low, high);
    _mm256_store_ps(to + i, low);
    _mm256_store_ps(to + i + 8, high);
  }
}

void expand_b_int4(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const char*>(slice);
  auto* to = static_cast<float*>(out);
  const __m128i nibble = _mm_set1_epi8(0x0f), eight = _mm_set1_epi8(8);
  for (int64_t k = 0; k < groups; k += 2, in += kCols, to += 2 * kCols) {
    _mm_prefetch(in + kAhead, _MM_HINT_T0);
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    const __m128i even = _mm_sub_epi8(_mm_and_si128(pairs, nibble), eight);
    const __m128i odd = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(pairs, 4), nibble), eight);
    _mm256_store_ps(to, float_of(even));
    _mm256_store_ps(to + 8, float_of(_mm_srli_si128(even, 8)));
    _mm256_store_ps(to + 16, float_of(odd));
    _mm256_store_ps(to + 24, float_of(_mm_srli_si128(odd, 8)));
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
      sum[i][v] = t.add ? _mm256_loadu_ps(sums + i * t.sums_stride + v * kLanes) : _mm256_setzero_ps();
    }
  }
  const auto* a = static_cast<const char*>(t.a);
  const auto* b = static_cast<const float*>(t.b);
  const char* next = t.next;
  for (int64_t k = 0; k < t.groups; k += kUnroll, next += kUnroll * t.next_step) {
    _mm_prefetch(next, _MM_HINT_T1);
    OCTET_UNROLL
    for (int u = 0; u < kUnroll; ++u, a += sizeof(float), b += kCols) {
      __m256 w[kVectors];
      OCTET_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        w[v] = _mm256_load_ps(b + v * kLanes);
        OCTET_IN_REGISTER(w[v]);
      }
      OCTET_UNROLL
      for (int i = 0; i < kM; ++i) {
        const auto* value = reinterpret_cast<const float*>(a + static_cast<size_t>(i) * t.a_stride);
        const __m256 row = _mm256_broadcast_ss(value);
        OCTET_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(row, w[v], sum[i][v]);
      }
    }
  }
  OCTET_UNROLL
  for (int i = 0; i < kM; ++i) {
    OCTET_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(sums + i * t.sums_stride + v * kLanes, sum[i][v]);
  }
}

void finish(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const float*>(f.sums) + i * f.sums_stride;
    const __m256 scale = _mm256_broadcast_ss(f.a_scale + i * f.a_scale_step);
    float* d = f.d + i * f.d_stride;
    for (int j = 0; j < f.cols; j += kLanes) {
      const __m256 scales = _mm256_mul_ps(scale, _mm256_loadu_ps(f.w_scale + j));
      const __m256 result = _mm256_fmadd_ps(_mm256_loadu_ps(sums + j), scales, _mm256_loadu_ps(f.bias + j));
      if (f.cols - j >= kLanes) {
        _mm256_storeu_ps(d + j, result);
      } else {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_ps(d + j, _mm256_cmpgt_epi32(_mm256_set1_epi32(f.cols - j), lane), result);
      }
    }
  }
}

template <typename Weight, typename Input>
constexpr GemmKernel kernel() {
  return {.mr = 6,
          .nr = kCols,
          .k_group = 1,
          .k_pad = kUnroll,
          .k_block = 288,
          .w_bits = 8 * sizeof(typename Weight::Stored),
          .a_bytes = sizeof(float),
          .b_bytes = sizeof(float),
          .order = nullptr,
          .load_a = load_a<Input, Weight::kShift>,
          .expand_b = sizeof(typename Weight::Stored) < sizeof(float) ? expand_b<Weight> : nullptr,
          .tile = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>},
          .finish = finish};
}

template <typename Input>
constexpr GemmKernel int4_kernel() {
  GemmKernel k = kernel<Int8, Input>();
  k.w_bits = 4;
  k.expand_b = expand_b_int4;
  return k;
}

constexpr GemmKernel kF32 = kernel<F32, F32>();
constexpr GemmKernel kFp8 = kernel<Fp8, Fp8>();

// With 16-bit inputs: the weights' own type, or 8 or 4 bits.
template <typename Input>
const GemmKernel& kernel_of(QType weight) {
  static constexpr GemmKernel kPlain = kernel<Input, Input>(), kInt8 = kernel<Int8, Input>(),
                              kFp8Weights = kernel<Fp8, Input>(), kInt4 = int4_kernel<Input>();
  switch (weight) {
    case QType::kInt8:
      return kInt8;
    case QType::kFp8:
      return kFp8Weights;
    case QType::kInt4:
      return kInt4;
    default:
      return kPlain;
  }
}

}  // namespace

const GemmKernel& float_kernel_avx2(QType weight, QType input) {
  switch (input) {
    case QType::kF16:
      return kernel_of<F16>(weight);
    case QType::kBF16:
      return kernel_of<BF16>(weight);
    case QType::kFp8:
      return kFp8;
    default:
      return kF32;
  }
}

}  // namespace octet
