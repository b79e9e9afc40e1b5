// Ids equal to those of Hugging Face's tokenizers and of llama.cpp, on vectors and vocabularies of real
// models.
#include <chrono>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "text/gguf_vocabulary_for_test.h"
#include "text/shared_data_for_test.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace octet {
namespace {

const std::string kVectors = shared_path("data/tokenizers/vectors/");
const std::string kLlama3 = shared_path("data/tokenizers/llama-3.1/tokenizer.json");

std::unique_ptr<Tokenizer> load_json(const std::string& path) {
  TokenizerSpec spec;
  spec.tokenizer_json = read_file(path);
  auto tokenizer = Tokenizer::create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

std::unique_ptr<Tokenizer> load_gguf(const std::string& name) {
  TokenizerSpec spec;
  spec.gguf =
      GgufVocabularyReader(shared_path("data/tokenizers/vocab-gguf/ggml-vocab-" + name + ".gguf")).read();
  auto tokenizer = Tokenizer::create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

void expect_llama_cpp_vectors(const Tokenizer& tokenizer, const std::string& name) {
  const auto texts =
      split_text(read_file(kVectors + "ggml-vocab-" + name + ".gguf.inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split_text(read_file(kVectors + "ggml-vocab-" + name + ".gguf.out"), "\n");
  ASSERT_GE(texts.size(), 46u);
  ASSERT_GE(lines.size(), 46u);
  for (size_t i = 0; i < 46; ++i) {
    std::vector<TokenId> expected;
    std::istringstream in(lines[i]);
    for (TokenId id; in >> id;) expected.push_back(id);
    const auto ids = tokenizer.encode(texts[i], {.add_special_tokens = false});
    EXPECT_EQ(ids, expected) << name << " text " << i << ": " << texts[i];
    EXPECT_EQ(tokenizer.decode(ids), texts[i]) << name << " text " << i;
  }
}

TEST(TokenizerSharedTest, Llama3FromTokenizerJson) {
  OCTET_NEEDS_SHARED(kLlama3);
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = load_json(kLlama3);
  ASSERT_NE(tokenizer, nullptr);
  const std::chrono::duration<double> load = std::chrono::steady_clock::now() - begin;
  RecordProperty("load_ms", static_cast<int>(load.count() * 1000));
  EXPECT_EQ(tokenizer->size(), 128256);
  EXPECT_EQ(tokenizer->encode("").size(), 1u);
  EXPECT_EQ(tokenizer->encode("")[0], 128000);

  int n = 0;
  for (const std::string& line : split_text(read_file(kVectors + "llama-3.1.hf.jsonl"), "\n")) {
    if (line.empty()) continue;
    const auto json = nlohmann::json::parse(line);
    const auto text = json["text"].get<std::string>();
    const auto ids = tokenizer->encode(text, {.add_special_tokens = false});
    EXPECT_EQ(ids, json["ids"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(tokenizer->decode(ids, /*skip_special_tokens=*/false), text);
    ++n;
  }
  EXPECT_EQ(n, 585);
  expect_llama_cpp_vectors(*tokenizer, "llama-bpe");
}

TEST(TokenizerSharedTest, Gpt2FromGguf) {
  OCTET_NEEDS_SHARED(kVectors);
  const auto tokenizer = load_gguf("gpt-2");
  ASSERT_NE(tokenizer, nullptr);
  expect_llama_cpp_vectors(*tokenizer, "gpt-2");
}

TEST(TokenizerSharedTest, LlamaSentencePieceFromGguf) {
  OCTET_NEEDS_SHARED(kVectors);
  const auto tokenizer = load_gguf("llama-spm");
  ASSERT_NE(tokenizer, nullptr);
  expect_llama_cpp_vectors(*tokenizer, "llama-spm");
}

TEST(TokenizerSharedTest, TinyModelsRoundTrip) {
  OCTET_NEEDS_SHARED(shared_path("data/models/tiny-llama2"));
  for (const char* name : {"llama2", "llama31", "llama32-tied", "mistral", "qwen2", "qwen3"}) {
    const std::string folder = shared_path("data/models/tiny-") + name;
    TokenizerSpec spec;
    spec.tokenizer_json = read_file(folder + "/tokenizer.json");
    spec.tokenizer_config_json = read_file(folder + "/tokenizer_config.json");
    auto tokenizer = Tokenizer::create(spec);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    EXPECT_EQ((*tokenizer)->bos_token(), "<s>");
    EXPECT_EQ((*tokenizer)->eos_id(), 2);
    const std::string text = "The quick brown fox, 12345 naïve cafés\n\n\t日本語 🙂 end ";
    const auto ids = (*tokenizer)->encode(text);
    EXPECT_LT(ids.size(), text.size());
    EXPECT_EQ((*tokenizer)->decode(ids), text);
  }
}

}  // namespace
}  // namespace octet
