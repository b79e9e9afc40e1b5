// Small models made by transformers and llm-compressor, where ../shared has them.
#include "formats/test_util.h"

namespace octet {
namespace {

struct SharedModel {
  std::string name, architecture;
  size_t quantized = 0;  // modules
  std::string scheme;    // printed
};

class SharedModels : public ::testing::TestWithParam<SharedModel> {};

TEST_P(SharedModels, Open) {
  const std::string data = testing::shared_data();
  if (data.empty()) GTEST_SKIP() << "needs ../shared/data/models, which is not here";
  const auto& expected = GetParam();
  const auto opened = Checkpoint::open(data + "/models/" + expected.name);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.config.architecture, expected.architecture);
  EXPECT_EQ(checkpoint.config.name, expected.name);
  EXPECT_EQ(checkpoint.config.n_layers, 3);
  EXPECT_EQ(checkpoint.config.eos_ids, std::vector<int32_t>{2});
  EXPECT_FALSE(checkpoint.tokenizer.empty());
  EXPECT_FALSE(checkpoint.tokenizer.chat_template.empty());
  EXPECT_EQ(checkpoint.schemes.size(), expected.quantized);
  for (const auto& [module, scheme] : checkpoint.schemes)
    EXPECT_EQ(to_string(scheme), expected.scheme) << module;
  EXPECT_EQ(checkpoint.has_kv_quant, expected.name.ends_with("kv8"));
}

constexpr const char* kInt8 = "w:int8/channel a:int8/token/dynamic";
constexpr const char* kFp8Static = "w:fp8/tensor a:fp8/tensor";

INSTANTIATE_TEST_SUITE_P(
    Formats, SharedModels,
    ::testing::Values(
        SharedModel{"tiny-llama2", "llama"}, SharedModel{"tiny-llama31", "llama"},
        SharedModel{"tiny-llama32-tied", "llama"}, SharedModel{"tiny-mistral", "mistral"},
        SharedModel{"tiny-qwen2", "qwen2"}, SharedModel{"tiny-qwen3", "qwen3"},
        SharedModel{"tiny-llama31-int8-dynamic", "llama", 21, kInt8},
        SharedModel{"tiny-llama31-int8-dynamic-mixed", "llama", 12, kInt8},
        SharedModel{"tiny-llama31-fp8-dynamic", "llama", 21, "w:fp8/channel a:fp8/token/dynamic"},
        SharedModel{"tiny-llama31-int8-static", "llama", 21, "w:int8/channel a:int8/tensor"},
        SharedModel{"tiny-llama31-int8-static-asym", "llama", 21, "w:int8/channel a:int8/tensor/asymmetric"},
        SharedModel{"tiny-llama31-fp8-static", "llama", 21, kFp8Static},
        SharedModel{"tiny-llama31-fp8-static-kv8", "llama", 21, kFp8Static},
        SharedModel{"tiny-llama31-w8a16", "llama", 21, "w:int8/channel a:bf16"},
        SharedModel{"tiny-llama31-w4a16-g64", "llama", 21, "w:int4/group64 a:bf16"}),
    [](const auto& info) {
      std::string name = info.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace octet
