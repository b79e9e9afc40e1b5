// That the files give Hugging Face's library the ids of the vocabulary's own model was tried with that
// library (SmolLM2, GPT-2's and Llama 2's vocabularies against llama.cpp's vectors); here their parts are
// checked.
#include "formats/tokenizer_writer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

using nlohmann::json;

GgufVocabulary byte_level(const std::string& pre) {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  v.tokens = {"<|s|>", "a", "b", "ab", "<tool>"};
  v.types = {3, 1, 1, 1, 4};
  v.merges = {"a b"};
  v.bos_id = 0;
  return v;
}

GgufVocabulary sentencepiece() {
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"};
  v.types = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1};
  v.scores = {0, 0, 0, 0, -1, -2, -3, -1, -2, -3};
  v.unk_id = 0;
  v.bos_id = 1;
  v.eos_id = 2;
  v.add_bos = true;
  return v;
}

json written(const GgufVocabulary& vocabulary) {
  const auto text = make_tokenizer_json(vocabulary);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.ok() ? json::parse(*text) : json();
}

TEST(TokenizerWriter, ByteLevel) {
  const auto tokenizer = written(byte_level("llama-bpe"));
  EXPECT_EQ(tokenizer["model"]["vocab"]["ab"], 3);
  EXPECT_EQ(tokenizer["model"]["ignore_merges"], true);
  EXPECT_EQ(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
  ASSERT_EQ(tokenizer["added_tokens"].size(), 2u);
  EXPECT_EQ(tokenizer["added_tokens"][0]["special"], true);
  EXPECT_EQ(tokenizer["added_tokens"][1]["id"], 4);
  EXPECT_EQ(tokenizer["added_tokens"][1]["special"], false);
  EXPECT_TRUE(tokenizer["post_processor"].is_null());
  EXPECT_TRUE(tokenizer["normalizer"].is_null());
  EXPECT_EQ(written(byte_level("qwen2"))["normalizer"]["type"], "NFC");
  EXPECT_EQ(written(byte_level("smollm"))["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
  EXPECT_EQ(written(byte_level("gpt-2"))["pre_tokenizer"]["use_regex"], true);
}

TEST(TokenizerWriter, BeginAndEndTokens) {
  auto vocabulary = byte_level("smollm");
  vocabulary.add_bos = true;
  const auto processor = written(vocabulary)["post_processor"];
  EXPECT_EQ(processor["single"].size(), 2u);
  EXPECT_EQ(processor["single"][0]["SpecialToken"]["id"], "<|s|>");
  EXPECT_EQ(processor["pair"].size(), 4u);
  EXPECT_EQ(processor["special_tokens"]["<|s|>"]["ids"], json{0});
}

TEST(TokenizerWriter, SentencePiecesScoresBecomeMerges) {
  const auto tokenizer = written(sentencepiece());
  const json expected =
      json::parse("[[\"\u2581\",\"a\"],[\"a\",\"b\"],[\"\u2581\",\"ab\"],[\"\u2581a\",\"b\"]]");
  EXPECT_EQ(tokenizer["model"]["merges"], expected);
  EXPECT_EQ(tokenizer["model"]["byte_fallback"], true);
  EXPECT_EQ(tokenizer["model"]["unk_token"], "<unk>");
  EXPECT_EQ(tokenizer["normalizer"]["normalizers"].size(), 2u);
  auto without_prefix = sentencepiece();
  without_prefix.add_space_prefix = false;
  EXPECT_EQ(written(without_prefix)["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(written(without_prefix)["decoder"]["decoders"].size(), 3u);
}

TEST(TokenizerWriter, RefusesWhatItCannotSay) {
  EXPECT_EQ(make_tokenizer_json(byte_level("bloom")).status().code(), StatusCode::kUnsupported);
  auto other = byte_level("smollm");
  other.model = "bert";
  EXPECT_EQ(make_tokenizer_json(other).status().code(), StatusCode::kUnsupported);
  auto merges = byte_level("smollm");
  merges.merges = {"a x"};
  EXPECT_EQ(make_tokenizer_json(merges).status().code(), StatusCode::kCorrupt);
  auto encoding = byte_level("smollm");
  encoding.tokens[1] = "\xff";
  encoding.merges.clear();
  EXPECT_EQ(make_tokenizer_json(encoding).status().code(), StatusCode::kCorrupt);
  auto scores = sentencepiece();
  scores.scores.clear();
  EXPECT_EQ(make_tokenizer_json(scores).status().code(), StatusCode::kCorrupt);
}

TEST(TokenizerWriter, Config) {
  const auto config = json::parse(make_tokenizer_config(sentencepiece(), 2048));
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["model_max_length"], 2048);
  EXPECT_FALSE(config.contains("pad_token"));
}

}  // namespace
}  // namespace octet
