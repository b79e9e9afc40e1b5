#include "formats/checkpoint.h"

#include <nlohmann/json.hpp>

#include "formats/test_util.h"

namespace octet {
namespace {

using testing::TempFolder;
using testing::tiny_config;
using testing::write_tiny_model;
using testing::write_tiny_quantized_model;

std::string error_of(const std::string& path) {
  const auto checkpoint = Checkpoint::open(path);
  return checkpoint.ok() ? "no error" : checkpoint.status().message();
}

void expect_error(const std::string& path, const std::string& part) {
  const std::string error = error_of(path);
  EXPECT_NE(error.find(part), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

// Changes the bytes of a file in place; both texts are of the same length.
void replace_in(const TempFolder& folder, const std::string& file, const std::string& from,
                const std::string& to) {
  ASSERT_EQ(from.size(), to.size());
  std::string bytes = folder.read(file);
  const size_t at = bytes.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  folder.write(file, bytes.replace(at, from.size(), to));
}

TEST(Checkpoint, OpensEveryFamilyAsItWasWritten) {
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const bool tied : {false, true}) {
      const TempFolder folder;
      auto config = tiny_config(architecture);
      config.tied_embeddings = tied;
      write_tiny_model(folder, config);
      const auto checkpoint = Checkpoint::open(folder.path());
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
      config.name = std::filesystem::path(folder.path()).filename().string();
      EXPECT_EQ((*checkpoint)->config, config);
      EXPECT_EQ((*checkpoint)->format, "safetensors");
      EXPECT_TRUE((*checkpoint)->tokenizer.empty());
      EXPECT_TRUE((*checkpoint)->schemes.empty());
      EXPECT_EQ((*checkpoint)->find("lm_head.weight") == nullptr, tied);
      int64_t parameters = 0;
      for (const auto& [name, tensor] : (*checkpoint)->tensors) parameters += tensor.rows() * tensor.cols();
      EXPECT_EQ(parameters, config.n_parameters());
    }
  }
}

TEST(Checkpoint, OpensQuantizedModels) {
  for (const char* name : {"int8-minmax", "fp8"}) {
    const TempFolder folder;
    const QuantScheme scheme = *scheme_by_name(name);
    write_tiny_quantized_model(folder, tiny_config(), scheme);
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ((*checkpoint)->schemes.size(), 14u);
    EXPECT_EQ((*checkpoint)->scheme_of("model.layers.1.mlp.down_proj"), scheme);
    EXPECT_FALSE((*checkpoint)->scheme_of("lm_head").weight.quantized());
    const auto* weight = (*checkpoint)->find("model.layers.0.self_attn.k_proj.weight");
    ASSERT_NE(weight, nullptr);
    std::vector<uint8_t> codes(static_cast<size_t>(weight->cols()));
    ASSERT_TRUE((*checkpoint)->read_rows_raw(*weight, 1, 2, codes.data()).ok());
    EXPECT_EQ(codes[0], 24);
    const auto* scale = (*checkpoint)->find("model.layers.0.self_attn.k_proj.weight_scale");
    float value = 0;
    ASSERT_TRUE((*checkpoint)->read_rows_f32(*scale, 3, 4, &value).ok());
    EXPECT_EQ(value, 0x1p-7f);
  }
}

TEST(Checkpoint, NamesWhatAQuantizedModelLacks) {
  const TempFolder folder;
  write_tiny_quantized_model(folder, tiny_config(), *scheme_by_name("int8-minmax"));
  replace_in(folder, "model.safetensors", "layers.1.mlp.up_proj.weight_scale",
             "layers.1.mlp.up_proj.weight_scalf");
  expect_error(folder.path(),
               "tensor model.layers.1.mlp.up_proj.weight_scale: expected shape [48, 1], found no such");
  replace_in(folder, "model.safetensors", "layers.1.mlp.up_proj.weight_scalf",
             "layers.1.mlp.up_proj.weight_scale");
  replace_in(folder, "config.json", "\"int\"", "\"INT\"");
  expect_error(folder.path(), "expected int8, int4 or float8, found INT8/");
}

TEST(Checkpoint, NamesTheTensorThatIsWrong) {
  const TempFolder folder;
  write_tiny_model(folder, tiny_config());
  const std::string bytes = folder.read("model.safetensors");
  replace_in(folder, "model.safetensors", "layers.1.input_layernorm", "layers.1.inputalayernorm");
  expect_error(folder.path(),
               "tensor model.layers.1.input_layernorm.weight: expected shape [24], found no such tensor");
  folder.write("model.safetensors", bytes);
  replace_in(folder, "model.safetensors", R"("dtype":"BF16","shape":[48,24])",
             R"("dtype":"BF16","shape":[24,48])");
  expect_error(folder.path(), "model.safetensors: tensor model.layers.0.mlp.");
  expect_error(folder.path(), "expected shape [48, 24], found [24, 48]");
  folder.write("model.safetensors", bytes);
  replace_in(folder, "config.json", "\"attention_bias\": false", "\"attention_bias\":  true");
  expect_error(folder.path(),
               "tensor model.layers.0.self_attn.q_proj.bias: expected shape [32], found no such tensor");
}

TEST(Checkpoint, ATensorThatTheForwardWouldLeaveOutIsAnError) {
  const TempFolder folder;
  write_tiny_model(folder, tiny_config("qwen2"));
  replace_in(folder, "config.json", "\"model_type\": \"qwen2\"", "\"model_type\": \"llama\"");
  expect_error(folder.path(),
               "tensor model.layers.0.self_attn.k_proj.bias: belongs to nothing that this architecture");
}

TEST(Checkpoint, TypesThatCannotBeComputedWithAreAnError) {
  const TempFolder folder;
  write_tiny_quantized_model(folder, tiny_config(), *scheme_by_name("int8-minmax"));
  auto config = nlohmann::json::parse(folder.read("config.json"));
  config.erase("quantization_config");
  folder.write("config.json", config.dump());
  expect_error(folder.path(),
               "tensor model.layers.0.self_attn.q_proj.weight: expected a floating-point type, found i8");
}

TEST(Checkpoint, WhatIsNoModel) {
  const TempFolder folder;
  EXPECT_EQ(Checkpoint::open(folder.path("none")).status().code(), StatusCode::kNotFound);
  expect_error(folder.path(), "expected a config.json with safetensors, or one .gguf file, found 0");
  folder.write("x.bin", "abc");
  expect_error(folder.path("x.bin"), "expected a GGUF file");
  folder.write("model.safetensors", "abc");
  expect_error(folder.path("model.safetensors"), "expected the folder of the model");
  folder.write("config.json", "{\"model_type\":");
  expect_error(folder.path(), "config.json: not valid JSON");
}

TEST(Checkpoint, TokenizerFilesAndTemplates) {
  const TempFolder folder;
  write_tiny_model(folder, tiny_config());
  folder.write("tokenizer.json", "{}");
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"tool","template":"no"},{"name":"default","template":"yes"}]})");
  auto spec = (*Checkpoint::open(folder.path()))->tokenizer;
  EXPECT_EQ(spec.tokenizer_json, "{}");
  EXPECT_EQ(spec.tokenizer_json_path, folder.path("tokenizer.json"));
  EXPECT_EQ(spec.chat_template, "yes");
  folder.write("tokenizer_config.json", R"({"chat_template":"plain"})");
  EXPECT_EQ((*Checkpoint::open(folder.path()))->tokenizer.chat_template, "plain");
  folder.write("chat_template.jinja", "file");
  EXPECT_EQ((*Checkpoint::open(folder.path()))->tokenizer.chat_template, "file");
}

