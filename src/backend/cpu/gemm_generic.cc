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

float identity(float v) {
  return v;
}

template <typename T, float (*kToFloat)(T)>
constexpr GemmKernel float_kernel() {
  return {
      .mr = kRows,
      .nr = kCols,
      .k_group = 1,
      .k_pad = 1,
      .k_block = 256,
      .w_bytes = sizeof(T),
      .a_bytes = sizeof(float),
      .b_bytes = sizeof(float),
      .order = nullptr,
      .load_a = to_float<T, kToFloat>,
      .expand_b = sizeof(T) == sizeof(float) ? nullptr : expand<T, kToFloat>,
      .tile = {tile<float, float, 1>, tile<float, float, 2>, tile<float, float, 3>, tile<float, float, 4>},
      .finish = finish_float};
}

constexpr GemmKernel kInt8 = {.mr = kRows,
                              .nr = kCols,
                              .k_group = 1,
                              .k_pad = 1,
                              .k_block = 512,
                              .w_bytes = 1,
                              .a_bytes = 1,
                              .b_bytes = 1,
                              .order = nullptr,
                              .load_a = load_int8,
                              .expand_b = nullptr,
                              .tile = {tile<int8_t, int32_t, 1>, tile<int8_t, int32_t, 2>,
                                       tile<int8_t, int32_t, 3>, tile<int8_t, int32_t, 4>},
                              .finish = finish_int8};

constexpr GemmKernel kF32 = float_kernel<float, identity>();
constexpr GemmKernel kF16 = float_kernel<uint16_t, f16_to_f32>();
constexpr GemmKernel kBF16 = float_kernel<uint16_t, bf16_to_f32>();
constexpr GemmKernel kFp8 = float_kernel<uint8_t, e4m3_to_f32>();

}  // namespace

const GemmKernel& int8_kernel_generic() {
  return kInt8;
}

const GemmKernel& float_kernel_generic(QType type) {
  switch (type) {
    case QType::kF32:
      return kF32;
    case QType::kF16:
      return kF16;
    case QType::kBF16:
      return kBF16;
    case QType::kFp8:
      return kFp8;
    case QType::kInt8:
    case QType::kInt4:
      break;
  }
  OCTET_CHECK(false) << "no floating-point type";
  return kF32;
}

}  // namespace octet
