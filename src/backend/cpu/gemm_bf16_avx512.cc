// BF16 and FP8, and BF16 inputs with weights of INT8, FP8 or INT4, on AVX-512 BF16.
//
// vdpbf16ps adds two products of bf16 to each of 16 float sums: 32 products an instruction. It takes
// subnormal bf16 for zero and rounds in a way of its own; the order of the sum is fixed, so a result depends
// on nothing else. E4M3 values, subnormals included, are normal bf16 values: FP8 weights stay bytes in memory
// and are expanded a slice at a time by two table look-ups (vpermi2b: 7 bits of code to the upper and to the
// lower byte), and from there on FP8 is BF16. INT8 and INT4 codes are exact in bf16, too: the former through
// f32, the latter by one table look-up (vpermw) for two codes of each of 16 columns. At m = 1 memory bounds
// all but INT4, whose expansion takes nearly as long.
//
// Tile: 8 rows x 48 columns, k by twos: 24 sums, 3 weights, 1 activation pair in the 32 registers. FP8 is
// stored by fours of k (192 bytes, three whole registers), in the order that its expansion turns into the
// pairs of the tile.
#include <immintrin.h>

#include "backend/cpu/gemm_kernel.h"

namespace octet {
namespace {

constexpr int kVectors = 3, kLanes = 16;  // vectors of 16 columns
constexpr int kCols = kVectors * kLanes;
constexpr int64_t kAhead = 2048;  // bytes of the weight stream

// --- E4M3

constexpr uint16_t bf16_of_e4m3(int code) {  // 0..127
  if (code == 0) return 0;
  if (code == 127) return 0x7fc0;  // NaN
  int exponent = code >> 3, mantissa = code & 7;
  if (exponent == 0) {  // mantissa * 2^-9
    exponent = 1;
    while (mantissa < 8) {
      mantissa *= 2;
      --exponent;
    }
    mantissa -= 8;
  }
  return static_cast<uint16_t>((exponent - 7 + 127) << 7 | mantissa << 4);
}

struct Bf16Table {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

constexpr Bf16Table make_table() {
  Bf16Table table{};
  for (int code = 0; code < 128; ++code) {
    table.low[code] = static_cast<uint8_t>(bf16_of_e4m3(code) & 0xff);
    table.high[code] = static_cast<uint8_t>(bf16_of_e4m3(code) >> 8);
  }
  return table;
}

constexpr Bf16Table kTable = make_table();

class Expander {
 public:
  Expander() {
    for (int half = 0; half < 2; ++half) {
      low_[half] = _mm512_load_si512(kTable.low + half * 64);
      high_[half] = _mm512_load_si512(kTable.high + half * 64);
    }
  }
  // Of 64 codes, bf16 of the first 8 of each 16 in `first`, of the last 8 in `second`.
  void operator()(__m512i codes, __m512i& first, __m512i& second) const {
    const __m512i low = _mm512_permutex2var_epi8(low_[0], codes, low_[1]);
    const __m512i magnitude = _mm512_permutex2var_epi8(high_[0], codes, high_[1]);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    const __m512i high =
        _mm512_ternarylogic_epi32(magnitude, codes, sign, 0xf8);  // magnitude | (codes & sign)
    first = _mm512_unpacklo_epi8(low, high);
    second = _mm512_unpackhi_epi8(low, high);
  }

 private:
  __m512i low_[2], high_[2];
};

constexpr int kFp8Group = 4;

struct Order {
  uint16_t place[kCols * kFp8Group];
};

// The tile reads, for each pair of k, three vectors of 16 columns; two of those six vectors come from each 64
// bytes stored, as the Expander deals them out.
constexpr Order make_order() {
  Order order{};
  for (int column = 0; column < kCols; ++column) {
    for (int j = 0; j < kFp8Group; ++j) {
      const int vector = j / 2 * kVectors + column / kLanes, lane = column % kLanes * 2 + j % 2;
      order.place[column * kFp8Group + j] =
          static_cast<uint16_t>(vector / 2 * 64 + lane / 8 * 16 + vector % 2 * 8 + lane % 8);
    }
  }
  return order;
}

constexpr Order kFp8Order = make_order();

void load_a_fp8(const void* row, int64_t k, void* out) {
  const Expander expand;
  const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int64_t i = 0; i < k; i += 64) {
    const __mmask64 in_row = k - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (k - i)) - 1;
    __m512i first, second;
    expand(_mm512_maskz_loadu_epi8(in_row, static_cast<const char*>(row) + i), first, second);
    char* to = static_cast<char*>(out) + i * 2;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(first, front, second));
    _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi64(first, back, second));
  }
}

void expand_b_fp8(const void* slice, int64_t groups, void* out) {
  const Expander expand;
  const auto* in = static_cast<const char*>(slice);
  auto* to = static_cast<char*>(out);
  for (int64_t i = 0; i < groups * kCols * kFp8Group; i += 64) {
    _mm_prefetch(in + i + kAhead, _MM_HINT_T0);
    __m512i first, second;
    expand(_mm512_load_si512(in + i), first, second);
    _mm512_store_si512(to + i * 2, first);
    _mm512_store_si512(to + i * 2 + 64, second);
  }
}

// --- INT8 and INT4 weights

