// Vectors of floats for the row and attention kernels, in three versions with one interface: this one for any
// processor, vec_avx2.h and vec_avx512.h. A kernel is a template over it, instantiated in a file compiled for
// that instruction set.
//
//   kLanes, F                       lanes, and the register type
//   load, store, set1               f32 memory, unaligned
//   load_* / store_*                kLanes values of another format; stores round to nearest even, exactly as
//                                   tensor/quant_codec.h
//   fma(a, b, c)                    a * b + c
//   max(a, b), min(a, b)            b where either is NaN
//   exp2i(n)                        2^n for integral n in [-127, 128]; 0 at -127, infinity at 128
//   load_bf16_pairs(p, even, odd)   2 kLanes values that alternate between two vectors
//   store_bf16_exact                of values that bf16 holds exactly
//   select_between(i, lo, hi, v)    lane l of v where lo <= i + l < hi, else -infinity
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "tensor/quant_codec.h"

#if defined(__clang__)
#define OCTET_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OCTET_UNROLL _Pragma("GCC unroll 32")
#endif

namespace octet::cpu {

struct VecGeneric {
  static constexpr int kLanes = 4;
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));

  static F load(const float* p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, F v) { std::memcpy(p, &v, sizeof v); }
  static F set1(float x) { return F{x, x, x, x}; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F mul(F a, F b) { return a * b; }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F div(F a, F b) { return a / b; }
  static F max(F a, F b) { return a > b ? a : b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<I>(a) & 0x7fffffff); }
  static F round(F a) {
    for (int l = 0; l < kLanes; ++l) a[l] = std::nearbyintf(a[l]);
    return a;
  }
  static F exp2i(F n) {
    const I bits = (__builtin_convertvector(n, I) + 127) << 23;
    return reinterpret_cast<F>(bits);
  }
  static bool any_at_least(F a, F b) {
    const I mask = a >= b;
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
  }
  // v where a >= b, else 0; and v where not (a NaN is not).
  static F only_at_least(F a, F b, F v) { return reinterpret_cast<F>(reinterpret_cast<I>(v) & (a >= b)); }
  static F only_less(F a, F b, F v) { return reinterpret_cast<F>(reinterpret_cast<I>(v) & ~(a >= b)); }
  static float sum(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  static float highest(F v) {
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
  }
  static F select_between(int32_t i, int32_t lo, int32_t hi, F v) {
    for (int l = 0; l < kLanes; ++l) {
      if (i + l < lo || i + l >= hi) v[l] = -std::numeric_limits<float>::infinity();
    }
    return v;
  }

  static F load_bf16(const uint16_t* p) {
    return F{bf16_to_f32(p[0]), bf16_to_f32(p[1]), bf16_to_f32(p[2]), bf16_to_f32(p[3])};
  }
  static F load_f16(const uint16_t* p) {
    return F{f16_to_f32(p[0]), f16_to_f32(p[1]), f16_to_f32(p[2]), f16_to_f32(p[3])};
  }
  static F load_i8(const int8_t* p) { return F{float(p[0]), float(p[1]), float(p[2]), float(p[3])}; }
  static F load_e4m3(const uint8_t* p) {
    return F{e4m3_to_f32(p[0]), e4m3_to_f32(p[1]), e4m3_to_f32(p[2]), e4m3_to_f32(p[3])};
  }
  static void load_bf16_pairs(const uint16_t* p, F& even, F& odd) {
    I both;
    std::memcpy(&both, p, sizeof both);
    even = reinterpret_cast<F>(both << 16);
    odd = reinterpret_cast<F>(both & static_cast<int32_t>(0xffff0000u));
  }
  static void store_bf16_exact(uint16_t* p, F v) {
    for (int l = 0; l < kLanes; ++l) p[l] = static_cast<uint16_t>(std::bit_cast<uint32_t>(float{v[l]}) >> 16);
  }
  static void store_bf16(uint16_t* p, F v) {
    for (int l = 0; l < kLanes; ++l) p[l] = f32_to_bf16(v[l]);
  }
  static void store_f16(uint16_t* p, F v) {
    for (int l = 0; l < kLanes; ++l) p[l] = f32_to_f16(v[l]);
  }
  static void store_e4m3(uint8_t* p, F v) {
    for (int l = 0; l < kLanes; ++l) p[l] = f32_to_e4m3(v[l]);
  }
  // Integral values in [-128, 127].
  static void store_i8(int8_t* p, F v) {
    for (int l = 0; l < kLanes; ++l) p[l] = static_cast<int8_t>(v[l]);
  }
};

}  // namespace octet::cpu
