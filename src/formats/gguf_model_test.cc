#include "formats/gguf_model.h"

#include "formats/rope_llama3.h"
#include "formats/test_util.h"

namespace octet {
namespace {

using testing::bytes_of;
using testing::GgufBytes;

GgufBytes model(const std::string& architecture = "llama") {
  GgufBytes gguf;
  gguf.string("general.architecture", architecture)
      .u32(architecture + ".block_count", 1)
      .u32(architecture + ".context_length", 64)
      .u32(architecture + ".embedding_length", 16)
      .u32(architecture + ".feed_forward_length", 24)
      .u32(architecture + ".attention.head_count", 2)
      .u32(architecture + ".attention.head_count_kv", 1)
      .f32(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f)
      .floats("token_embd.weight", {10, 16}, std::vector<float>(160));
  return gguf;
}

Result<ModelConfig> config_of(const GgufBytes& gguf) {
  const std::string bytes = gguf.build();
  const auto parsed = parse_gguf(bytes_of(bytes), "a.gguf");
  if (!parsed.ok()) return parsed.status();
  return gguf_model_config(*parsed, "a.gguf");
}

std::string error_of(const GgufBytes& gguf) {
  const auto config = config_of(gguf);
  return config.ok() ? "no error" : config.status().message();
}

TEST(GgufModel, Sizes) {
  const auto config = config_of(model()
                                    .f32("llama.rope.freq_base", 5e5f)
                                    .u32("tokenizer.ggml.eos_token_id", 3)
                                    .u32("tokenizer.ggml.bos_token_id", 1));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->vocab_size, 10);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->n_kv_heads, 1);
  EXPECT_EQ(config->rope.theta, 5e5f);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->eos_ids, std::vector<int32_t>{3});
  EXPECT_EQ(config->bos_id, 1);
  EXPECT_FALSE(
      config_of(model().floats("output.weight", {10, 16}, std::vector<float>(160)))->tied_embeddings);
}

TEST(GgufModel, FlagsComeFromTheTensors) {
  const auto config =
      config_of(model("qwen3")
                    .floats("blk.0.attn_q.bias", {16}, std::vector<float>(16))
                    .floats("blk.0.attn_q_norm.weight", {8}, std::vector<float>(8))
                    .tensor("blk.0.ffn_down.weight", {16, 24}, std::string(16 * 24 * 2, 'x'), 1));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_TRUE(config->qkv_bias && config->qk_norm);
  EXPECT_FALSE(config->o_bias || config->mlp_bias);
  EXPECT_EQ(config->dtype, QType::kF16);
}

TEST(GgufModel, RopeScaling) {
  auto config =
      config_of(model().string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope.type, RopeType::kLinear);
  EXPECT_EQ(config->rope.factor, 4);
  config = config_of(model().floats("rope_freqs.weight", {4}, {1, 1, 2, 8}));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope.gguf_factors, (std::vector<float>{1, 1, 2, 8}));
  EXPECT_EQ(config->rope.type, RopeType::kDefault);
}

TEST(GgufModel, FactorsOfReleasedLlamasBecomeTheirParameters) {
  RopeConfig rope;
  rope.type = RopeType::kLlama3;
  rope.theta = 5e5f;
  rope.factor = 32;
  rope.original_context = 8192;
  RopeConfig from_file;
  from_file.theta = rope.theta;
  from_file.gguf_factors = llama3_rope_factors(rope, 64);
  EXPECT_EQ(from_file.gguf_factors.front(), 1.0f);
  EXPECT_EQ(from_file.gguf_factors.back(), 32.0f);
  recover_llama3_parameters(&from_file, 64);
  EXPECT_EQ(from_file, rope);
}