void expand_b_int8(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const char*>(slice);
  auto* to = static_cast<char*>(out);
  const auto floats = [&](int64_t i) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  };
  for (int64_t i = 0; i < groups * kCols * 2; i += 32) {
    _mm_prefetch(in + i + kAhead, _MM_HINT_T0);
    _mm512_store_si512(to + i * 2, (__m512i)_mm512_cvtne2ps_pbh(floats(i + 16), floats(i)));
  }
}

// bf16 of the codes 0 to 15, which stand for -8 to 7.
constexpr uint16_t kInt4Values[32] = {0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80,
                                      0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};

void expand_b_int4(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const char*>(slice);
  auto* to = static_cast<char*>(out);
  const __m512i values = _mm512_loadu_si512(kInt4Values), nibbles = _mm512_set1_epi32(0x000f000f);
  for (int64_t i = 0; i < groups * kCols; i += kLanes) {
    _mm_prefetch(in + i + kAhead, _MM_HINT_T0);
    const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
    const __m512i codes = _mm512_and_si512(_mm512_or_si512(pairs, _mm512_slli_epi32(pairs, 12)), nibbles);
    _mm512_store_si512(to + i * 4, _mm512_permutexvar_epi16(codes, values));
  }
}

// --- BF16

void load_a_bf16(const void* row, int64_t k, void* out) {
  for (int64_t i = 0; i < k; i += 32) {
    const __mmask32 in_row = k - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (k - i)) - 1;
    _mm512_storeu_si512(static_cast<uint16_t*>(out) + i,
                        _mm512_maskz_loadu_epi16(in_row, static_cast<const uint16_t*>(row) + i));
  }
}

template <int kM, int kGroup>
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
  const auto* b = static_cast<const char*>(t.b);
  const char* next = t.next;
  for (int64_t g = 0; g < t.groups; ++g, next += t.next_step) {
    OCTET_UNROLL
    for (int line = 0; line < kLines; ++line) _mm_prefetch(next + line * 64, _MM_HINT_T1);
    OCTET_UNROLL
    for (int pair = 0; pair < kGroup / 2; ++pair, a += 4, b += kVectors * 64) {
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
        for (int v = 0; v < kVectors; ++v) {
          sum[i][v] = _mm512_dpbf16_ps(sum[i][v], (__m512bh)row, (__m512bh)w[v]);
        }
      }
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
    const __m512 scale = _mm512_set1_ps(f.a_scale[i * f.a_scale_step]);
    for (int j = 0; j < f.cols; j += kLanes) {
      const __mmask16 valid =
          f.cols - j >= kLanes ? 0xffff : static_cast<__mmask16>((1u << (f.cols - j)) - 1);
      const __m512 scales = _mm512_mul_ps(scale, _mm512_loadu_ps(f.w_scale + j));
      const __m512 result = _mm512_fmadd_ps(_mm512_loadu_ps(sums + j), scales, _mm512_loadu_ps(f.bias + j));
      _mm512_mask_storeu_ps(f.d + i * f.d_stride + j, valid, result);
    }
  }
}

template <int kGroup>
constexpr GemmKernel kernel() {
  GemmKernel kernel = {
      .mr = 8, .nr = kCols, .k_group = kGroup, .k_pad = kGroup, .k_block = 288, .a_bytes = 2, .b_bytes = 2};
  kernel.tile[0] = tile<1, kGroup>;
  kernel.tile[1] = tile<2, kGroup>;
  kernel.tile[2] = tile<3, kGroup>;
  kernel.tile[3] = tile<4, kGroup>;
  kernel.tile[4] = tile<5, kGroup>;
  kernel.tile[5] = tile<6, kGroup>;
  kernel.tile[6] = tile<7, kGroup>;
  kernel.tile[7] = tile<8, kGroup>;
  kernel.finish = finish;
  return kernel;
}

constexpr GemmKernel bf16_kernel() {
  GemmKernel k = kernel<2>();
  k.w_bits = 16;
  k.load_a = load_a_bf16;
  return k;
}

constexpr GemmKernel fp8_kernel(void (*load_a)(const void*, int64_t, void*)) {
  GemmKernel k = kernel<kFp8Group>();
  k.w_bits = 8;
  k.order = kFp8Order.place;
  k.load_a = load_a;
  k.expand_b = expand_b_fp8;
  return k;
}

constexpr GemmKernel int_kernel(int bits, void (*expand)(const void*, int64_t, void*)) {
  GemmKernel k = bf16_kernel();
  k.w_bits = bits;
  k.expand_b = expand;
  return k;
}

constexpr GemmKernel kBF16 = bf16_kernel();
constexpr GemmKernel kFp8 = fp8_kernel(load_a_fp8);
constexpr GemmKernel kFp8Weights = fp8_kernel(load_a_bf16);
constexpr GemmKernel kInt8Weights = int_kernel(8, expand_b_int8);
constexpr GemmKernel kInt4Weights = int_kernel(4, expand_b_int4);

}  // namespace

const GemmKernel& bf16_kernel_avx512(QType weight, QType input) {
  if (input == QType::kFp8) return kFp8;
  switch (weight) {
    case QType::kFp8:
      return kFp8Weights;
    case QType::kInt8:
      return kInt8Weights;
    case QType::kInt4:
      return kInt4Weights;
    default:
      return kBF16;
  }
}

}  // namespace octet
