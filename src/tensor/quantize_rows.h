// Weights into their codes: the one place where a weight matrix is quantized, whether a checkpoint is written
// or a model quantizes while loading, so that both give the same bits.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/quant_scheme.h"

namespace octet {

// The element type that codes of this type are stored in.
DType code_dtype(QType type);

// The scale for values up to `absmax`: absmax / largest code, rounded up to a bfloat16 value, so that it is
// stored in 16 bits without loss and no value clips; 1 where all values are 0. kInt8 or kFp8.
float weight_scale(float absmax, QType type);

// rows of float32 [rows, k] -> codes [rows, code_bytes(k)] of args.type, and their scales (untouched for 16
// and 32 bit). args is a weight's, as check_scheme allows them.
//   kChannel, kGroup  scale [rows] or [rows, groups] is found here: int8 and fp8 by weight_scale of the
//   absolute
//                     maximum; int4 by the least squared error over scales that clip more and more
//   kTensor           scale [1] is given: it depends on rows that are not here
void quantize_rows(const float* values, int64_t rows, int64_t k, const QuantArgs& args, void* codes,
                   float* scale);

}  // namespace octet
