#include "formats/random_weights.h"

#include <algorithm>
#include <array>

#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr float kDeviation = 0.02f;
constexpr int64_t kChunk = 256;  // of a constant length, so that compilers make vector code of the loop

// A 32-bit mixing function (Wellons, "Prospecting for Hash Functions", lowbias32): multiplications that
// vector units have, unlike 64-bit ones.
uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

// The sum of four uniform bytes, of mean 510 and variance 4 * (256^2 - 1) / 12: near normal, cut at 3.45
// deviations.
float near_normal(uint32_t bits) {
  const uint32_t pairs = (bits & 0x00ff00ffu) + ((bits >> 8) & 0x00ff00ffu);
  const auto sum = static_cast<int32_t>((pairs & 0xffffu) + (pairs >> 16));
  constexpr float kInverseDeviation = 1.0f / 147.80054f;
  return static_cast<float>(sum - 510) * kInverseDeviation;
}

uint32_t tensor_key(const std::string& name, uint64_t seed) {
  uint32_t key = mix(static_cast<uint32_t>(seed)) ^ mix(static_cast<uint32_t>(seed >> 32) + 1);
  for (const char c : name) key = mix(key ^ static_cast<uint8_t>(c));
  return key;
}

// Columns [begin, begin + n) of a row, n at most kChunk; values are those that bf16 holds.
void fill_chunk(uint32_t row_key, uint32_t begin, float deviation, uint16_t* out) {
  for (uint32_t j = 0; j < kChunk; ++j) {
    const float value = deviation * near_normal(mix(row_key ^ (begin + j)));
    out[j] = static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + 0x8000u) >>
                                   16);  // finite: rounding is an addition
  }
}

void fill_row(uint32_t row_key, float deviation, int64_t cols, uint16_t* out) {
  std::array<uint16_t, kChunk> chunk;
  for (int64_t begin = 0; begin < cols; begin += kChunk) {
    fill_chunk(row_key, static_cast<uint32_t>(begin), deviation, chunk.data());
    std::copy_n(chunk.data(), std::min(kChunk, cols - begin), out + begin);
  }
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
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t row_key = mix(key ^ mix(static_cast<uint32_t>(row)));
    uint16_t* row_out = out + (row - begin) * cols;
    if (norm) {
      row_out[0] = norm_value(row_key);
    } else {
      fill_row(row_key, kDeviation * (0.7f + 0.7f * static_cast<float>(row_key >> 8) * 0x1p-24f), cols,
               row_out);
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
