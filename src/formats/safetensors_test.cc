#include "formats/safetensors.h"

#include "formats/test_util.h"

namespace octet {
namespace {

using testing::bytes_of;
using testing::safetensors_bytes;
using testing::TempFolder;

Result<std::vector<SafetensorsEntry>> parse(const std::string& bytes) {
  return parse_safetensors(bytes_of(bytes), "a.safetensors");
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}";
}

TEST(Safetensors, ReadsEntriesInTheOrderOfTheirBytes) {
  const auto entries =
      parse(safetensors_bytes("{" + entry("b", "BF16", "[2,3]", "[4,16]") + "," +
                                  entry("a", "F32", "[]", "[0,4]") + R"(,"__metadata__":{"format":"pt"}} )",
                              16));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_TRUE((*entries)[0].shape.empty());
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].type, DType::kBF16);
  EXPECT_EQ((*entries)[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*entries)[1].end - (*entries)[1].begin, 12u);
  EXPECT_EQ((*entries)[0].end, (*entries)[1].begin);
}

TEST(Safetensors, ReadsEveryDtype) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, int>>{{"F32", 4},
                                                                           {"F16", 2},
                                                                           {"BF16", 2},
                                                                           {"F8_E4M3", 1},
                                                                           {"I8", 1},
                                                                           {"U8", 1},
                                                                           {"I32", 4},
                                                                           {"I64", 8},
                                                                           {"BOOL", 1}}) {
    const auto entries =
        parse(safetensors_bytes("{" + entry("t", name, "[5]", "[0," + std::to_string(5 * size) + "]") + "}",
                                static_cast<size_t>(5 * size)));
    ASSERT_TRUE(entries.ok()) << entries.status().message();
    EXPECT_EQ(safetensors_dtype_name(entries->at(0).type), name);
  }
  EXPECT_TRUE(safetensors_dtype_name(DType::kQ4_K).empty());
}

struct Bad {
  std::string what, bytes, message;
};

class SafetensorsRefuses : public ::testing::TestWithParam<Bad> {};

