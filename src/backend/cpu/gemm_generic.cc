// Portable kernels: int8 with int32 sums (bound by multiplications), and every float type as f32.
// They follow the layout of gemm_kernel.h with small tiles and leave the rest to the compiler.
#include <cstring>

#include "backend/cpu/gemm_kernel.h"
#include "base/check.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr int kRows = 4, kCols = 16;

// Sum and Value: int32_t and int8_t, or float and float.
template <typename Value, typename Sum, int kM>
void tile(const TileArgs& t) {
  Sum sums[kM][kCols] = {};
  for (int i = 0; t.add && i < kM; ++i) {
    std::memcpy(sums[i], static_cast<Sum*>(t.sums) + i * t.sums_stride, sizeof(sums[i]));
  }
  const auto* b = static_cast<const Value*>(t.b);
  for (int64_t k = 0; k < t.groups; ++k, b += kCols) {
    for (int i = 0; i < kM; ++i) {
      const Sum a = reinterpret_cast<const Value*>(static_cast<const char*>(t.a) + i * t.a_stride)[k];
      for (int j = 0; j < kCols; ++j) sums[i][j] += a * static_cast<Sum>(b[j]);
    }
  }
  for (int i = 0; i < kM; ++i) {
    std::memcpy(static_cast<Sum*>(t.sums) + i * t.sums_stride, sums[i], sizeof(sums[i]));
  }
}

void finish_int8(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const char* sums = static_cast<const char*>(f.sums) + i * f.sums_stride * int64_t{sizeof(int32_t)};
    const int32_t zero = f.a_zero != nullptr ? f.a_zero[i * f.a_scale_step] : 0;
    const float scale = f.a_scale[i * f.a_scale_step];
    for (int j = 0; j < f.cols; ++j) {
      int32_t sum;  // waits where floats live
      std::memcpy(&sum, sums + j * sizeof(sum), sizeof(sum));
      const auto dot = static_cast<float>(sum - zero * f.w_sum[j]);
      f.d[i * f.d_stride + j] = dot * (scale * f.w_scale[j]) + f.bias[j];
    }
  }
}

void finish_float(const FinishArgs& f) {
  for (int i = 0; i < f.rows; ++i) {
    const auto* sums = static_cast<const float*>(f.sums) + i * f.sums_stride;
    const float scale = f.a_scale[i * f.a_scale_step];
    for (int j = 0; j < f.cols; ++j) {
      f.d[i * f.d_stride + j] = sums[j] * (scale * f.w_scale[j]) + f.bias[j];
    }
  }
}

void load_int8(const void* row, int64_t k, void* out) {
  std::memcpy(out, row, static_cast<size_t>(k));
}

template <typename T, float (*kToFloat)(T)>
void to_float(const void* in, int64_t n, void* out) {
  for (int64_t i = 0; i < n; ++i) static_cast<float*>(out)[i] = kToFloat(static_cast<const T*>(in)[i]);
}

template <typename T, float (*kToFloat)(T)>
void expand(const void* slice, int64_t groups, void* out) {
  to_float<T, kToFloat>(slice, groups * kCols, out);
}

void expand_int4(const void* slice, int64_t groups, void* out) {
  const auto* in = static_cast<const uint8_t*>(slice);
  auto* to = static_cast<float*>(out);
  for (int64_t k = 0; k < groups; k += 2, in += kCols, to += 2 * kCols) {
    for (int j = 0; j < kCols; ++j) {
      to[j] = static_cast<float>((in[j] & 0xf) - 8);
      to[kCols + j] = static_cast<float>((in[j] >> 4) - 8);
    }
  }
}

// Rows of an odd length end with a 0.
template <typename T, float (*kToFloat)(T)>
void to_float_pairs(const void* in, int64_t n, void* out) {
  to_float<T, kToFloat>(in, n, out);
  if (n % 2 != 0) static_cast<float*>(out)[n] = 0;
}

float identity(float v) {
  return v;
}
float int8_value(int8_t v) {
  return v;
}

constexpr GemmKernel kF32 = {
    .mr = kRows,
    .nr = kCols,
    .k_group = 1,
    .k_pad = 1,
    .k_block = 256,
    .w_bits = 32,
    .a_bytes = sizeof(float),
    .b_bytes = sizeof(float),
    .order = nullptr,
    .load_a = to_float<float, identity>,
    .expand_b = nullptr,
    .tile = {tile<float, float, 1>, tile<float, float, 2>, tile<float, float, 3>, tile<float, float, 4>},
    .finish = finish_float};

using LoadRow = void (*)(const void*, int64_t, void*);

template <typename T, float (*kToFloat)(T)>
constexpr GemmKernel float_kernel(LoadRow load_a) {
  GemmKernel k = kF32;
  k.w_bits = 8 * sizeof(T);
  k.load_a = load_a;
  k.expand_b = expand<T, kToFloat>;
  return k;
}

constexpr GemmKernel int4_kernel(LoadRow load_a) {
  GemmKernel k = kF32;
  k.w_bits = 4;
  k.k_pad = 2;
  k.load_a = load_a;
  k.expand_b = expand_int4;
  return k;
}

constexpr GemmKernel kInt8 = {.mr = kRows,
                              .nr = kCols,
                              .k_group = 1,
                              .k_pad = 1,
                              .k_block = 512,
                              .w_bits = 8,
                              .a_bytes = 1,
                              .b_bytes = 1,
                              .order = nullptr,
                              .load_a = load_int8,
                              .expand_b = nullptr,
                              .tile = {tile<int8_t, int32_t, 1>, tile<int8_t, int32_t, 2>,
                                       tile<int8_t, int32_t, 3>, tile<int8_t, int32_t, 4>},
                              .finish = finish_int8};
constexpr GemmKernel kFp8 = float_kernel<uint8_t, e4m3_to_f32>(to_float<uint8_t, e4m3_to_f32>);

// With inputs of the 16-bit type that kToFloat reads: the weights' own type, or 8 or 4 bits.
template <float (*kToFloat)(uint16_t)>
const GemmKernel& kernel_of(QType weight) {
  constexpr LoadRow kLoad = to_float_pairs<uint16_t, kToFloat>;
  static constexpr GemmKernel kPlain = float_kernel<uint16_t, kToFloat>(kLoad),
                              kInt8Weights = float_kernel<int8_t, int8_value>(kLoad),
                              kFp8Weights = float_kernel<uint8_t, e4m3_to_f32>(kLoad),
                              kInt4 = int4_kernel(kLoad);
  switch (weight) {
    case QType::kInt8:
      return kInt8Weights;
    case QType::kFp8:
      return kFp8Weights;
    case QType::kInt4:
      return kInt4;
    default:
      return kPlain;
  }
}

}  // namespace

const GemmKernel& int8_kernel_generic() {
  return kInt8;
}

const GemmKernel& float_kernel_generic(QType weight, QType input) {
  switch (input) {
    case QType::kF16:
      return kernel_of<f16_to_f32>(weight);
    case QType::kBF16:
      return kernel_of<bf16_to_f32>(weight);
    case QType::kFp8:
      return kFp8;
    default:
      return kF32;
  }
}

}  // namespace octet
