#include <cstring>
#include <numeric>

#include "formats/checkpoint.h"
#include "formats/test_util.h"

namespace octet {
namespace {

using testing::GgufBytes;
using testing::TempFolder;

std::vector<float> counting(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

// One layer of 4 query heads and 2 key heads of 4 dimensions, all weights counting up.
GgufBytes gguf_model(const std::string& architecture) {
  GgufBytes gguf;
  gguf.string("general.architecture", architecture)
      .u32(architecture + ".block_count", 1)
      .u32(architecture + ".context_length", 64)
      .u32(architecture + ".embedding_length", 16)
      .u32(architecture + ".feed_forward_length", 24)
      .u32(architecture + ".attention.head_count", 4)
      .u32(architecture + ".attention.head_count_kv", 2)
      .f32(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
    size_t n = 1;
    for (const uint64_t d : shape) n *= d;
    gguf.floats(name, shape, counting(n));
  };
  add("token_embd.weight", {10, 16});
  add("output_norm.weight", {16});
  add("blk.0.attn_norm.weight", {16});
  add("blk.0.ffn_norm.weight", {16});
  add("blk.0.attn_q.weight", {16, 16});
  add("blk.0.attn_k.weight", {8, 16});
  add("blk.0.attn_v.weight", {8, 16});
  add("blk.0.attn_output.weight", {16, 16});
  add("blk.0.ffn_gate.weight", {24, 16});
  add("blk.0.ffn_up.weight", {24, 16});
  add("blk.0.ffn_down.weight", {16, 24});
  return gguf;
}

// The first column of rows [begin, end), as numbers of the stored rows.
std::vector<int> stored_rows(const Checkpoint& checkpoint, const std::string& name, int64_t begin,
                             int64_t end) {
  const auto* tensor = checkpoint.find(name);
  std::vector<float> values(static_cast<size_t>((end - begin) * tensor->cols()));
  std::vector<uint8_t> raw(values.size() * sizeof(float));
  EXPECT_TRUE(checkpoint.read_rows_f32(*tensor, begin, end, values.data()).ok());
  EXPECT_TRUE(checkpoint.read_rows_raw(*tensor, begin, end, raw.data()).ok());
  EXPECT_EQ(std::memcmp(raw.data(), values.data(), raw.size()), 0);
  std::vector<int> rows;
  for (int64_t i = 0; i < end - begin; ++i) {
    rows.push_back(static_cast<int>(values[static_cast<size_t>(i * tensor->cols())] /
                                    static_cast<float>(tensor->cols())));
  }
  return rows;
}

TEST(CheckpointGguf, LlamasQueryAndKeyRowsAreReadInHuggingFacesOrder) {
  const TempFolder folder;
  folder.write("m.gguf", gguf_model("llama").build());
  const auto opened = Checkpoint::open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.format, "gguf v3");
  EXPECT_EQ(checkpoint.config.name, "m");
  const std::string p = "model.layers.0.self_attn.";
  // The file has the two halves of a head, which rotate together, interleaved.
  EXPECT_EQ(stored_rows(checkpoint, p + "q_proj.weight", 0, 8), (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(stored_rows(checkpoint, p + "q_proj.weight", 5, 7), (std::vector<int>{6, 5}));
  EXPECT_EQ(stored_rows(checkpoint, p + "k_proj.weight", 4, 8), (std::vector<int>{4, 6, 5, 7}));
  EXPECT_EQ(stored_rows(checkpoint, p + "v_proj.weight", 0, 4), (std::vector<int>{0, 1, 2, 3}));
}

TEST(CheckpointGguf, QwensRowsAreInOrderAlready) {
  const TempFolder folder;
  folder.write("m.gguf", gguf_model("qwen2")
                             .floats("blk.0.attn_q.bias", {16}, counting(16))
                             .floats("blk.0.attn_k.bias", {8}, counting(8))
                             .floats("blk.0.attn_v.bias", {8}, counting(8))
                             .build());
  const auto opened = Checkpoint::open(folder.path("m.gguf"));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_TRUE((*opened)->config.qkv_bias);
  EXPECT_EQ(stored_rows(**opened, "model.layers.0.self_attn.q_proj.weight", 0, 4),
            (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(stored_rows(**opened, "model.layers.0.self_attn.q_proj.bias", 0, 4),
            (std::vector<int>{0, 1, 2, 3}));
}

TEST(CheckpointGguf, BlockTypesReadAsFloatsOnly) {
  const TempFolder folder;
  std::string block = testing::raw(uint16_t{0x3c00}) + std::string(32, '\x03');  // scale 1, all values 3
  GgufBytes gguf;
  gguf.string("general.architecture", "llama")
      .u32("llama.block_count", 1)
      .u32("llama.context_length", 64)
      .u32("llama.embedding_length", 32)
      .u32("llama.feed_forward_length", 32)
      .u32("llama.attention.head_count", 4)
      .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  for (const char* name : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) {
    gguf.floats(std::string(name) + ".weight", {32}, counting(32));
  }
  std::string matrix;
  for (int i = 0; i < 32; ++i) matrix += block;
  for (const char* name : {"token_embd", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_output",
                           "blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
    gguf.tensor(std::string(name) + ".weight", {32, 32}, matrix, 8);
  }
  folder.write("m.gguf", gguf.build());
  const auto opened = Checkpoint::open(folder.path("m.gguf"));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto* tensor = (*opened)->find("model.layers.0.self_attn.q_proj.weight");
  std::vector<float> values(64);
  ASSERT_TRUE((*opened)->read_rows_f32(*tensor, 30, 32, values.data()).ok());
  EXPECT_EQ(values, std::vector<float>(64, 3.0f));
  EXPECT_EQ((*opened)->read_rows_raw(*tensor, 0, 1, values.data()).code(), StatusCode::kUnsupported);
}

TEST(CheckpointGguf, AVocabularyAloneIsATokenizer) {
  const testing::TempFolder folder;
  const auto read = [&](const GgufBytes& bytes) {
    folder.write("vocabulary.gguf", bytes.build());
    return read_tokenizer(folder.path());
  };
  EXPECT_NE(read(GgufBytes().u32("k", 1)).status().message().find("no tokenizer in it"), std::string::npos);
  const auto spec = read(GgufBytes()
                             .string("tokenizer.ggml.model", "gpt2")
                             .strings("tokenizer.ggml.tokens", {"a", "b"})
                             .strings("tokenizer.ggml.merges", {}));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->gguf.tokens.size(), 2u);
}

TEST(CheckpointGguf, TensorsOfOtherModelsAreAnError) {
  const TempFolder folder;
  folder.write("m.gguf", gguf_model("llama").floats("blk.0.ffn_gate_inp.weight", {2}, {1, 2}).build());
  const auto opened = Checkpoint::open(folder.path("m.gguf"));
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("tensor blk.0.ffn_gate_inp.weight: belongs to nothing"),
            std::string::npos);
}

}  // namespace
}  // namespace octet
