#include "text/tokenizer.h"

#include <ctime>
#include <random>

#include <gtest/gtest.h>

#include "text/normalizer.h"
#include "text/shared_data_for_test.h"
#include "text/utf8.h"

namespace octet {
namespace {

// Instrumented or unoptimized builds on busy machines take far longer than the second a user waits for.
constexpr double kMaxSecondsPerMegabyte = 10;

std::unique_ptr<Tokenizer> golden(const std::string& name) {
  TokenizerSpec spec;
  spec.tokenizer_json = read_file("tests/golden/text/tokenizers/" + name + ".json");
  auto tokenizer = Tokenizer::create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(*tokenizer);
}

Status error_of(const std::string& json) {
  TokenizerSpec spec;
  spec.tokenizer_json = json;
  return Tokenizer::create(spec).status();
}

TEST(TokenizerTest, MegabytesOfAnythingTakeLinearTime) {
  std::mt19937 random(1);
  constexpr size_t kSize = 1 << 20;
  std::string bytes, letters, marks;
  for (size_t i = 0; i < kSize; ++i) bytes += static_cast<char>(random());
  for (size_t i = 0; i < kSize; ++i) letters += static_cast<char>('a' + random() % 26);
  while (marks.size() < kSize) marks += "\xCC\x81\xCC\xA7";  // two combining marks in the wrong order
  const std::string spaces(kSize, ' '), newlines(kSize, '\n'), one_letter(kSize, 'a');
  const auto encode = [](const Tokenizer& tokenizer, const std::string& text) {
    const std::clock_t begin = std::clock();
    auto ids = tokenizer.encode(text);
    EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, kMaxSecondsPerMegabyte)
        << text.substr(0, 9);
    EXPECT_GT(ids.size(), 1000u);
    return ids;
  };
  for (const char* name : {"llama3", "llama2"}) {
    const auto tokenizer = golden(name);
    for (const std::string& text : {one_letter, spaces, newlines, bytes, letters, marks}) {
      EXPECT_TRUE(tokenizer->decode(encode(*tokenizer, text)) == to_valid_utf8(text))
          << name << text.substr(0, 9);
    }
  }
  encode(*golden("qwen2"), marks);  // normalizes
}

TEST(TokenizerTest, SpecialTokensAreTextWhereAskedFor) {
  const auto tokenizer = golden("llama2");
  const TokenId bos = tokenizer->find("<s>"), end = tokenizer->find("</s>");
  EXPECT_EQ(tokenizer->encode("a</s>", {.add_special_tokens = false}).back(), end);
  for (const TokenId id :
       tokenizer->encode("<s>a</s>", {.add_special_tokens = false, .parse_special = false})) {
    EXPECT_NE(id, bos);
    EXPECT_NE(id, end);
  }
  EXPECT_EQ(tokenizer->encode("a").front(), bos);
  EXPECT_TRUE(tokenizer->is_special(end));
  EXPECT_EQ(tokenizer->token_bytes(end), "</s>");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->find("<0x0A>")), "\n");
  EXPECT_EQ(tokenizer->token_bytes(1 << 30), "");
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->decode({-5, bos, 1 << 30}), "");
}

TEST(TokenizerTest, BosAndEosComeFromTheConfig) {
  TokenizerSpec spec;
  spec.tokenizer_json = read_file("tests/golden/text/tokenizers/llama2.json");
  spec.tokenizer_config_json =
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "model_max_length": 1000000000000000019884624838656})";
  const auto tokenizer = Tokenizer::create(spec);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->bos_token(), "<s>");
  EXPECT_EQ((*tokenizer)->eos_id(), (*tokenizer)->find("</s>"));
}

