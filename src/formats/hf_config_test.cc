#include "formats/hf_config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/hf_config_writer.h"
#include "formats/test_util.h"

namespace octet {
namespace {

using nlohmann::json;

json llama() {
  return {{"model_type", "llama"},    {"vocab_size", 100},
          {"hidden_size", 64},        {"intermediate_size", 128},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 512}};
}

json with(json base, const char* key, json value) {
  base[key] = std::move(value);
  return base;
}

std::string error_of(const json& config) {
  const auto parsed = parse_hf_config(config, "config.json");
  return parsed.ok() ? "no error" : parsed.status().message();
}

ModelConfig parsed(const json& config) {
  auto result = parse_hf_config(config, "config.json");
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? *result : ModelConfig();
}

TEST(HfConfig, DefaultsAreThoseOfTransformers) {
  const auto config = parsed(llama());
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.norm_eps, 1e-6f);
  EXPECT_EQ(config.rope.type, RopeType::kDefault);
  EXPECT_EQ(config.rope.theta, 10000.0f);
  EXPECT_FALSE(config.tied_embeddings || config.qkv_bias || config.o_bias || config.mlp_bias ||
               config.qk_norm);
  EXPECT_EQ(config.dtype, QType::kBF16);
  EXPECT_TRUE(config.eos_ids.empty());
  EXPECT_EQ(config.bos_id, -1);
  auto plain = llama();
  plain.erase("num_key_value_heads");
  EXPECT_EQ(parsed(plain).n_kv_heads, 4);
}

