#include "formats/gguf.h"

#include "formats/test_util.h"

namespace octet {
namespace {

using testing::bytes_of;
using testing::GgufBytes;
using testing::raw;

TEST(Gguf, ReadsMetadataAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    const std::string bytes = GgufBytes(version)
                                  .u32("a.u32", 7)
                                  .value("a.i8", GgufType::kI8, raw(int8_t{-3}))
                                  .f32("a.f32", 0.5f)
                                  .boolean("a.bool", true)
                                  .string("a.text", "hello")
                                  .strings("a.list", {"x", "", "yz"})
                                  .numbers<int32_t>("a.ints", GgufType::kI32, {1, -2})
                                  .numbers<float>("a.floats", GgufType::kF32, {1.5f})
                                  .floats("t", {2, 3}, {1, 2, 3, 4, 5, 6})
                                  .tensor("q", {1, 32}, std::string(34, '\x02'), 8)
                                  .build();
    const auto gguf = parse_gguf(bytes_of(bytes), "a.gguf");
    ASSERT_TRUE(gguf.ok()) << gguf.status().message();
    EXPECT_EQ(gguf->version, version);
    EXPECT_EQ(gguf->integer("a.u32"), 7);
    EXPECT_EQ(gguf->integer("a.i8"), -3);
    EXPECT_EQ(gguf->number("a.f32"), 0.5);
    EXPECT_EQ(gguf->number("a.u32"), 7.0);
    EXPECT_EQ(gguf->boolean("a.bool"), true);
    EXPECT_EQ(gguf->text("a.text"), "hello");
    EXPECT_EQ(gguf->array("a.list")->strings(), (std::vector<std::string>{"x", "", "yz"}));
    EXPECT_EQ(gguf->array("a.ints")->ints(), (std::vector<int32_t>{1, -2}));
    EXPECT_EQ(gguf->array("a.floats")->floats(), (std::vector<float>{1.5f}));
    EXPECT_EQ(gguf->array("a.floats")->ints(), std::nullopt);
    EXPECT_EQ(gguf->integer("a.text"), std::nullopt);
    EXPECT_EQ(gguf->text("missing"), std::nullopt);
    ASSERT_EQ(gguf->tensors.size(), 2u);
    EXPECT_EQ(gguf->tensors[0].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(gguf->tensors[0].data.size(), 24u);
    EXPECT_EQ(gguf->tensors[1].type, DType::kQ8_0);
    EXPECT_EQ(gguf->tensors[1].data[33], 2);
  }
}

TEST(Gguf, RefusesEveryTruncation) {
  const std::string bytes = GgufBytes()
                                .string("general.architecture", "llama")
                                .strings("list", {"abc", "de"})
                                .floats("t", {2, 8}, std::vector<float>(16))
                                .build();
  ASSERT_TRUE(parse_gguf(bytes_of(bytes), "a.gguf").ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    const auto gguf = parse_gguf(bytes_of(cut), "a.gguf");
    ASSERT_FALSE(gguf.ok()) << size;
    EXPECT_EQ(gguf.status().message().rfind("a.gguf: ", 0), 0u);
  }
}

std::string error_of(const std::string& bytes) {
  const auto gguf = parse_gguf(bytes_of(bytes), "a.gguf");
  return gguf.ok() ? "no error" : gguf.status().message();
}

TEST(Gguf, RefusesWithOneLine) {
  const auto expect = [](const std::string& bytes, const std::string& part) {
    EXPECT_NE(error_of(bytes).find(part), std::string::npos) << error_of(bytes);
  };
  const std::string counts = raw(uint64_t{0}) + raw(uint64_t{0});
  expect("GGML" + raw(uint32_t{3}) + counts, "expected a GGUF file");
  expect("GGUF" + raw(uint32_t{1}) + counts, "expected GGUF version 2 or 3, found 1");
  expect("GGUF" + raw(uint32_t{0x03000000}) + counts, "big-endian");
  expect("GGUF" + raw(uint32_t{3}) + raw(~uint64_t{0}) + raw(~uint64_t{0}), "truncated");
  expect(GgufBytes().u32("k", 1).u32("k", 2).build(), "metadata k: is there twice");
  expect(GgufBytes().value("k", static_cast<GgufType>(13), "").build(),
         "metadata k: expected a type of 0 to 12");
  expect(GgufBytes().value("k", GgufType::kString, raw(~uint64_t{0})).build(),
         "metadata k: the file ends in it");
  expect(
      GgufBytes()
          .value("k", GgufType::kArray, raw(static_cast<uint32_t>(GgufType::kF64)) + raw(uint64_t{1} << 61))
          .build(),
      "metadata k: the file ends in it");
  expect(GgufBytes()
             .value("k", GgufType::kArray, raw(static_cast<uint32_t>(GgufType::kString)) + raw(~uint64_t{0}))
             .build(),
         "metadata k: the file ends in it");
  expect(GgufBytes()
             .value("k", GgufType::kArray, raw(static_cast<uint32_t>(GgufType::kArray)) + raw(uint64_t{1}))
             .build(),
         "an array of arrays");
  expect(GgufBytes().u32("general.alignment", 3).build(), "general.alignment: expected a power of two");
  expect(GgufBytes().floats("t", {1}, {1}).floats("t", {1}, {1}).build(), "tensor t: is there twice");
  expect(GgufBytes().tensor("t", {32}, std::string(18, 'x'), 20).build(),
         "tensor t: expected one of F32, F16");
  expect(GgufBytes().tensor("t", {32}, std::string(18, 'x'), 20).build(), "found IQ4_NL");
  expect(GgufBytes().tensor("t", {33}, std::string(68, 'x'), 8).build(),
         "tensor t: expected rows of a multiple of 32");
  expect(GgufBytes().tensor("t", {1, 1, 1, 1, 1}, "abcd").build(),
         "tensor t: expected 1 to 4 dimensions, found 5");
  expect(GgufBytes().tensor("t", {0}, "").build(), "tensor t: expected sizes of at least 1");
  expect(GgufBytes().tensor("t", {uint64_t{1} << 62, uint64_t{1} << 62}, "abcd").build(),
         "smaller than 2^63 bytes");
  expect(GgufBytes().tensor("t", {uint64_t{1} << 40}, "abcd").build(), "is it truncated?");
}

TEST(Gguf, RefusesOverlaps) {
  std::string bytes =
      GgufBytes().floats("a", {16}, std::vector<float>(16)).floats("b", {16}, std::vector<float>(16)).build();
  const size_t offset_of_b = bytes.find(raw(uint64_t{64}), bytes.find(GgufBytes::text("b")) + 20);
  ASSERT_NE(offset_of_b, std::string::npos);
  bytes.replace(offset_of_b, 8, raw(uint64_t{32}));
  EXPECT_NE(error_of(bytes).find("tensor b: overlaps tensor a"), std::string::npos) << error_of(bytes);
  bytes.replace(offset_of_b, 8, raw(uint64_t{33}));
  EXPECT_NE(error_of(bytes).find("tensor b: offset: expected a multiple of 32, found 33"), std::string::npos);
}

}  // namespace
}  // namespace octet