TEST(TokenizerTest, ErrorsNameWhatIsWrong) {
  const std::string model =
      R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})";
  const std::string decoder = R"("decoder": {"type": "ByteLevel"})";
  EXPECT_TRUE(error_of("{" + model + "," + decoder + "}").ok());
  const auto expect = [](const std::string& json, StatusCode code, const std::string& part) {
    const Status status = error_of(json);
    EXPECT_EQ(status.code(), code) << json;
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  expect("{", StatusCode::kCorrupt, "tokenizer.json: no JSON");
  expect("[]", StatusCode::kCorrupt, "'model'");
  expect(R"({"model": {"type": "Unigram"}})", StatusCode::kUnsupported, "Unigram");
  expect("{" + model + "," + decoder + R"(, "normalizer": {"type": "NFKC"}})", StatusCode::kUnsupported,
         "normalizer: type 'NFKC'");
  expect("{" + model + "," + decoder + R"(, "pre_tokenizer": {"type": "BertPreTokenizer"}})",
         StatusCode::kUnsupported, "BertPreTokenizer");
  expect("{" + model + "}", StatusCode::kUnsupported, "decoder: null");
  expect(R"({"model": {"vocab": {"a": 0, "b": 0}, "merges": []}})", StatusCode::kCorrupt, "same id 0");
  expect(R"({"model": {"vocab": {"a": 2000000000}, "merges": []}})", StatusCode::kCorrupt, "2000000000");
  expect(R"({"model": {"vocab": {"a": 0}, "merges": ["a a"]}})", StatusCode::kCorrupt, "entry 0");
  expect("{" + model + "," + decoder + R"(, "added_tokens": [{"id": 1, "content": "x"}]})",
         StatusCode::kCorrupt, "contradicts");
  expect("{" + model + "," + decoder +
             R"(, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}})",
         StatusCode::kInvalidArgument, "'('");
  expect(
      "{" + model + "," + decoder +
          R"(, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"}})",
      StatusCode::kUnsupported, "intersection");
}

GgufVocabulary sentence_piece() {
  GgufVocabulary gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>",
                 "<s>",
                 "</s>",
                 "\xE2\x96\x81",
                 "a",
                 "b",
                 "ab",
                 "\xE2\x96\x81"
                 "a",
                 "<0xC3>",
                 "<0xA9>",
                 "<user>"};
  gguf.types = {2, 3, 3, 1, 1, 1, 1, 1, 6, 6, 4};
  gguf.scores = {0, 0, 0, -4, -3, -3, -1, -2, 0, 0, 0};
  gguf.bos_id = 1;
  gguf.eos_id = 2;
  gguf.unk_id = 0;
  gguf.add_bos = true;
  return gguf;
}

TEST(TokenizerTest, GgufSentencePiece) {
  const auto tokenizer = Tokenizer::create({.gguf = sentence_piece()});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  using Ids = std::vector<TokenId>;
  // The higher score first: "ab" (-1) before U+2581 "a" (-2).
  EXPECT_EQ((*tokenizer)->encode("ab"), (Ids{1, 3, 6}));
  EXPECT_EQ((*tokenizer)->encode("a a"), (Ids{1, 7, 7}));
  EXPECT_EQ((*tokenizer)->encode("\xC3\xA9z"), (Ids{1, 3, 8, 9, 0}))
      << "bytes, and unknown where they have none";
  EXPECT_EQ((*tokenizer)->encode("a<user>a</s>", {.parse_special = false}).size(), 4u + 4u)
      << "user-defined tokens are found always, control tokens where asked for";
  EXPECT_EQ((*tokenizer)->decode({1, 7, 7, 8, 9}), "a a\xC3\xA9");
  EXPECT_TRUE((*tokenizer)->strips_leading_space());
}

TEST(TokenizerTest, GgufErrors) {
  GgufVocabulary gguf = sentence_piece();
  gguf.model = "bert";
  EXPECT_EQ(Tokenizer::create({.gguf = gguf}).status().code(), StatusCode::kUnsupported);
  gguf.model = "gpt2";
  gguf.pre = "viking";
  const Status status = Tokenizer::create({.gguf = gguf}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("'viking'"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("llama-bpe"), std::string::npos) << status.message();
  gguf.pre = "gpt-2";
  gguf.merges = {"a z"};
  EXPECT_EQ(Tokenizer::create({.gguf = gguf}).status().code(), StatusCode::kCorrupt);
}

TEST(NormalizerTest, ComposesAndOrdersMarks) {
  EXPECT_EQ(to_nfc("e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(to_nfc("a\xCC\x81\xCC\xA7"), "\xC3\xA1\xCC\xA7")
      << "cedilla first, then the acute joins the letter";
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1"), "\xEA\xB0\x80") << "Hangul";
  EXPECT_EQ(to_nfc("plain"), "plain");
}

}  // namespace
}  // namespace octet
