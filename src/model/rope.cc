#include "model/rope.h"

#include <cmath>
#include <numbers>

#include "base/check.h"

namespace octet {
namespace {

// Wavelengths well inside the original context stay, those beyond it are stretched by `factor`, with a ramp
// between.
double llama3_scaled(double frequency, const RopeConfig& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double low = rope.original_context / static_cast<double>(rope.low_freq_factor);
  const double high = rope.original_context / static_cast<double>(rope.high_freq_factor);
  if (wavelength < high) return frequency;
  if (wavelength > low) return frequency / rope.factor;
  const double smooth = (rope.original_context / wavelength - rope.low_freq_factor) /
                        (static_cast<double>(rope.high_freq_factor) - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, int32_t head_dim) {
  const int32_t half = head_dim / 2;
  OCTET_CHECK(rope.gguf_factors.empty() || rope.gguf_factors.size() == static_cast<size_t>(half));
  std::vector<float> inverse(static_cast<size_t>(half));
  for (int32_t i = 0; i < half; ++i) {
    const auto slot = static_cast<size_t>(i);
    double frequency = std::pow(static_cast<double>(rope.theta), -2.0 * i / head_dim);
    if (!rope.gguf_factors.empty()) {
      frequency /= rope.gguf_factors[slot];
    } else if (rope.type == RopeType::kLinear) {
      frequency /= rope.factor;
    } else if (rope.type == RopeType::kLlama3) {
      frequency = llama3_scaled(frequency, rope);
    }
    inverse[slot] = static_cast<float>(frequency);
  }
  return inverse;
}

std::vector<float> rope_table(const RopeConfig& rope, int32_t head_dim, int32_t max_positions) {
  const auto inverse = rope_inverse_frequencies(rope, head_dim);
  const auto half = static_cast<size_t>(head_dim / 2);
  std::vector<float> table(static_cast<size_t>(max_positions) * 2 * half);
  for (int32_t position = 0; position < max_positions; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      // Models are trained with the angle in float32; the functions are taken of that value.
      const float angle = static_cast<float>(position) * inverse[i];
      row[i] = std::cos(angle);
      row[half + i] = std::sin(angle);
    }
  }
  return table;
}

}  // namespace octet
