// Rows of stored tensors as float32. Plain types convert exactly; GGUF's block types are dequantized exactly
// as their format says, in float32 without contraction:
//   Q8_0  32 values: f16 d, 32 int8 q;                      d * q
//   Q4_0  32 values: f16 d, 16 bytes (low nibbles first);   d * (q - 8)
//   Q4_1  32 values: f16 d, f16 m, 16 bytes;                d * q + m
//   Q5_0  32 values: f16 d, 32 fifth bits, 16 bytes;        d * (q - 16)
//   Q5_1  32 values: f16 d, f16 m, 32 fifth bits, 16 bytes; d * q + m
// and, with 256 values a block and scales (sc) and minima (mn) of 16 or 32 of them:
//   Q2_K  16 bytes sc and mn of 4 bits, 64 bytes, f16 d, f16 dmin;                d * sc * q - dmin * mn
//   Q3_K  32 bytes third bits, 64 bytes, 12 bytes sc of 6 bits, f16 d;            d * (sc - 32) * (q - 4)
//   Q4_K  f16 d, f16 dmin, 12 bytes sc and mn of 6 bits, 128 bytes;               d * sc * q - dmin * mn
//   Q5_K  as Q4_K, with 32 bytes of fifth bits before the 128
//   Q6_K  128 bytes low nibbles, 64 bytes high pairs, 16 int8 sc, f16 d;          d * sc * (q - 32)
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace octet {

// `n` values (a multiple of the type's block) from `source`, of any alignment.
void values_to_f32(DType type, const uint8_t* source, int64_t n, float* out);

}  // namespace octet
