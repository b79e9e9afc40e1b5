#include "formats/row_codec.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/quant_codec.h"

namespace octet {
namespace {

uint64_t fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const float value : values) {
    for (const char byte : std::string(reinterpret_cast<const char*>(&value), sizeof(value))) {
      hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
    }
  }
  return hash;
}

// Three blocks of bytes by a formula; what they mean was computed by the `gguf` Python package (0.19): the
// hash is that of all values' float32 bits.
struct GoldenBlock {
  DType type;
  std::vector<size_t> halves;  // where the block has its f16 scales
  uint64_t hash;
  float first, second, last;
};

class BlockTypes : public ::testing::TestWithParam<GoldenBlock> {};

TEST_P(BlockTypes, EqualTheReferenceBitForBit) {
  const auto& golden = GetParam();
  const auto& info = dtype_info(golden.type);
  const auto size = static_cast<size_t>(info.block_bytes);
  std::vector<uint8_t> bytes(3 * size + 1);
  uint8_t* blocks = bytes.data() + 1;  // of odd alignment
  for (size_t b = 0; b < 3; ++b) {
    for (size_t i = 0; i < size; ++i)
      blocks[b * size + i] = static_cast<uint8_t>(i * 151 + b * 89 + i * i % 13);
    for (size_t k = 0; k < golden.halves.size(); ++k) {
      const auto half = static_cast<uint16_t>(0x2c00 + 0x333 * b + 0x111 * k);
      std::memcpy(blocks + b * size + golden.halves[k], &half, sizeof(half));
    }
  }
  std::vector<float> values(3 * static_cast<size_t>(info.block_values));
  values_to_f32(golden.type, blocks, static_cast<int64_t>(values.size()), values.data());
  EXPECT_EQ(values[0], golden.first);
  EXPECT_EQ(values[1], golden.second);
  EXPECT_EQ(values.back(), golden.last);
  EXPECT_EQ(fnv1a(values), golden.hash);
}

INSTANTIATE_TEST_SUITE_P(
    RowCodec, BlockTypes,
    ::testing::Values(
        GoldenBlock{DType::kQ8_0, {0}, 0x29e761f7f70d1937u, 3.125f, -3.125f, 10.197509765625f},
        GoldenBlock{DType::kQ4_0, {0}, 0x950d2e6b9a6ebe37u, -0.375f, 0.375f, 0.599853515625f},
        GoldenBlock{DType::kQ4_1,
                    {0, 2},
                    0xa35387c88663c410u,
                    1.01666259765625f,
                    1.01666259765625f,
                    3.2325439453125f},
        GoldenBlock{DType::kQ5_0, {0}, 0xc25f534a49e44630u, -0.75f, 0.6875f, 0.39990234375f},
        GoldenBlock{DType::kQ5_1,
                    {0, 2},
                    0x731b9e0a523cf06cu,
                    1.32916259765625f,
                    1.20416259765625f,
                    4.2322998046875f},
        GoldenBlock{DType::kQ2_K, {80, 82}, 0xe3a307dc7be17b6fu, 0.0f, 0.0f, 1.133056640625f},
        GoldenBlock{DType::kQ3_K, {108}, 0xa91f52761fa60be5u, 2.5f, 3.75f, -9.19775390625f},
        GoldenBlock{
            DType::kQ5_K, {0, 2}, 0xb004c5f830c2398cu, 36.495849609375f, -0.316650390625f, 187.087646484375f},
        GoldenBlock{
            DType::kQ4_K, {0, 2}, 0xbcae4ea87df46d22u, 17.120849609375f, 19.058349609375f, -1.8662109375f},
        GoldenBlock{DType::kQ6_K, {208}, 0xe747536f5afafbeau, -146.0f, -109.5f, 62.384765625f}),
    [](const auto& info) { return dtype_name(info.param.type); });

TEST(RowCodec, FifthBitsByHand) {
  // d = 0.5 (0x3800), m = 3 (0x4200); value 0 is 1 + 16, value 16 is 2, value 31 is 15 + 16, the others 0.
  std::vector<uint8_t> bytes(24, 0);
  bytes[1] = 0x38;
  bytes[3] = 0x42;
  bytes[4] = 0x01;
  bytes[7] = 0x80;
  bytes[8] = 0x21;
  bytes[23] = 0xf0;
  std::vector<float> values(32);
  values_to_f32(DType::kQ5_1, bytes.data(), 32, values.data());
  EXPECT_EQ(values[0], 0.5f * 17 + 3);
  EXPECT_EQ(values[1], 3.0f);
  EXPECT_EQ(values[16], 0.5f * 2 + 3);
  EXPECT_EQ(values[31], 0.5f * 31 + 3);
  bytes.erase(bytes.begin() + 2, bytes.begin() + 4);  // Q5_0: no minimum, 16 below
  values_to_f32(DType::kQ5_0, bytes.data(), 32, values.data());
  EXPECT_EQ(values[0], 0.5f * (17 - 16));
  EXPECT_EQ(values[1], 0.5f * -16);
  EXPECT_EQ(values[16], 0.5f * (2 - 16));
  EXPECT_EQ(values[31], 0.5f * (31 - 16));
}

TEST(RowCodec, EveryHalfIsThatOfTheScalarCodec) {
  std::vector<uint8_t> bytes(2 * 65536 + 1);
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto half = static_cast<uint16_t>(i);
    std::memcpy(bytes.data() + 1 + 2 * i, &half, sizeof(half));
  }
  std::vector<float> f16(65536), bf16(65536);
  values_to_f32(DType::kF16, bytes.data() + 1, 65536, f16.data());
  values_to_f32(DType::kBF16, bytes.data() + 1, 65536, bf16.data());
  for (uint32_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(f16[i]), std::bit_cast<uint32_t>(f16_to_f32(static_cast<uint16_t>(i))))
        << i;
    ASSERT_EQ(std::bit_cast<uint32_t>(bf16[i]), i << 16) << i;
  }
}

TEST(RowCodec, PlainTypesOfAnyLength) {
  std::vector<uint8_t> bytes(256);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  std::vector<float> values(256);
  values_to_f32(DType::kI8, bytes.data(), 201, values.data());
  EXPECT_EQ(values[200], -56.0f);
  values_to_f32(DType::kU8, bytes.data(), 201, values.data());
  EXPECT_EQ(values[200], 200.0f);
  values_to_f32(DType::kF8E4M3, bytes.data(), 256, values.data());
  EXPECT_EQ(values[0x7e], 448.0f);
  EXPECT_EQ(values[0xfe], -448.0f);
  EXPECT_TRUE(std::isnan(values[0x7f]));
  EXPECT_EQ(values[1], 0x1p-9f);
  const std::vector<int64_t> wide = {-3, int64_t{1} << 40};
  values_to_f32(DType::kI64, reinterpret_cast<const uint8_t*>(wide.data()), 2, values.data());
  EXPECT_EQ(values[0], -3.0f);
  EXPECT_EQ(values[1], 0x1p40f);
}

}  // namespace
}  // namespace octet
