#include "tensor/quant_codec.h"

#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/quantize_rows.h"

namespace octet {
namespace {

TEST(E4M3, EveryCodeRoundTrips) {
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    if ((byte & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(e4m3_to_f32(byte)));
    } else {
      EXPECT_EQ(f32_to_e4m3(e4m3_to_f32(byte)), byte) << code;
    }
  }
}

TEST(E4M3, KnownValues) {
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(e4m3_to_f32(0x08), 0x1p-6f);
  EXPECT_EQ(e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(f32_to_e4m3(1e9f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-1e9f), 0xfe);
}

// Between any two neighbouring codes: below the midpoint goes down, above it up, the midpoint to the even
// code.
TEST(E4M3, RoundsToNearestEven) {
  for (uint8_t code = 0; code < 0x7e; ++code) {
    const float low = e4m3_to_f32(code), high = e4m3_to_f32(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;  // exact in float32
    EXPECT_EQ(f32_to_e4m3(std::nextafterf(middle, 0)), code);
    EXPECT_EQ(f32_to_e4m3(std::nextafterf(middle, 1000)), code + 1);
    EXPECT_EQ(f32_to_e4m3(middle), (code & 1) != 0 ? code + 1 : code);
  }
}

TEST(F16, EveryCodeRoundTrips) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto half = static_cast<uint16_t>(code);
    const float value = f16_to_f32(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), half) << code;
    }
  }
}

TEST(F16, RoundsToNearestEven) {
  for (uint16_t code = 0; code < 0x7bff; ++code) {
    const float low = f16_to_f32(code), high = f16_to_f32(static_cast<uint16_t>(code + 1));
    const float middle = (low + high) / 2;
    ASSERT_EQ(f32_to_f16(middle), (code & 1) != 0 ? code + 1 : code) << code;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0)), code);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 1e9f)), code + 1);
  }
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);  // rounds to infinity, as IEEE says
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
}

TEST(BF16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(f32_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(QuantizeRows, ScalesAreBf16ValuesAndNothingClips) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  constexpr int64_t kRows = 7, kCols = 61;
  std::vector<float> values(kRows * kCols);
  for (auto& v : values) v = normal(random);
  std::fill_n(values.begin(), kCols, 0.0f);  // a row of zeros
  for (const QType type : {QType::kInt8, QType::kFp8}) {
    std::vector<uint8_t> codes(values.size());
    std::vector<float> scale(kRows);
    quantize_rows(values.data(), kRows, kCols, {type, QScale::kChannel, false, true}, codes.data(),
                  scale.data());
    for (int64_t r = 0; r < kRows; ++r) {
      const float s = scale[static_cast<size_t>(r)];
      EXPECT_EQ(bf16_to_f32(f32_to_bf16(s)), s);
      for (int64_t i = 0; i < kCols; ++i) {
        const auto at = static_cast<size_t>(r * kCols + i);
        const float back = type == QType::kInt8 ? s * static_cast<float>(static_cast<int8_t>(codes[at]))
                                                : s * e4m3_to_f32(codes[at]);
        // int8: half a step. E4M3: 2^-4 of the value, or half a subnormal step.
        const float bound =
            type == QType::kInt8 ? 0.5001f * s : std::max(0.0626f * std::fabs(values[at]), 0x1.01p-10f * s);
        EXPECT_NEAR(back, values[at], bound);
      }
    }
  }
}

}  // namespace
}  // namespace octet
