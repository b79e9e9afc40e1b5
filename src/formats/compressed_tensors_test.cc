#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "formats/module_matcher.h"
#include "formats/quantization_config.h"
#include "formats/test_util.h"

namespace octet {
namespace {

using nlohmann::json;

const QuantScheme kInt8 = *scheme_by_name("int8-minmax");
const QuantScheme kFp8 = *scheme_by_name("fp8");

std::vector<std::string> modules() {
  auto names = linear_modules(testing::tiny_config());
  names.push_back("lm_head");
  return names;
}

json weights() {
  return {{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}, {"symmetric", true}, {"dynamic", false}};
}
json inputs() {
  return {{"num_bits", 8}, {"type", "int"}, {"strategy", "token"}, {"symmetric", true}, {"dynamic", true}};
}
json group(json targets) {
  return {{"targets", std::move(targets)}, {"weights", weights()}, {"input_activations", inputs()}};
}
json config(json group_0, json ignore = {"lm_head"}) {
  return {{"quantization_config",
           {{"quant_method", "compressed-tensors"},
            {"format", "int-quantized"},
            {"ignore", std::move(ignore)},
            {"config_groups", {{"group_0", std::move(group_0)}}}}}};
}

Result<QuantizationConfig> parse(const json& config) {
  return parse_quantization_config(config, modules(), "config.json");
}

std::string error_of(const json& config) {
  const auto parsed = parse(config);
  return parsed.ok() ? "no error" : parsed.status().message();
}

TEST(CompressedTensors, NothingQuantizedIsNothing) {
  const auto parsed = parse(json::object());
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->schemes.empty());
  EXPECT_FALSE(parsed->kv_quant.has_value());
}

TEST(CompressedTensors, LinearMeansAllButTheIgnored) {
  const auto parsed =
      parse(config(group({"Linear"}), {"lm_head", "re:.*down_proj$", "model.layers.0.mlp.up_proj"}));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->schemes.size(), 14u - 2 - 1);
  EXPECT_EQ(parsed->schemes.at("model.layers.1.mlp.up_proj"), kInt8);
  EXPECT_EQ(parsed->schemes.count("lm_head"), 0u);
  EXPECT_EQ(parsed->schemes.count("model.layers.1.mlp.down_proj"), 0u);
}

TEST(CompressedTensors, TheMostSpecificGroupWins) {
  auto mixed = config(group({"Linear"}));
  auto& groups = mixed["quantization_config"]["config_groups"];
  groups["group_1"] = group({"re:.*mlp\\..*"});
  groups["group_1"]["weights"]["type"] = groups["group_1"]["input_activations"]["type"] = "float";
  groups["group_1"]["format"] = "float-quantized";
  groups["group_2"] = group({"model.layers.1.mlp.up_proj"});
  const auto parsed = parse(mixed);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->schemes.at("model.layers.0.self_attn.q_proj"), kInt8);
  EXPECT_EQ(parsed->schemes.at("model.layers.0.mlp.up_proj"), kFp8);
  EXPECT_EQ(parsed->schemes.at("model.layers.1.mlp.up_proj"), kInt8);
}

TEST(CompressedTensors, CalibratedSchemesAreRepresented) {
  auto calibrated = group({"Linear"});
  calibrated["weights"]["strategy"] = "tensor";
  calibrated["input_activations"] = {
      {"num_bits", 8}, {"type", "int"}, {"strategy", "tensor"}, {"symmetric", false}, {"dynamic", false}};
  const auto parsed = parse(config(calibrated));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const QuantScheme expected{{QType::kInt8, QScale::kTensor, false, true},
                             {QType::kInt8, QScale::kTensor, false, false}};
  EXPECT_EQ(parsed->schemes.at("model.layers.0.mlp.up_proj"), expected);
}

