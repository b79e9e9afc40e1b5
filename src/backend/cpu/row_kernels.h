// One row at a time, for every op that works on rows by themselves. A producer makes its row in f32, small
// enough to stay in the first-level cache, and encodes it from there into the form its consumer wants. Bound
// by memory where the row comes from far away, by these instructions where it does not.
//
// The order of operations on a row depends on its length alone: results do not change with the batch.
#pragma once

#include <cstdint>

#include "backend/cpu/isa.h"

namespace octet::cpu {

struct RowKernels {
  // y = x / sqrt(mean(x^2) + eps) * gamma
  void (*norm)(const float* x, const float* gamma, float eps, int64_t n, float* y);
  // y = gate / (1 + exp(-gate)) * up
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);
  // y[i] = x[i] cos[i] - x[i + half] sin[i]; y[i + half] = x[i + half] cos[i] + x[i] sin[i]. y is not x.
  void (*rotate)(const float* x, const float* cos, const float* sin, int64_t half, float* y);

  float (*absmax)(const float* x, int64_t n);
  // rest = x where |x| < limit or NaN, else 0; outliers = bf16 of x where it is not in rest, else 0. Returns
  // how many those are. rest may be x.
  int32_t (*split_outliers)(const float* x, float limit, int64_t n, float* rest, uint16_t* outliers);
  void (*to_bf16)(const float* x, int64_t n, uint16_t* out);
  void (*to_f16)(const float* x, int64_t n, uint16_t* out);
  void (*to_e4m3)(const float* x, float inv_scale, int64_t n, uint8_t* out);
  // clamp(round_half_even(x * inv_scale) + zero_point, low, 127)
  void (*to_i8)(const float* x, float inv_scale, float zero_point, float low, int64_t n, int8_t* out);
  void (*from_bf16)(const uint16_t* x, int64_t n, float* out);
  void (*from_f16)(const uint16_t* x, int64_t n, float* out);

  // For sampling; NaN counts as smallest.
  float (*max)(const float* x, int64_t n);
  // The first index from `begin` on with x >= threshold; n where there is none.
  int64_t (*next_at_least)(const float* x, int64_t begin, int64_t n, float threshold);
  // out = exp((x - max) * factor) (out null: not kept); returns the sum.
  double (*exp_sum)(const float* x, float max, float factor, int64_t n, float* out);
};

const RowKernels& row_kernels(Isa isa);

// Instantiations, each in a file compiled for its instruction set.
extern const RowKernels kRowKernelsGeneric, kRowKernelsAvx2, kRowKernelsAvx512;

}  // namespace octet::cpu
