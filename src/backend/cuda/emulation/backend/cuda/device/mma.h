// Products of a warp on the CPU: see backend/cuda/emulation/emulator.h.
#pragma once

#include "backend/cuda/emulation/emulator.h"

namespace octet::cuda {

template <class T>
void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Fragments {
    uint32_t a[4], b[2];
  };
  const auto all = emulation::gather(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int lane = emulation::lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
    double sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const uint32_t x = all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2],
                     y = all[col * 4 + k % 8 / 2].b[k / 8];
      sum += double{emulation::element<T>(x, k % 2)} * emulation::element<T>(y, k % 2);
    }
    d[i] = static_cast<float>(sum);
  }
}

namespace emulation {
inline void load_matrices(uint32_t (&r)[4], uint32_t address, bool transposed) {
  const auto rows = gather(address);
  for (int m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (int i = 0; i < 2; ++i) {
      const int outer = lane() / 4, inner = lane() % 4 * 2 + i;
      const uint32_t row = rows[m * 8 + (transposed ? inner : outer)];
      if (row % 16 != 0) fail("a matrix row at a crooked address");
      std::memcpy(&pair[i], shared_memory() + row + 2 * (transposed ? outer : inner), 2);
    }
    r[m] = pair[0] | uint32_t{pair[1]} << 16;
  }
}
}  // namespace emulation
inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  emulation::load_matrices(r, address, false);
}
inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  emulation::load_matrices(r, address, true);
}
inline uint32_t transpose_matrix(uint32_t r) {
  const auto all = emulation::gather(r);
  uint32_t t = 0;
  for (int i = 0; i < 2; ++i) {
    const int row = emulation::lane() % 4 * 2 + i, col = emulation::lane() / 4;
    t |= (all[row * 4 + col / 2] >> (col % 2 * 16) & 0xffffu) << (16 * i);
  }
  return t;
}

template <class T>
uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half_as_ushort(__float2half_rn(low)) | uint32_t{__half_as_ushort(__float2half_rn(high))} << 16;
  } else {
    return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
           uint32_t{__bfloat16_as_ushort(__float2bfloat16_rn(high))} << 16;
  }
}
inline float bf16_low(uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
inline float bf16_high(uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}

inline uint32_t e4m3x2_to_f16x2(uint32_t codes) {
  __nv_fp8_e4m3 low, high;
  low.__x = static_cast<__nv_fp8_storage_t>(codes & 0xff);
  high.__x = static_cast<__nv_fp8_storage_t>(codes >> 8 & 0xff);
  return pack<__half>(static_cast<float>(low), static_cast<float>(high));
}
inline uint32_t e4m3x2_to_f16x2_high(uint32_t codes) {
  return e4m3x2_to_f16x2(codes >> 16);
}
template <uint32_t kSelector, bool kBy128 = false>
uint32_t biased_int8x2_to_f16x2(uint32_t codes) {
  const uint32_t magic = __byte_perm(codes, kBy128 ? 0x48484848u : 0x64646464u, kSelector);
  const float bias = kBy128 ? 9 : 1152;
  return pack<__half>(emulation::element<__half>(magic, 0) - bias,
                      emulation::element<__half>(magic, 1) - bias);
}
inline uint32_t multiply_f16x2(uint32_t a, uint32_t b) {
  return pack<__half>(emulation::element<__half>(a, 0) * emulation::element<__half>(b, 0),
                      emulation::element<__half>(a, 1) * emulation::element<__half>(b, 1));
}
inline float exp2_approx(float x) {
  return std::exp2(x);
}

}  // namespace octet::cuda