TEST(CompressedTensors, RefusesWhatItCannotExpressNamingModuleAndScheme) {
  const auto expect = [](const json& config, const std::string& part) {
    const std::string error = error_of(config);
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_EQ(error.rfind("config.json: quantization_config: ", 0), 0u) << error;
  };
  auto packed = group({"Linear"});
  packed["format"] = "pack-quantized";
  packed["weights"]["num_bits"] = 4;
  packed["weights"]["strategy"] = "group";
  expect(config(packed),
         "group_0: model.layers.0.self_attn.q_proj: the scheme w:int4/group a:int8/token/dynamic:");
  auto three_bits = group({"Linear"});
  three_bits["weights"]["num_bits"] = 3;
  expect(config(three_bits), "expected int8, int4 or float8, found int3/channel");
  auto marlin = group({"Linear"});
  marlin["format"] = "marlin-24";
  expect(config(marlin), "the format marlin-24 is not supported");
  auto block = group({"Linear"});
  block["weights"]["strategy"] = "block";
  expect(config(block), "expected a scale for each tensor, channel, group, found int8/block");
  auto per_group_input = group({"Linear"});
  per_group_input["input_activations"]["strategy"] = "group";
  expect(config(per_group_input), "expected a scale for each tensor, token");
  auto ordered = group({"Linear"});
  ordered["weights"]["actorder"] = "group";
  expect(config(ordered), "actorder");
  auto mixed_types = group({"Linear"});
  mixed_types["weights"]["type"] = "float";
  expect(config(mixed_types), "8-bit inputs are multiplied with weights of their own type");
  auto outputs = group({"Linear"});
  outputs["output_activations"] = inputs();
  expect(config(outputs), "quantized outputs");
  auto rotated = config(group({"Linear"}));
  rotated["quantization_config"]["transform_config"] = {{"config_groups", 1}};
  expect(rotated, "transform_config");
  auto sparse = config(group({"Linear"}));
  sparse["quantization_config"]["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  expect(sparse, "sparse-24-bitmask");
  for (const char* method : {"gptq", "awq", "quark"}) {
    auto other = config(group({"Linear"}));
    other["quantization_config"]["quant_method"] = method;
    expect(other, std::string("quant_method: \"") + method + "\" is not supported");
  }
  expect(config(group("Linear")), "targets: expected a list of names");
  expect(config(group({"re:(("})), "after re: expected a regular expression");
  expect(config(group({"re:(([a-z._0-9])+)+[!?]"})), "takes too many steps");
}

TEST(CompressedTensors, ASchemeThatNoModuleHasIsNoError) {
  auto config_with_unused = config(group({"Linear"}));
  auto unused = group({"re:.*experts.*"});
  unused["weights"]["num_bits"] = 4;
  config_with_unused["quantization_config"]["config_groups"]["group_1"] = unused;
  EXPECT_EQ(error_of(config_with_unused), "no error");
}

TEST(CompressedTensors, TheKvCache) {
  auto with_kv = config(group({"Linear"}));
  auto& scheme = with_kv["quantization_config"]["kv_cache_scheme"];
  scheme = {
      {"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}, {"dynamic", false}, {"symmetric", true}};
  auto parsed = parse(with_kv);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  ASSERT_TRUE(parsed->kv_quant.has_value());
  EXPECT_EQ(*parsed->kv_quant, (KvQuant{.type = QType::kFp8, .dynamic = false}));
  scheme["strategy"] = "attn_head";
  parsed = parse(with_kv);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(*parsed->kv_quant, (KvQuant{.type = QType::kFp8, .dynamic = false, .per_head = true}));
  scheme["strategy"] = "token";
  EXPECT_NE(error_of(with_kv).find("expected static scales for each tensor or attn_head"), std::string::npos);
  scheme["dynamic"] = true;
  parsed = parse(with_kv);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(*parsed->kv_quant, KvQuant{QType::kFp8});
  scheme["num_bits"] = 4;
  EXPECT_NE(error_of(with_kv).find("kv_cache_scheme: expected symmetric int8 or float8"), std::string::npos);
}

TEST(CompressedTensors, WhatIsWrittenIsReadBack) {
  for (const bool mixed : {false, true}) {
    std::map<std::string, QuantScheme> schemes;
    for (const auto& module : modules()) schemes[module] = kInt8;
    schemes["lm_head"] = QuantScheme{};
    schemes["model.layers.0.mlp.up_proj"] = QuantScheme{};
    if (mixed) schemes["model.layers.1.mlp.up_proj"] = kFp8;
    const KvQuant kv{QType::kFp8};
    const json written = *make_quantization_config(schemes, &kv);
    EXPECT_EQ(written["format"], mixed ? "mixed-precision" : "int-quantized");
    EXPECT_EQ(written["ignore"], (json{"lm_head", "model.layers.0.mlp.up_proj"}));
    const auto parsed = parse({{"quantization_config", written}});
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->kv_quant, std::optional(kv));
    std::erase_if(schemes, [](const auto& item) { return !item.second.weight.quantized(); });
    EXPECT_EQ(parsed->schemes, schemes);
  }
  EXPECT_TRUE(make_quantization_config({{"lm_head", QuantScheme{}}}, nullptr)->is_null());
}

TEST(ModuleMatcher, MatchesFromTheNamesBegin) {
  const auto matcher = ModuleMatcher::compile({"a.b", "re:x\\.[0-9]+"});
  ASSERT_TRUE(matcher.ok());
  EXPECT_EQ(*matcher->match("a.b"), ModuleMatcher::kName);
  EXPECT_EQ(*matcher->match("a.bc"), ModuleMatcher::kNone);
  EXPECT_EQ(*matcher->match("x.12.weight"), ModuleMatcher::kRegex);
  EXPECT_EQ(*matcher->match("a.x.12"), ModuleMatcher::kNone);
}

}  // namespace
}  // namespace octet