TEST_P(SafetensorsRefuses, WithOneLine) {
  const auto entries = parse(GetParam().bytes);
  ASSERT_FALSE(entries.ok());
  const std::string message = entries.status().message();
  EXPECT_EQ(message.rfind("a.safetensors: ", 0), 0u) << message;
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

const std::string kGood = "{" + entry("t", "F32", "[2]", "[0,8]") + "}";

INSTANTIATE_TEST_SUITE_P(
    Safetensors, SafetensorsRefuses,
    ::testing::Values(
        Bad{"empty", "", "found 0 bytes"},
        Bad{"header_beyond_file", testing::raw(uint64_t{100}) + "{}", "header: expected at most 2 bytes"},
        Bad{"huge_header", testing::raw(~uint64_t{0}) + "{}", "found a size of 18446744073709551615"},
        Bad{"not_json", safetensors_bytes("{nonsense", 0), "header: expected a JSON object"},
        Bad{"not_an_object", safetensors_bytes("[1]", 0), "header: expected a JSON object"},
        Bad{"deep", safetensors_bytes("{\"a\":" + std::string(100000, '['), 0),
            "header: expected a JSON object"},
        Bad{"truncated_data", safetensors_bytes(kGood, 7), "is the file truncated?"},
        Bad{"trailing_data", safetensors_bytes(kGood, 9), "expected 8 bytes of data, found 9"},
        Bad{"unknown_dtype", safetensors_bytes("{" + entry("t", "F64", "[1]", "[0,8]") + "}", 8),
            "tensor t: dtype: expected one of F32"},
        Bad{"size_against_shape", safetensors_bytes("{" + entry("t", "F32", "[3]", "[0,8]") + "}", 8),
            "tensor t: data_offsets: expected the bytes that dtype and shape take, found [0, 8]"},
        Bad{"overflowing_shape",
            safetensors_bytes("{" + entry("t", "F32", "[4294967296,4294967296,4294967296]", "[0,8]") + "}",
                              8),
            "tensor t: data_offsets"},
        Bad{"overflow_beside_zero",
            safetensors_bytes("{" + entry("t", "F32", "[0,4294967296,4294967296]", "[0,0]") + "}", 0),
            "tensor t: data_offsets"},
        Bad{"negative_size", safetensors_bytes("{" + entry("t", "F32", "[-2]", "[0,8]") + "}", 8),
            "tensor t: shape: expected sizes of at least 0"},
        Bad{"backwards", safetensors_bytes("{" + entry("t", "F32", "[2]", "[8,0]") + "}", 8),
            "tensor t: data_offsets"},
        Bad{"overlap",
            safetensors_bytes(
                "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12),
            "tensor b: expected to begin at byte 8 of the data, where the one before it ends, found 4 "
            "(overlapping"},
        Bad{"gap",
            safetensors_bytes(
                "{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[8,12]") + "}", 12),
            "found 8 (a gap)"},
        Bad{"twice",
            safetensors_bytes(
                "{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("a", "F32", "[1]", "[4,8]") + "}", 8),
            "tensor a: is there twice"},
        Bad{"no_offsets", safetensors_bytes(R"({"t":{"dtype":"F32","shape":[1]}})", 4),
            "tensor t: data_offsets: expected [begin, end]"},
        Bad{"entry_no_object", safetensors_bytes(R"({"t":3})", 4), "tensor t: expected an object"}),
    [](const auto& info) { return info.param.what; });

TEST(SafetensorsFolder, FollowsTheIndex) {
  const TempFolder folder;
  folder.write("x1.safetensors", safetensors_bytes("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 4));
  folder.write("x2.safetensors", safetensors_bytes("{" + entry("b", "F32", "[1]", "[0,4]") + "}", 4));
  folder.write("model.safetensors.index.json",
               R"({"metadata":{},"weight_map":{"a":"x1.safetensors","b":"x2.safetensors"}})");
  const auto files = open_safetensors_folder(folder.path());
  ASSERT_TRUE(files.ok()) << files.status().message();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[1].entries.at(0).name, "b");
}

TEST(SafetensorsFolder, SaysWhatTheIndexHasWrong) {
  const TempFolder folder;
  folder.write("x1.safetensors", safetensors_bytes("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 4));
  folder.write("x2.safetensors", safetensors_bytes("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 4));
  const auto message = [&](const std::string& weight_map) {
    folder.write("model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
    const auto files = open_safetensors_folder(folder.path());
    return files.ok() ? "no error" : files.status().message();
  };
  EXPECT_NE(
      message(R"({"a":"x1.safetensors","b":"x1.safetensors"})").find("tensor b: expected in x1.safetensors"),
      std::string::npos);
  EXPECT_NE(message(R"({"a":"x1.safetensors","b":"x2.safetensors"})").find("tensor a: is also in"),
            std::string::npos);
  EXPECT_NE(message(R"({"a":"missing.safetensors"})").find("missing.safetensors"), std::string::npos);
  EXPECT_NE(message(R"({"a":"../x1.safetensors"})").find("expected the name of a file in this folder"),
            std::string::npos);
  EXPECT_NE(message("{}").find("weight_map: expected an object"), std::string::npos);
  EXPECT_NE(message("7").find("weight_map: expected an object"), std::string::npos);
}

TEST(SafetensorsFolder, TakesTheOnlyFileAndRefusesToGuess) {
  const TempFolder folder;
  EXPECT_EQ(open_safetensors_folder(folder.path()).status().code(), StatusCode::kNotFound);
  const std::string bytes = safetensors_bytes("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 4);
  folder.write("weights.safetensors", bytes);
  EXPECT_TRUE(open_safetensors_folder(folder.path()).ok());
  folder.write("more.safetensors", bytes);
  EXPECT_EQ(open_safetensors_folder(folder.path()).status().code(), StatusCode::kInvalidArgument);
  folder.write("model.safetensors", bytes);
  EXPECT_TRUE(open_safetensors_folder(folder.path()).ok());
}

}  // namespace
}  // namespace octet