TEST(ReadTokenizer, NeedsNoModelBesideIt) {
  const TempFolder folder;
  const auto error = [](const std::string& path) {
    const auto spec = read_tokenizer(path);
    return spec.ok() ? "no error" : spec.status().message();
  };
  EXPECT_NE(error(folder.path()).find("no tokenizer: expected a tokenizer.json, or one .gguf file"),
            std::string::npos);
  EXPECT_NE(error(folder.path("none")).find("no such file or folder"), std::string::npos);
  folder.write("tokenizer.json", "{}");
  folder.write("tokenizer_config.json", R"({"chat_template": "hi"})");
  for (const auto& path : {folder.path(), folder.path("tokenizer.json")}) {
    const auto spec = read_tokenizer(path);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    EXPECT_EQ(spec->tokenizer_json, "{}");
    EXPECT_EQ(spec->chat_template, "hi");
  }
}

TEST(Checkpoint, ATiedModelsStoredHeadIsNotUsed) {
  const TempFolder folder;
  write_tiny_model(folder, tiny_config());  // with a head
  replace_in(folder, "config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\":  true");
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_TRUE((*checkpoint)->config.tied_embeddings);
  EXPECT_EQ((*checkpoint)->find("lm_head.weight"), nullptr);
}

TEST(LinearModules, ShapesAreThoseOfTheConfig) {
  const auto config = tiny_config();
  EXPECT_EQ(linear_modules(config).size(), 14u);
  EXPECT_EQ(linear_modules(config)[7], "model.layers.1.self_attn.q_proj");
  EXPECT_EQ(linear_shape(config, "model.layers.0.self_attn.q_proj"), (std::pair<int64_t, int64_t>(32, 24)));
  EXPECT_EQ(linear_shape(config, "model.layers.0.self_attn.v_proj"), (std::pair<int64_t, int64_t>(16, 24)));
  EXPECT_EQ(linear_shape(config, "model.layers.0.self_attn.o_proj"), (std::pair<int64_t, int64_t>(24, 32)));
  EXPECT_EQ(linear_shape(config, "model.layers.0.mlp.down_proj"), (std::pair<int64_t, int64_t>(24, 48)));
  EXPECT_EQ(linear_shape(config, "lm_head"), (std::pair<int64_t, int64_t>(40, 24)));
}

}  // namespace
}  // namespace octet
