#include "tensor/quantize_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

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

// To the nearest integer, ties to even, for |x| < 2^22; unlike a call of nearbyint, compilers make vector
// code of it.
float nearest(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

constexpr float kInt4Low = -8, kInt4High = 7;

float int4_code(float x, float inverse) {
  return std::clamp(nearest(std::clamp(x * inverse, -16.0f, 16.0f)), kInt4Low, kInt4High);
}

float squared_error(const float* x, int64_t n, float scale) {
  const float inverse = 1.0f / scale;
  constexpr int64_t kWays = 8;  // sums of a fixed order that vector code can keep
  float sums[kWays] = {};
  for (int64_t i = 0; i < n; i += kWays) {
    const int64_t ways = std::min(kWays, n - i);
    for (int64_t w = 0; w < ways; ++w) {
      const float error = x[i + w] - scale * int4_code(x[i + w], inverse);
      sums[w] += error * error;
    }
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// The scale of least squared error among those that let the largest value take code 8 (or clip to 7) down to
// about half of that.
float int4_scale(const float* x, int64_t n) {
  constexpr int kCandidates = 24;
  const float largest = absmax(x, n);
  if (!(largest > 0x1p-100f)) return 1.0f;
  float best = 0, best_error = 0;
  for (int i = 0; i < kCandidates; ++i) {
    const float scale = bf16_to_f32(f32_to_bf16(largest / 7.0f * (1.0f - 0.02f * static_cast<float>(i))));
    const float error = squared_error(x, n, scale);
    if (i == 0 || error < best_error) {
      best = scale;
      best_error = error;
    }
  }
  return best;
}

// n values that share a scale, the first of them at column `begin` of its row.
void encode(const float* x, int64_t n, QType type, float scale, uint8_t* row_codes, int64_t begin) {
  const float inverse =
      std::min(1.0f / scale, std::numeric_limits<float>::max());  // finite for denormals too
  switch (type) {
    case QType::kInt8:
      for (int64_t i = 0; i < n; ++i) row_codes[begin + i] = static_cast<uint8_t>(f32_to_int8(x[i], inverse));
      return;
    case QType::kFp8:
      for (int64_t i = 0; i < n; ++i) row_codes[begin + i] = f32_to_e4m3(x[i] * inverse);
      return;
    default:
      break;
  }
  OCTET_CHECK(type == QType::kInt4);
  for (int64_t i = 0; i < n; ++i) {
    const int code = static_cast<int>(int4_code(x[i], inverse)) + 8;
    uint8_t& byte = row_codes[(begin + i) / 2];
    byte = static_cast<uint8_t>((begin + i) % 2 == 0 ? code : byte | code << 4);
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
    case QType::kInt4:
      return DType::kU8;
  }
  return DType::kF32;
}

float weight_scale(float absmax, QType type) {
  const float scale = round_up_to_bf16(type == QType::kInt8 ? int8_scale(absmax) : e4m3_scale(absmax));
  return scale > 0 ? scale : 1.0f;  // 0: all values are denormals
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
    case QType::kInt4:
      break;
  }
  OCTET_CHECK(args.symmetric && args.scale != QScale::kToken) << to_string(args);
  const int64_t groups = group_count(args, k), size = args.scale == QScale::kGroup ? args.group_size : k;
  auto* bytes = static_cast<uint8_t*>(codes);
  for (int64_t row = 0; row < rows; ++row, bytes += code_bytes(args.type, k)) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = group * size, columns = std::min(size, k - begin);
      const float* x = values + row * k + begin;
      if (args.scale != QScale::kTensor) {
        scale[row * groups + group] =
            args.type == QType::kInt4 ? int4_scale(x, columns) : weight_scale(absmax(x, columns), args.type);
      }
      const float s = args.scale == QScale::kTensor ? scale[0] : scale[row * groups + group];
      encode(x, columns, args.type, s, bytes, begin);
    }
  }
}

}  // namespace octet