TEST(GgufModel, RefusesByName) {
  const auto expect = [](const GgufBytes& gguf, const std::string& part) {
    EXPECT_NE(error_of(gguf).find(part), std::string::npos) << error_of(gguf);
    EXPECT_EQ(error_of(gguf).rfind("a.gguf: ", 0), 0u) << error_of(gguf);
  };
  expect(GgufBytes(), "general.architecture: is missing");
  expect(model("gemma"), "the architecture \"gemma\" is unknown; supported are llama, qwen2, qwen3");
  expect(GgufBytes().string("general.architecture", "llama"), "metadata llama.block_count: is missing");
  expect(model().u32("llama.expert_count", 8), "models with experts");
  expect(model().u32("split.count", 3), "one of 3 parts");
  expect(model().string("llama.rope.scaling.type", "yarn"), "the rope type \"yarn\" is not supported");
  expect(model().u32("llama.rope.dimension_count", 4),
         "rope.dimension_count: expected the head's 8, found 4");
  expect(model().floats("rope_freqs.weight", {3}, {1, 1, 1}), "rope_freqs.weight: expected 4 values of f32");
  expect(model().floats("rope_factors_long.weight", {4}, {1, 1, 1, 1}), "longrope");
  expect(model().string("llama.attention.key_length", "x"), "key_length: expected an integer");
  expect(model().u32("llama.attention.value_length", 4), "value_length");
}

TEST(GgufModel, Vocabulary) {
  const auto bytes = model()
                         .string("tokenizer.ggml.model", "gpt2")
                         .string("tokenizer.ggml.pre", "llama-bpe")
                         .strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>"})
                         .numbers<int32_t>("tokenizer.ggml.token_type", GgufType::kI32, {1, 1, 1, 3})
                         .strings("tokenizer.ggml.merges", {"a b"})
                         .u32("tokenizer.ggml.bos_token_id", 3)
                         .u32("tokenizer.ggml.padding_token_id", 0xffffffff)
                         .string("tokenizer.chat_template", "{{ x }}")
                         .build();
  const auto gguf = parse_gguf(bytes_of(bytes), "a.gguf");
  ASSERT_TRUE(gguf.ok());
  const auto spec = gguf_tokenizer(*gguf, "a.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_FALSE(spec->empty());
  EXPECT_EQ(spec->gguf.tokens.size(), 4u);
  EXPECT_EQ(spec->gguf.types, (std::vector<int32_t>{1, 1, 1, 3}));
  EXPECT_EQ(spec->gguf.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(spec->gguf.bos_id, 3);
  EXPECT_EQ(spec->gguf.pad_id, -1);
  EXPECT_TRUE(spec->gguf.add_bos);
  EXPECT_EQ(spec->chat_template, "{{ x }}");
}

TEST(GgufModel, AVocabularyOfUnequalListsIsAnError) {
  const auto bytes = model()
                         .string("tokenizer.ggml.model", "llama")
                         .strings("tokenizer.ggml.tokens", {"a", "b"})
                         .numbers<float>("tokenizer.ggml.scores", GgufType::kF32, {1})
                         .build();
  const auto gguf = parse_gguf(bytes_of(bytes), "a.gguf");
  ASSERT_TRUE(gguf.ok());
  const auto spec = gguf_tokenizer(*gguf, "a.gguf");
  ASSERT_FALSE(spec.ok());
  EXPECT_NE(
      spec.status().message().find("tokenizer.ggml.scores: expected one number for each of the 2 tokens"),
      std::string::npos);
}

TEST(GgufModel, NamesAreHuggingFaces) {
  EXPECT_EQ(canonical_tensor_name("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(canonical_tensor_name("blk.12.attn_q.weight"), "model.layers.12.self_attn.q_proj.weight");
  EXPECT_EQ(canonical_tensor_name("blk.0.attn_v.bias"), "model.layers.0.self_attn.v_proj.bias");
  EXPECT_EQ(canonical_tensor_name("blk.3.ffn_norm.weight"), "model.layers.3.post_attention_layernorm.weight");
  EXPECT_EQ(canonical_tensor_name("blk.3.attn_k_norm.weight"), "model.layers.3.self_attn.k_norm.weight");
  for (const char* other : {"", "blk.", "blk.0", "blk.x.attn_q.weight", "blk.0.ffn_gate_inp.weight",
                            "blk.0.attn_q", "blk.0.attn_q.scale", "blk..attn_q.weight", "attn_q.weight"}) {
    EXPECT_EQ(canonical_tensor_name(other), "") << other;
  }
}

}  // namespace
}  // namespace octet
