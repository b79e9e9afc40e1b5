// A row of random weights, compiled once for each instruction set; every one gives the same bits.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace octet {

// `cols` values of a row in bf16, of standard deviation `deviation`.
using FillRandomRow = void (*)(uint32_t row_key, float deviation, int64_t cols, uint16_t* out);
extern const FillRandomRow kFillRandomRowAvx2;

namespace {

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

// Columns from `begin` on; values are those that bf16 holds.
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

}  // namespace
}  // namespace octet