TEST(HfConfig, FamiliesAreFlags) {
  const auto qwen2 = parsed(with(llama(), "model_type", "qwen2"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.qk_norm);
  const auto qwen3 = parsed(with(llama(), "model_type", "qwen3"));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
  const auto biased = parsed(with(with(llama(), "attention_bias", true), "mlp_bias", true));
  EXPECT_TRUE(biased.qkv_bias && biased.o_bias && biased.mlp_bias);
  EXPECT_EQ(parsed(with(llama(), "head_dim", 32)).head_dim, 32);
  EXPECT_EQ(parsed(with(llama(), "torch_dtype", "float16")).dtype, QType::kF16);
  EXPECT_EQ(parsed(with(llama(), "dtype", "float32")).dtype, QType::kF32);
}

TEST(HfConfig, BothSpellingsOfRope) {
  const json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  const auto old_spelling = parsed(with(with(llama(), "rope_theta", 500000.0), "rope_scaling", scaling));
  const auto new_spelling = parsed(with(llama(), "rope_parameters", with(scaling, "rope_theta", 500000.0)));
  EXPECT_EQ(old_spelling.rope, new_spelling.rope);
  EXPECT_EQ(new_spelling.rope.type, RopeType::kLlama3);
  EXPECT_EQ(new_spelling.rope.theta, 500000.0f);
  EXPECT_EQ(new_spelling.rope.factor, 8.0f);
  EXPECT_EQ(new_spelling.rope.original_context, 8192);
  const auto linear = parsed(with(llama(), "rope_scaling", {{"type", "linear"}, {"factor", 2.5}}));
  EXPECT_EQ(linear.rope.type, RopeType::kLinear);
  EXPECT_EQ(linear.rope.factor, 2.5f);
}

TEST(HfConfig, SlidingWindows) {
  const auto mistral = with(llama(), "model_type", "mistral");
  EXPECT_EQ(parsed(mistral).sliding_window, 4096);
  EXPECT_EQ(parsed(with(mistral, "sliding_window", nullptr)).sliding_window, 0);
  EXPECT_EQ(parsed(with(mistral, "sliding_window", 128)).sliding_window, 128);
  auto qwen = with(with(llama(), "model_type", "qwen2"), "sliding_window", 256);
  EXPECT_EQ(parsed(qwen).sliding_window, 0);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(parsed(qwen).sliding_window, 0);  // max_window_layers is 28, there are two layers
  EXPECT_EQ(parsed(with(qwen, "max_window_layers", 0)).sliding_window, 256);
  EXPECT_NE(error_of(with(qwen, "max_window_layers", 1)).find("only 1 of 2 layers"), std::string::npos);
  EXPECT_EQ(parsed(with(qwen, "layer_types", {"full_attention", "full_attention"})).sliding_window, 0);
  EXPECT_EQ(parsed(with(qwen, "layer_types", {"sliding_attention", "sliding_attention"})).sliding_window,
            256);
  EXPECT_NE(
      error_of(with(qwen, "layer_types", {"linear_attention", "full_attention"})).find("linear_attention"),
      std::string::npos);
}

TEST(HfConfig, RefusesByName) {
  const auto expect = [](const json& config, const std::string& part) {
    EXPECT_NE(error_of(config).find(part), std::string::npos) << error_of(config);
    EXPECT_EQ(error_of(config).rfind("config.json: ", 0), 0u) << error_of(config);
  };
  expect(with(llama(), "model_type", "gemma3"),
         "the architecture \"gemma3\" is unknown; supported are llama, mistral, qwen2, qwen3");
  for (const char* type : {"yarn", "dynamic", "longrope", "nonsense"}) {
    expect(with(llama(), "rope_scaling", {{"rope_type", type}, {"factor", 2}}),
           std::string("the rope type \"") + type + "\" is not supported");
  }
  expect(with(llama(), "rope_scaling", {{"rope_type", "llama3"}, {"factor", 2}}),
         "low_freq_factor: is missing");
  expect(with(llama(), "rope_scaling", 7), "expected a JSON object");
  expect(with(llama(), "hidden_act", "gelu"), "hidden_act: expected silu, found \"gelu\"");
  expect(with(llama(), "partial_rotary_factor", 0.5), "partial_rotary_factor");
  expect(with(llama(), "vocab_size", nullptr), "vocab_size: is missing");
  expect(with(llama(), "vocab_size", "many"), "vocab_size: expected an integer of 32 bits, found \"many\"");
  expect(with(llama(), "vocab_size", 1e3), "vocab_size: expected an integer");
  expect(with(llama(), "hidden_size", int64_t{1} << 40), "hidden_size: expected an integer of 32 bits");
  expect(with(llama(), "num_attention_heads", 0), "num_attention_heads: expected a positive number");
  expect(with(llama(), "num_key_value_heads", 3), "num_key_value_heads: expected a divisor");
  expect(with(llama(), "head_dim", 15), "head_dim: expected an even number");
  expect(with(llama(), "num_hidden_layers", 2000000000), "num_hidden_layers: expected at most");
  expect(with(llama(), "eos_token_id", {1, "x"}), "eos_token_id: expected a token id or a list of them");
  expect(with(llama(), "eos_token_id", 100), "eos_token_id: expected less than vocab_size (100), found 100");
  expect(with(llama(), "rms_norm_eps", -1), "rms_norm_eps: expected a positive number");
  expect(with(llama(), "dtype", "float64"), "dtype: expected bfloat16");
  expect(json::array(), "expected a JSON object");
}

TEST(HfConfig, GenerationConfigAddsToIt) {
  auto config = parsed(with(llama(), "eos_token_id", 5));
  GenerationDefaults defaults;
  const json generation = {{"eos_token_id", {5, 6}}, {"temperature", 0.6},
                           {"top_p", 0.9},           {"top_k", 20},
                           {"min_p", nullptr},       {"repetition_penalty", 1.05}};
  const Status status = parse_generation_config(generation, "generation_config.json", &config, &defaults);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(defaults.temperature, 0.6f);
  EXPECT_EQ(defaults.top_p, 0.9f);
  EXPECT_EQ(defaults.top_k, 20);
  EXPECT_EQ(defaults.min_p, 0.0f);
  EXPECT_EQ(defaults.repetition_penalty, 1.05f);
  EXPECT_FALSE(parse_generation_config({{"top_p", 1.5}}, "g", &config, &defaults).ok());
  EXPECT_FALSE(parse_generation_config({{"temperature", -1}}, "g", &config, &defaults).ok());
  EXPECT_FALSE(parse_generation_config({{"top_k", -2}}, "g", &config, &defaults).ok());
  EXPECT_FALSE(parse_generation_config({{"eos_token_id", 100}}, "g", &config, &defaults).ok());
}

TEST(HfConfig, WhatIsWrittenIsReadBack) {
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    auto config = testing::tiny_config(architecture);
    config.name.clear();
    config.norm_eps = 1e-5f;
    config.rope.theta = 123456.7f;
    config.rope.type = RopeType::kLlama3;
    config.rope.factor = 8;
    config.rope.original_context = 8192;
    config.eos_ids = {2, 3};
    config.dtype = QType::kF16;
    if (config.architecture != "llama") config.sliding_window = 64;
    const auto written = make_hf_config(config, {{"kept", 1}, {"quantization_config", {}}});
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_EQ((*written)["kept"], 1);
    EXPECT_FALSE(written->contains("quantization_config"));
    EXPECT_EQ(parsed(json::parse(written->dump())), config) << architecture;
    auto old_spelling = *written;
    old_spelling.erase("rope_parameters");
    EXPECT_EQ(parsed(old_spelling), config) << architecture;
  }
}

TEST(HfConfig, WhatItCannotSayIsNotWritten) {
  auto factors = testing::tiny_config();
  factors.rope.gguf_factors = {1, 2, 3, 4};
  EXPECT_EQ(make_hf_config(factors, json::object()).status().code(), StatusCode::kUnsupported);
  auto biases = testing::tiny_config();
  biases.qkv_bias = true;  // without the output's
  EXPECT_EQ(make_hf_config(biases, json::object()).status().code(), StatusCode::kUnsupported);
  auto windowed = testing::tiny_config();
  windowed.sliding_window = 32;  // a Mistral in a GGUF file, whose architecture says llama
  const auto written = make_hf_config(windowed, json::object());
  ASSERT_TRUE(written.ok());
  EXPECT_EQ((*written)["model_type"], "mistral");
}

}  // namespace
}  // namespace octet
