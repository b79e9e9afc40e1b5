#include "formats/quantization_config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/test_util.h"

namespace octet {
namespace {

using nlohmann::json;

const std::string kUp = "model.layers.1.mlp.up_proj", kDown = "model.layers.0.mlp.down_proj";

std::vector<std::string> modules() {
  auto all = linear_modules(testing::tiny_config());
  all.push_back("lm_head");
  return all;
}

Result<QuantizationConfig> parse(const json& quantization) {
  return parse_quantization_config({{"quantization_config", quantization}}, modules(), "config.json");
}

std::string error_of(const json& quantization) {
  const auto parsed = parse(quantization);
  return parsed.ok() ? "no error" : parsed.status().message();
}

std::string scheme_of(const json& quantization, const std::string& module = kUp) {
  const auto parsed = parse(quantization);
  if (!parsed.ok()) return parsed.status().message();
  const auto it = parsed->schemes.find(module);
  return it == parsed->schemes.end() ? "16 bit" : to_string(it->second);
}

TEST(QuantizationConfig, Fp8OfAutoFp8) {
  json config = {
      {"quant_method", "fp8"}, {"activation_scheme", "static"}, {"ignored_layers", {kDown, "re:.*lm_head"}}};
  EXPECT_EQ(scheme_of(config), "w:fp8/tensor a:fp8/tensor");
  EXPECT_EQ(scheme_of(config, kDown), "16 bit");
  EXPECT_EQ(scheme_of(config, "lm_head"), "16 bit");
  config["activation_scheme"] = "dynamic";
  EXPECT_EQ(scheme_of(config), "w:fp8/tensor a:fp8/token/dynamic");
  EXPECT_FALSE(parse(config)->kv_quant.has_value());
  config["kv_cache_scheme"] = "static";
  EXPECT_EQ(*parse(config)->kv_quant, (KvQuant{.type = QType::kFp8, .dynamic = false}));
  config["activation_scheme"] = "sometimes";
  EXPECT_NE(error_of(config).find("activation_scheme: expected dynamic or static, found \"sometimes\""),
            std::string::npos);
  config["weight_block_size"] = {128, 128};
  EXPECT_NE(error_of(config).find("weight_block_size"), std::string::npos);
}

TEST(QuantizationConfig, FbgemmFp8) {
  const json config = {{"quant_method", "fbgemm_fp8"},
                       {"activation_scale_ub", 1200.0},
                       {"modules_to_not_convert", {"layers.0", "lm_head"}}};
  EXPECT_EQ(scheme_of(config), "w:fp8/channel a:fp8/token/dynamic/up to 1200");
  EXPECT_EQ(scheme_of(config, kDown), "16 bit");
  EXPECT_EQ(scheme_of(config, "lm_head"), "16 bit");
}

TEST(QuantizationConfig, ModelOpt) {
  json config = {
      {"quant_method", "modelopt"}, {"quant_algo", "FP8"}, {"ignore", {"lm_head", "model.layers.0*"}}};
  EXPECT_EQ(scheme_of(config), "w:fp8/tensor a:fp8/tensor");
  EXPECT_EQ(scheme_of(config, kDown), "16 bit");
  config["kv_cache_scheme"] = {{"dynamic", false}, {"num_bits", 8}, {"type", "float"}};
  EXPECT_EQ(parse(config)->kv_quant->type, QType::kFp8);
  config["quant_algo"] = "FP8_PER_CHANNEL_PER_TOKEN";
  EXPECT_EQ(scheme_of(config), "w:fp8/channel a:fp8/token/dynamic");
  config["quant_algo"] = "NVFP4";
  EXPECT_NE(error_of(config).find("quant_algo: expected FP8 or FP8_PER_CHANNEL_PER_TOKEN, found \"NVFP4\""),
            std::string::npos);
  const json older = {{"quant_method", "modelopt"},
                      {"quant_algo", "FP8"},
                      {"kv_cache_quant_algo", "INT8"},
                      {"exclude_modules", {"lm_head"}}};
  EXPECT_NE(error_of(older).find("kv_cache_quant_algo: expected FP8, found \"INT8\""), std::string::npos);
}

TEST(QuantizationConfig, BitsAndBytesIn8Bits) {
  json config = {{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}, {"llm_int8_threshold", 5.0}};
  EXPECT_EQ(scheme_of(config), "w:int8/channel a:int8/token/dynamic/outliers from 5");
  EXPECT_EQ(scheme_of(config, "lm_head"), "16 bit");
  config["llm_int8_skip_modules"] = {kDown};
  EXPECT_EQ(scheme_of(config, kDown), "16 bit");
  EXPECT_NE(scheme_of(config, "lm_head"), "16 bit");
  config["llm_int8_threshold"] = -1;
  EXPECT_NE(error_of(config).find("llm_int8_threshold: expected a number of at least 0"), std::string::npos);
  config["load_in_8bit"] = false;
  EXPECT_NE(error_of(config).find("load_in_8bit: expected true"), std::string::npos);
}

TEST(QuantizationConfig, LlmInt8IsWrittenAlone) {
  std::map<std::string, QuantScheme> schemes;
  for (const auto& module : modules()) schemes[module] = *scheme_by_name("llm-int8:5");
  schemes["lm_head"] = {};
  const auto written = make_quantization_config(schemes, nullptr);
  ASSERT_TRUE(written.ok()) << written.status().message();
  EXPECT_EQ(scheme_of(*written), "w:int8/channel a:int8/token/dynamic/outliers from 5");
  EXPECT_EQ(scheme_of(*written, "lm_head"), "16 bit");
  schemes[kUp] = *scheme_by_name("fp8");
  EXPECT_NE(
      make_quantization_config(schemes, nullptr).status().message().find("holds no other scheme beside it"),
      std::string::npos);
  schemes[kUp] = *scheme_by_name("llm-int8:5");
  const KvQuant kv{.type = QType::kFp8, .dynamic = false};
  EXPECT_NE(make_quantization_config(schemes, &kv).status().message().find("no scales of a KV cache"),
            std::string::npos);
}

}  // namespace
}  // namespace octet
