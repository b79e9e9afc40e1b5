// Scalar number formats, bit-exact: the specification that every vectorized path is tested against.
//
//   bf16, f16   IEEE round to nearest even
//   E4M3        OCP FP8 "fn" variant: bias 7, no infinity, 0x7f/0xff NaN, largest 448; encoding saturates
//   int8        q = clamp(round_half_even(x / scale), -127, 127)
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace octet {

inline constexpr float kInt8Max = 127.0f;
inline constexpr float kE4M3Max = 448.0f;

inline float bf16_to_f32(uint16_t v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v) << 16);
}

inline uint16_t f32_to_bf16(float f) {
  const auto u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // keep NaN a NaN
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

float f16_to_f32(uint16_t v);
uint16_t f32_to_f16(float f);

float e4m3_to_f32(uint8_t v);
uint8_t f32_to_e4m3(float f);

// The scale that maps the largest absolute value of a row, channel or tensor onto the largest code; 1 where
// all are 0.
inline float int8_scale(float absmax) {
  return absmax > 0 ? absmax / kInt8Max : 1.0f;
}
inline float e4m3_scale(float absmax) {
  return absmax > 0 ? absmax / kE4M3Max : 1.0f;
}

// Quantizing multiplies by the reciprocal, as vector units do; the specification therefore says so too.
inline int8_t f32_to_int8(float x, float inv_scale) {
  const float q = std::nearbyintf(x * inv_scale);
  return static_cast<int8_t>(q > kInt8Max ? kInt8Max : (q < -kInt8Max ? -kInt8Max : q));
}

}  // namespace octet
