#include "quantize/rounding.h"

#include <algorithm>
#include <cmath>

#include "quantize/recipe.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

constexpr int64_t kRows = 16;  // of the weight, rounded side by side: the factor is read once for all of them

struct Code {
  uint8_t bits = 0;
  float value = 0;  // what it stands for, in units of the scale
};

// The nearest code; x in units of the scale.
Code nearest_code(float x, QType type) {
  if (type == QType::kFp8) {
    const uint8_t bits = f32_to_e4m3(x);
    return {bits, e4m3_to_f32(bits)};
  }
  if (type == QType::kInt4) {
    const float q = std::clamp(std::nearbyint(x), -8.0f, 7.0f);
    return {static_cast<uint8_t>(static_cast<int>(q) + 8), q};
  }
  const int8_t q = f32_to_int8(x, 1.0f);
  return {static_cast<uint8_t>(q), static_cast<float>(q)};
}

void store(const Code& code, QType type, int64_t column, uint8_t* row) {
  if (type != QType::kInt4) {
    row[column] = code.bits;
    return;
  }
  uint8_t& byte = row[column / 2];
  byte = column % 2 == 0 ? static_cast<uint8_t>((byte & 0xf0) | code.bits)
                         : static_cast<uint8_t>((byte & 0x0f) | code.bits << 4);
}

// Factors to the scale that fits the largest value. Integers may clip; the floating point grid, which is the
// same at every power of two but for its ends, may lie differently.
std::vector<float> scale_factors(QType type) {
  std::vector<float> factors;
  for (int i = 0; i < 16; ++i) {
    const auto step = static_cast<float>(i);
    factors.push_back(type == QType::kFp8 ? std::exp2(step / 16.0f) : 1.0f - 0.025f * step);
  }
  return factors;
}

// The scale of least error for n values, each weighted.
float best_scale(const float* w, const float* weight, int64_t n, QType type) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(w[i]));
  const float fits = type == QType::kInt4 ? largest / 7.0f : weight_scale(largest, type);
  if (!(largest > 0x1p-100f)) return 1.0f;
  float best = fits;
  double best_error = -1;
  for (const float factor : scale_factors(type)) {
    const float scale = bf16_to_f32(f32_to_bf16(fits * factor)), inverse = 1.0f / scale;
    double error = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double difference = static_cast<double>(w[i]) - scale * nearest_code(w[i] * inverse, type).value;
      error += difference * difference * weight[i];
    }
    if (best_error >= 0 && error >= best_error) continue;
    best = scale;
    best_error = error;
  }
  return best;
}

// Rounds `rows` rows of w [rows, k] from the last column of the order to the first.
void round_block(const float* w, int64_t rows, int64_t row_begin, HostLinear& linear,
                 const Compensation& compensation) {
  const int64_t k = linear.k, groups = group_count(linear.scheme.weight, k);
  const QType type = linear.scheme.weight.type;
  const size_t row_bytes = code_bytes(type, k);
  const bool one_scale = linear.scheme.weight.scale == QScale::kTensor;
  std::vector<float> left(
      static_cast<size_t>(k * kRows));  // [k, kRows] what is still to be rounded, in order
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t r = 0; r < rows; ++r)
      left[static_cast<size_t>(i * kRows + r)] = w[r * k + compensation.order[static_cast<size_t>(i)]];
  }
  for (int64_t i = k - 1; i >= 0; --i) {
    const int64_t column = compensation.order[static_cast<size_t>(i)];
    const int64_t group = groups > 1 ? column / linear.scheme.weight.group_size : 0;
    const float* factor = compensation.factor.data() + i * k;
    float error[kRows] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const float scale = linear.scale[static_cast<size_t>(one_scale ? 0 : (row_begin + r) * groups + group)];
      const float value = left[static_cast<size_t>(i * kRows + r)];
      const Code code = nearest_code(value / scale, type);
      store(code, type, column, linear.codes.data() + static_cast<size_t>(row_begin + r) * row_bytes);
      error[r] = (value - scale * code.value) / factor[i];
    }
    for (int64_t j = 0; j < i; ++j) {
      float* to = left.data() + j * kRows;
      for (int64_t r = 0; r < kRows; ++r) to[r] -= error[r] * factor[j];
    }
  }
}

void round_to_nearest(const float* w, int64_t row, HostLinear& linear) {
  const int64_t k = linear.k, groups = group_count(linear.scheme.weight, k);
  const QType type = linear.scheme.weight.type;
  const bool one_scale = linear.scheme.weight.scale == QScale::kTensor;
  uint8_t* codes = linear.codes.data() + static_cast<size_t>(row) * code_bytes(type, k);
  for (int64_t c = 0; c < k; ++c) {
    const int64_t group = groups > 1 ? c / linear.scheme.weight.group_size : 0;
    const float scale = linear.scale[static_cast<size_t>(one_scale ? 0 : row * groups + group)];
    store(nearest_code(w[c] / scale, type), type, c, codes);
  }
}

}  // namespace

Result<WeightRounding> parse_rounding(const std::string& name) {
  if (name == "absmax") return WeightRounding::kAbsmax;
  if (name == "mse") return WeightRounding::kMse;
  if (name == "gptq") return WeightRounding::kGptq;
  return invalid_argument("--weights '" + name + "': expected absmax, mse or gptq");
}

const char* rounding_name(WeightRounding rounding) {
  return rounding == WeightRounding::kGptq ? "gptq" : rounding == WeightRounding::kMse ? "mse" : "absmax";
}

HostLinear round_weight(const std::vector<float>& weight, int64_t k, const QuantScheme& scheme,
                        const std::vector<float>& diagonal, const Compensation* compensation,
                        ThreadPool& pool) {
  HostLinear linear = quantize_weight(weight, k, scheme);
  const QuantArgs& args = scheme.weight;
  const int64_t groups = group_count(args, k), size = args.scale == QScale::kGroup ? args.group_size : k;
  pool.parallel_for((linear.n + kRows - 1) / kRows, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t begin = first * kRows; begin < std::min(last * kRows, linear.n); begin += kRows) {
      const int64_t rows = std::min(kRows, linear.n - begin);
      const float* w = weight.data() + begin * k;
      for (int64_t r = 0; r < rows && args.scale != QScale::kTensor; ++r) {
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t at = group * size, n = std::min(size, k - at);
          linear.scale[static_cast<size_t>((begin + r) * groups + group)] =
              best_scale(w + r * k + at, diagonal.data() + at, n, args.type);
        }
      }
      if (compensation != nullptr) {
        round_block(w, rows, begin, linear, *compensation);
      } else {
        for (int64_t r = 0; r < rows; ++r) round_to_nearest(w + r * k, begin + r, linear);
      }
    }
  });
  return linear;
}

}  // namespace octet
