// Weights into their codes: the one place where a weight matrix is quantized, whether a checkpoint is written
// or a model quantizes while loading, so that both give the same bits.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/quant_scheme.h"

namespace octet {

// The element type that codes of this type are stored in.
DType code_dtype(QType type);

// rows of float32 [rows, k] -> codes [rows, k] of args.type, and scale [rows] for kChannel (untouched for 16
// and 32 bit). Scales are absmax / largest code, rounded up to a bfloat16 value: they are stored in 16 bits
// without loss, and no value clips. args.scale must be kNone or kChannel, symmetric.
void quantize_rows(const float* values, int64_t rows, int64_t k, const QuantArgs& args, void* codes,
                   float* scale);

}  // namespace octet
