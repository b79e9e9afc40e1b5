#include "formats/inspect.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/test_util.h"

namespace octet {
namespace {

TEST(Inspect, TellsTypesAndSchemes) {
  const testing::TempFolder folder;
  testing::write_tiny_quantized_model(folder, testing::tiny_config(), *scheme_by_name("int8-minmax"));
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const Inspection inspection = inspect(**checkpoint);
  EXPECT_EQ(inspection.parameters, (*checkpoint)->config.n_parameters());
  EXPECT_EQ(inspection.file_bytes, static_cast<int64_t>(folder.read("model.safetensors").size()));
  ASSERT_EQ(inspection.types.size(), 2u);
  EXPECT_EQ(inspection.types[0].name, "i8");
  EXPECT_EQ(inspection.types[0].tensors, 14);
  EXPECT_EQ(inspection.types[0].bytes, 2 * (24 * (32 + 2 * 16) + 32 * 24 + 3 * 24 * 48));
  ASSERT_EQ(inspection.schemes.size(), 2u);
  EXPECT_EQ(inspection.schemes[0].name, "int8-minmax");
  EXPECT_EQ(inspection.schemes[0].modules, 14);
  EXPECT_EQ(inspection.schemes[1].first, "lm_head");
  EXPECT_EQ(inspection.tokenizer, "none");

  const auto json = to_json(inspection);
  EXPECT_EQ(json["schemes"][0]["scheme"], "int8-minmax");
  EXPECT_EQ(json["num_key_value_heads"], 2);
  const std::string text = to_text(inspection);
  EXPECT_NE(text.find("int8-minmax in 14 linear modules\n"), std::string::npos) << text;
  EXPECT_NE(text.find("bf16 in 1 linear module (lm_head)\n"), std::string::npos) << text;
}

TEST(Inspect, TellsHowACheckpointWasMade) {
  const testing::TempFolder folder;
  testing::write_tiny_quantized_model(folder, testing::tiny_config(), *scheme_by_name("int8-minmax"));
  auto config = nlohmann::json::parse(folder.read("config.json"));
  config["octet_quantization"] = {
      {"scheme", "int8-static"}, {"weights", "gptq"}, {"smoothed", true}, {"dynamic_instead", 3}};
  folder.write("config.json", config.dump());
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const Inspection inspection = inspect(**checkpoint);
  EXPECT_EQ(inspection.schemes[0].name, "int8");  // smoothed
  EXPECT_EQ(to_json(inspection)["octet_quantization"], config["octet_quantization"]);
  EXPECT_NE(to_text(inspection).find("by octet to int8-static, weights by gptq, smoothed, 3 inputs dynamic"),
            std::string::npos);
  config["octet_quantization"] = {{"scheme", 7}};
  folder.write("config.json", config.dump());
  EXPECT_NE(Checkpoint::open(folder.path()).status().message().find("octet_quantization: scheme: expected"),
            std::string::npos);
}

TEST(Inspect, RandomWeightsHaveNoFile) {
  const Inspection inspection = inspect(**Checkpoint::random("llama-3.2-1b"));
  EXPECT_EQ(inspection.file_bytes, 0);
  EXPECT_NE(to_text(inspection).find("llama-3.2-1b (llama, 1.24 B parameters)"), std::string::npos);
  EXPECT_NE(to_text(inspection).find("rope llama3, theta 500000, factor 32"), std::string::npos);
}

}  // namespace
}  // namespace octet
