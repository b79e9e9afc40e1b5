#include "formats/random_weights.h"

#include <algorithm>
#include <vector>

#include "formats/random_row_impl.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr float kDeviation = 0.02f;

uint32_t tensor_key(const std::string& name, uint64_t seed) {
  uint32_t key = mix(static_cast<uint32_t>(seed)) ^ mix(static_cast<uint32_t>(seed >> 32) + 1);
  for (const char c : name) key = mix(key ^ static_cast<uint8_t>(c));
  return key;
}

FillRandomRow fill_random_row() {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                               __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  return has_avx2 ? kFillRandomRowAvx2 : fill_row;
}

uint16_t norm_value(uint32_t bits) {
  const float gain = mix(bits) % 500 == 0 ? 8.0f : 1.0f;
  return f32_to_bf16(gain * (1.0f + 0.1f * near_normal(bits)));
}

}  // namespace

void random_rows_bf16(const CheckpointTensor& tensor, uint64_t seed, int64_t begin, int64_t end,
                      uint16_t* out) {
  const uint32_t key = tensor_key(tensor.name, seed);
  const bool norm = tensor.name.find("norm") != std::string::npos;
  const int64_t cols = tensor.cols();
  const FillRandomRow fill = fill_random_row();
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t row_key = mix(key ^ mix(static_cast<uint32_t>(row)));
    uint16_t* row_out = out + (row - begin) * cols;
    if (norm) {
      row_out[0] = norm_value(row_key);
    } else {
      fill(row_key, kDeviation * (0.7f + 0.7f * static_cast<float>(row_key >> 8) * 0x1p-24f), cols, row_out);
    }
  }
}

void random_rows(const CheckpointTensor& tensor, uint64_t seed, int64_t begin, int64_t end, float* out) {
  const int64_t cols = tensor.cols();
  std::vector<uint16_t> row(static_cast<size_t>(cols));
  for (int64_t i = begin; i < end; ++i) {
    random_rows_bf16(tensor, seed, i, i + 1, row.data());
    std::transform(row.begin(), row.end(), out + (i - begin) * cols, bf16_to_f32);
  }
}

}  // namespace octet
