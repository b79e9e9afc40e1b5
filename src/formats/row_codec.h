// Rows of stored tensors as float32. Plain types convert exactly; GGUF's block types are dequantized exactly
// as their format says, in float32 without contraction:
//   Q8_0  32 values: f16 d, 32 int8 q;                       d * q
//   Q4_0  32 values: f16 d, 16 bytes (low nibbles first);    d * (q - 8)
//   Q4_1  32 values: f16 d, f16 m, 16 bytes;                 d * q + m
//   Q4_K  256 values: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and minima, 128 bytes;  d * sc * q -
//   dmin * mn Q6_K  256 values: 128 bytes low nibbles, 64 bytes high pairs, 16 int8 scales, f16 d;        d *
//   sc * (q - 32)
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace octet {

// `n` values (a multiple of the type's block) from `source`, of any alignment.
void values_to_f32(DType type, const uint8_t* source, int64_t n, float* out);

}  // namespace octet
