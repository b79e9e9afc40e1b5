#include "formats/writer.h"

#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "formats/test_util.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using nlohmann::json;
using testing::TempFolder;

TensorToWrite filled(const std::string& name, DType type, std::vector<int64_t> shape, uint8_t byte) {
  return {name, type, std::move(shape), [byte](std::span<uint8_t> out) {
            std::fill(out.begin(), out.end(), byte);
            return Status();
          }};
}

TEST(WriteSafetensors, OneFileWithEveryTensorAligned) {
  const TempFolder folder;
  size_t bytes = 0;
  const Status status =
      write_safetensors(folder.path(),
                        {filled("a", DType::kI8, {3}, 1), filled("b", DType::kF32, {2, 2}, 2),
                         filled("c", DType::kBF16, {3}, 3), filled("d", DType::kF32, {}, 4),
                         filled("e", DType::kF8E4M3, {0, 7}, 5)},
                        1000, [&](size_t n) { bytes += n; });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(bytes, 3u + 16 + 6 + 4);
  const std::string file = folder.read("model.safetensors");
  const auto entries = parse_safetensors(testing::bytes_of(file), "model.safetensors");
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  ASSERT_EQ(entries->size(), 5u);
  for (const auto& entry : *entries) {
    EXPECT_EQ(entry.begin % static_cast<size_t>(dtype_info(entry.type).block_bytes), 0u) << entry.name;
    for (size_t i = entry.begin; i < entry.end; ++i) EXPECT_EQ(file[i], entry.name[0] - 'a' + 1);
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("model.safetensors.index.json")));
}

TEST(WriteSafetensors, ShardsWithAnIndex) {
  const TempFolder folder;
  const Status status = write_safetensors(
      folder.path(),
      {filled("a", DType::kI8, {60}, 1), filled("b", DType::kI8, {40}, 2), filled("c", DType::kI8, {1}, 3),
       filled("d", DType::kI8, {500}, 4), filled("e", DType::kI8, {100}, 5)},
      100, nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto index = json::parse(folder.read("model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 701);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["e"], "model-00004-of-00004.safetensors");
  const auto files = open_safetensors_folder(folder.path());
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->size(), 4u);
}

TEST(WriteSafetensors, AFailureLeavesNothing) {
  const TempFolder folder;
  TensorToWrite broken = filled("b", DType::kI8, {8}, 0);
  broken.fill = [](std::span<uint8_t>) { return corrupt("the source is broken"); };
  const Status status =
      write_safetensors(folder.path(), {filled("a", DType::kI8, {8}, 1), broken}, 8, nullptr);
  EXPECT_EQ(status.message(), "the source is broken");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(WriteSafetensors, SaysWhatItCannotWrite) {
  const TempFolder folder;
  const auto message = [&](const std::vector<TensorToWrite>& tensors) {
    return write_safetensors(folder.path(), tensors, 8, nullptr).message();
  };
  EXPECT_NE(message({filled("a", DType::kQ4_K, {256}, 1)}).find("tensor a: safetensors has no type q4_k"),
            std::string::npos);
  EXPECT_NE(message({filled("a", DType::kI8, {-1}, 1)}).find("tensor a: expected a shape"),
            std::string::npos);
  EXPECT_NE(
      message({filled("a", DType::kI8, {1}, 1), filled("a", DType::kI8, {1}, 1)}).find("is there twice"),
      std::string::npos);
  EXPECT_NE(message({filled("a", DType::kI8, {int64_t{1} << 59}, 1)}).find("free some space"),
            std::string::npos);
  const Status status = write_safetensors(folder.path("none"), {filled("a", DType::kI8, {1}, 1)}, 8, nullptr);
  EXPECT_NE(status.message().find("cannot create the file: No such file"), std::string::npos)
      << status.message();
}

TEST(WriteModelFiles, KeepsTheSourcesOtherFieldsAndFiles) {
  const TempFolder source, target;
  testing::write_tiny_model(source, testing::tiny_config());
  auto config = json::parse(source.read("config.json"));
  config["pad_token_id"] = 7;
  source.write("config.json", config.dump());
  source.write("generation_config.json", R"({"temperature":0.6,"transformers_version":"x"})");
  source.write("tokenizer.json", R"({"version":"1.0"})");
  source.write("chat_template.jinja", "{{ messages }}");
  const auto checkpoint = Checkpoint::open(source.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  std::map<std::string, QuantScheme> modules;
  for (const auto& module : linear_modules((*checkpoint)->config))
    modules[module] = *scheme_by_name("int8-minmax");
  modules["lm_head"] = *scheme_by_name("fp16");
  const Status status = write_model_files(target.path(), **checkpoint, modules, nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto written = json::parse(target.read("config.json"));
  EXPECT_EQ(written["pad_token_id"], 7);
  EXPECT_EQ(written["dtype"], "float16");
  EXPECT_EQ(written["quantization_config"]["ignore"], json{"lm_head"});
  EXPECT_EQ(target.read("generation_config.json"), source.read("generation_config.json"));
  EXPECT_EQ(target.read("tokenizer.json"), source.read("tokenizer.json"));
  EXPECT_EQ(target.read("chat_template.jinja"), "{{ messages }}");
  EXPECT_FALSE(std::filesystem::exists(target.path("tokenizer_config.json")));
}

TEST(WriteModelFiles, AQuantizedHeadIsNoLongerTied) {
  const TempFolder source, target;
  auto config = testing::tiny_config();
  config.tied_embeddings = true;
  testing::write_tiny_model(source, config);
  const auto checkpoint = *Checkpoint::open(source.path());
  std::map<std::string, QuantScheme> modules;
  for (const auto& module : linear_modules(config)) modules[module] = *scheme_by_name("fp8");
  modules["lm_head"] = *scheme_by_name("fp8");
  ASSERT_TRUE(write_model_files(target.path(), *checkpoint, modules, nullptr).ok());
  const auto written = json::parse(target.read("config.json"));
  EXPECT_EQ(written["tie_word_embeddings"], false);
  EXPECT_TRUE(written["quantization_config"]["ignore"].empty());
  EXPECT_EQ(written["quantization_config"]["format"], "float-quantized");
}

TEST(WriteModelFiles, FromAGgufVocabulary) {
  const TempFolder target;
  auto checkpoint = *Checkpoint::random("smollm2-135m");
  checkpoint->config.eos_ids = {2, 0};
  auto& gguf = checkpoint->tokenizer.gguf;
  gguf.model = "gpt2";
  gguf.pre = "smollm";
  gguf.tokens = {"<|end|>", "a", "b", "ab"};
  gguf.types = {3, 1, 1, 1};
  gguf.merges = {"a b"};
  gguf.eos_id = 0;
  checkpoint->tokenizer.chat_template = "{{ x }}";
  const Status status = write_model_files(target.path(), *checkpoint, {}, nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(json::parse(target.read("generation_config.json"))["eos_token_id"], (json{2, 0}));
  EXPECT_EQ(json::parse(target.read("tokenizer.json"))["model"]["merges"], json{"a b"});
  EXPECT_EQ(json::parse(target.read("tokenizer_config.json"))["eos_token"], "<|end|>");
  EXPECT_EQ(target.read("chat_template.jinja"), "{{ x }}");
  EXPECT_FALSE(json::parse(target.read("config.json")).contains("quantization_config"));
}

}  // namespace
}  // namespace octet
