#include "backend/cpu/attention_tile_impl.h"
#include "backend/cpu/vec_avx512.h"

namespace octet::cpu {
namespace {

// Panels of bf16 pairs against rows of bf16: one instruction multiplies both and adds them up in float.
struct PairsInBf16 {
  using Vec = VecAvx512;
  using A = uint16_t;
  using Acc = Lanes16<VecAvx512>;
  using Panel = __m512i;
  using Value = __m512i;
  static constexpr int kRows = 4, kUnits = 4, kStep = 2;
  static Panel load(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static Value value(const uint16_t* a) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static void step(Acc& acc, Panel panel, Value value) {
    acc.v[0] = _mm512_dpbf16_ps(acc.v[0], (__m512bh)panel, (__m512bh)value);
  }
  static void put(uint16_t* a, __m512 v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(a), (__m256i)_mm512_cvtneps_pbh(v));
  }
};

}  // namespace

const AttentionKernels kAttentionAvx512Bf16 = AttentionKernelsImpl<PairsInBf16>::table();
const AttentionKernels kAttentionAvx512F16 = AttentionKernelsImpl<HalvesInFloat<VecAvx512, 4, 4>>::table();

}  // namespace octet::cpu
