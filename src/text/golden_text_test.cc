// What Hugging Face's tokenizers and Jinja2 give (tests/golden/text, written by tools/make_golden_text.py).
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/shared_data_for_test.h"
#include "text/tokenizer.h"

namespace octet {
namespace {

const std::string kGolden = "tests/golden/text/";

std::vector<nlohmann::ordered_json> read_lines(const std::string& path) {
  std::vector<nlohmann::ordered_json> lines;
  for (const std::string& line : split_text(read_file(path), "\n")) {
    if (!line.empty()) lines.push_back(nlohmann::ordered_json::parse(line));
  }
  return lines;
}

class GoldenTokenizerTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTokenizerTest, EqualsHuggingFace) {
  const std::string path = kGolden + "tokenizers/" + GetParam();
  TokenizerSpec spec;
  spec.tokenizer_json = read_file(path + ".json");
  const auto tokenizer = Tokenizer::create(spec);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const auto cases = read_lines(path + ".jsonl");
  ASSERT_GT(cases.size(), 100u);
  for (const auto& golden : cases) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = (*tokenizer)->encode(text);
    EXPECT_EQ(ids, golden["ids"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ((*tokenizer)->decode(ids, false), golden["decoded"].get<std::string>()) << text;
    EXPECT_EQ((*tokenizer)->decode(ids, true), golden["skipped"].get<std::string>()) << text;
    for (const bool skip : {false, true}) {
      Detokenizer detokenizer(**tokenizer, {.skip_special_tokens = skip});
      std::string streamed;
      for (const TokenId id : ids) streamed += detokenizer.push(id);
      EXPECT_EQ(streamed + detokenizer.finish(), (*tokenizer)->decode(ids, skip)) << text;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GoldenTokenizerTest,
                         testing::Values("llama2", "mistral", "llama3", "smollm", "qwen2", "added"),
                         [](const auto& param) { return std::string(param.param); });

void expect_render(const std::string& source, const nlohmann::ordered_json& context,
                   const nlohmann::ordered_json& golden) {
  const auto chat = ChatTemplate::parse(source);
  const auto text = chat.ok() ? chat->render(context) : Result<std::string>(chat.status());
  if (golden.contains("error")) {
    EXPECT_FALSE(text.ok()) << source << "\ngave: " << *text;
  } else {
    ASSERT_TRUE(text.ok()) << source << "\n" << text.status().message();
    EXPECT_EQ(*text, golden["expected"].get<std::string>()) << source;
  }
}

class GoldenTemplateTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTemplateTest, EqualsJinja2) {
  const std::string path = kGolden + "templates/" + GetParam();
  const std::string source = read_file(path + ".jinja");
  ASSERT_TRUE(ChatTemplate::parse(source).ok()) << ChatTemplate::parse(source).status().message();
  const auto cases = read_lines(path + ".jsonl");
  ASSERT_GT(cases.size(), 10u);
  for (const auto& golden : cases) expect_render(source, golden["context"], golden);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTemplateTest,
                         testing::Values("chatml", "llama2", "mistral_tools", "qwen_tools", "qwen_thinking",
                                         "whitespace"),
                         [](const auto& param) { return std::string(param.param); });

TEST(GoldenJinjaTest, EqualsJinja2) {
  const auto lines = read_lines(kGolden + "jinja.jsonl");
  ASSERT_GT(lines.size(), 50u);
  const auto& context = lines[0]["context"];
  for (size_t i = 1; i < lines.size(); ++i)
    expect_render(lines[i]["template"].get<std::string>(), context, lines[i]);
}

}  // namespace
}  // namespace octet
