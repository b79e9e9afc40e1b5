#include "tensor/quantize_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

float round_up_to_bf16(float positive) {
  const auto bits = std::bit_cast<uint32_t>(positive);
  return std::bit_cast<float>((bits + 0xffffu) & 0xffff0000u);
}

float absmax(const float* row, int64_t k) {
  float largest = 0;
  for (int64_t i = 0; i < k; ++i) largest = std::max(largest, std::fabs(row[i]));
  return largest;
}

void quantize_row(const float* row, int64_t k, QType type, uint8_t* codes, float* scale) {
  const float largest = absmax(row, k);
  *scale = round_up_to_bf16(type == QType::kInt8 ? int8_scale(largest) : e4m3_scale(largest));
  if (*scale == 0) *scale = 1.0f;  // a row of denormals
  const float inverse = 1.0f / *scale;
  if (type == QType::kInt8) {
    for (int64_t i = 0; i < k; ++i) codes[i] = static_cast<uint8_t>(f32_to_int8(row[i], inverse));
  } else {
    for (int64_t i = 0; i < k; ++i) codes[i] = f32_to_e4m3(row[i] * inverse);
  }
}

}  // namespace

DType code_dtype(QType type) {
  switch (type) {
    case QType::kF32:
      return DType::kF32;
    case QType::kF16:
      return DType::kF16;
    case QType::kBF16:
      return DType::kBF16;
    case QType::kInt8:
      return DType::kI8;
    case QType::kFp8:
      return DType::kF8E4M3;
  }
  return DType::kF32;
}

void quantize_rows(const float* values, int64_t rows, int64_t k, const QuantArgs& args, void* codes,
                   float* scale) {
  const int64_t n = rows * k;
  switch (args.type) {
    case QType::kF32:
      std::memcpy(codes, values, static_cast<size_t>(n) * sizeof(float));
      return;
    case QType::kBF16:
      std::transform(values, values + n, static_cast<uint16_t*>(codes), f32_to_bf16);
      return;
    case QType::kF16:
      std::transform(values, values + n, static_cast<uint16_t*>(codes), f32_to_f16);
      return;
    case QType::kInt8:
    case QType::kFp8:
      break;
  }
  OCTET_CHECK(args.scale == QScale::kChannel && args.symmetric) << to_string(args);
  auto* bytes = static_cast<uint8_t*>(codes);
  for (int64_t row = 0; row < rows; ++row) {
    quantize_row(values + row * k, k, args.type, bytes + row * k, scale + row);
  }
}

}  // namespace octet
