#include "formats/rope_llama3.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace octet {

std::vector<float> llama3_rope_factors(const RopeConfig& rope, int32_t head_dim) {
  const double low_wavelength = rope.original_context / static_cast<double>(rope.low_freq_factor);
  const double high_wavelength = rope.original_context / static_cast<double>(rope.high_freq_factor);
  std::vector<float> factors;
  for (int32_t i = 0; i < head_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, 2.0 * i / head_dim);
    double factor = 1;
    if (wavelength > low_wavelength) {
      factor = rope.factor;
    } else if (wavelength > high_wavelength) {
      const double smooth = (rope.original_context / wavelength - rope.low_freq_factor) /
                            (static_cast<double>(rope.high_freq_factor) - rope.low_freq_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

void recover_llama3_parameters(RopeConfig* rope, int32_t head_dim) {
  if (rope->gguf_factors.empty()) return;
  RopeConfig candidate = *rope;
  candidate.gguf_factors.clear();
  candidate.type = RopeType::kLlama3;
  candidate.factor = *std::max_element(rope->gguf_factors.begin(), rope->gguf_factors.end());  // 8 or 32
  candidate.low_freq_factor = 1;
  candidate.high_freq_factor = 4;
  candidate.original_context = 8192;
  const auto expected = llama3_rope_factors(candidate, head_dim);
  const bool same =
      std::equal(expected.begin(), expected.end(), rope->gguf_factors.begin(), rope->gguf_factors.end(),
                 [](float a, float b) { return std::abs(a - b) <= 1e-4f * a; });
  if (same && candidate.factor > 1) *rope = candidate;
}

}  // namespace octet
