#include "quantize/recipe_file.h"

#include <gtest/gtest.h>

#include "model/weights.h"

namespace octet {
namespace {

TEST(RecipeFile, IsReadAsItWasWritten) {
  const auto checkpoint = Checkpoint::open("tests/golden/models/llama31");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  RecipeFile recipe{"int8-minmax", {{"model.layers.1", "bf16"}, {"model.layers.1.mlp.down_proj", "fp8"}}};
  const auto read = parse_recipe(recipe_text(recipe), "r.json", (*checkpoint)->config);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->layers, recipe.layers);
  QuantizeOptions options;
  apply_recipe(*read, &options);
  const auto schemes =
      assign_schemes(**checkpoint, {.scheme = options.scheme, .overrides = options.overrides});
  ASSERT_TRUE(schemes.ok()) << schemes.status().message();
  EXPECT_EQ(scheme_name(schemes->at("model.layers.0.mlp.down_proj")), "int8-minmax");
  EXPECT_EQ(scheme_name(schemes->at("model.layers.1.mlp.up_proj")), "bf16");
  EXPECT_EQ(scheme_name(schemes->at("model.layers.1.mlp.down_proj")), "fp8");
}

TEST(RecipeFile, ErrorsNameTheKey) {
  ModelConfig config;
  config.n_layers = 2;
  const std::pair<const char*, const char*> cases[] = {
      {"{", "r.json"},
      {"[]", "expected an object"},
      {R"({"scheme": "fp8"})", "octet_recipe: is missing"},
      {R"({"octet_recipe": 1})", "scheme: is missing"},
      {R"({"octet_recipe": 2, "scheme": "fp8"})", "version 2"},
      {R"({"octet_recipe": 1, "scheme": "fp9"})", "r.json: scheme: "},
      {R"({"octet_recipe": 1, "scheme": "fp8", "layer": {}})", "layer: not known"},
      {R"({"octet_recipe": 1, "scheme": "fp8", "layers": []})", "layers: expected an object"},
      {R"({"octet_recipe": 1, "scheme": "fp8", "layers": {"model.layers.0": 8}})", "layers: model.layers.0"},
      {R"({"octet_recipe": 1, "scheme": "fp8", "layers": {"model.layers.0": "x"}})",
       "layers: model.layers.0"},
      {R"({"octet_recipe": 1, "scheme": "fp8", "layers": {"model.layers.9": "fp8"}})",
       "no such linear layer"},
  };
  for (const auto& [text, expected] : cases) {
    const auto recipe = parse_recipe(text, "r.json", config);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_NE(recipe.status().message().find(expected), std::string::npos) << recipe.status().message();
  }
}

}  // namespace
}  // namespace octet
