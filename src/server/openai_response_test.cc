#include "server/openai_response.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "server/fake_engine.h"

namespace octet {
namespace {

using Json = nlohmann::json;
const FakeTokenizer kTokenizer;

OutputToken token(int32_t id, float logprob, std::vector<TokenLogprob> top = {}) {
  OutputToken out;
  out.token = id;
  out.logprob = logprob;
  out.top = std::move(top);
  return out;
}

Json event_json(const std::string& event) {
  EXPECT_EQ(event.substr(0, 6), "data: ");
  EXPECT_EQ(event.substr(event.size() - 2), "\n\n");
  return Json::parse(event.substr(6));
}

TEST(Chunks, ChatDeltas) {
  const ChunkWriter writer({ApiKind::kChat, "id-1", 123, "mo\"del"}, false);
  std::string out;
  writer.append_role(out, 2, nullptr);
  Json j = event_json(out);
  EXPECT_EQ(j["object"], "chat.completion.chunk");
  EXPECT_EQ(j["model"], "mo\"del");
  EXPECT_EQ(j["created"], 123);
  EXPECT_EQ(j["choices"][0]["index"], 2);
  EXPECT_EQ(j["choices"][0]["delta"]["role"], "assistant");
  EXPECT_FALSE(j.contains("usage"));

  out.clear();
  writer.append_delta(out, {.index = 1, .text = "a\n\"b\""});
  j = event_json(out);
  EXPECT_EQ(j["choices"][0]["delta"], Json({{"content", "a\n\"b\""}}));
  EXPECT_TRUE(j["choices"][0]["finish_reason"].is_null());
  EXPECT_TRUE(j["choices"][0]["logprobs"].is_null());

  out.clear();
  writer.append_delta(out, {.finish_reason = "stop", .stop_reason_json = "7"});
  j = event_json(out);
  EXPECT_EQ(j["choices"][0]["delta"], Json::object());
  EXPECT_EQ(j["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(j["choices"][0]["stop_reason"], 7);
}

TEST(Chunks, UsageIsNullUntilTheLastOne) {
  const ChunkWriter writer({ApiKind::kCompletion, "id", 1, "m"}, true);
  std::string out;
  writer.append_delta(out, {.text = "x"});
  Json j = event_json(out);
  EXPECT_EQ(j["object"], "text_completion");
  EXPECT_EQ(j["choices"][0]["text"], "x");
  EXPECT_TRUE(j.at("usage").is_null());
  const Usage usage{3, 4, 2};
  out.clear();
  writer.append_usage(out, usage);
  j = event_json(out);
  EXPECT_EQ(j["choices"], Json::array());
  EXPECT_EQ(j["usage"]["total_tokens"], 7);
  EXPECT_EQ(j["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
  out.clear();
  writer.append_delta(out, {.text = "x", .usage = &usage});
  EXPECT_EQ(event_json(out)["usage"]["completion_tokens"], 4);
}

TEST(Logprobs, ChatShape) {
  std::string out;
  const std::vector<OutputToken> tokens = {token('h', -0.5f, {{'h', -0.5f}, {0xC3, -1}})};
  append_chat_logprobs(out, kTokenizer, tokens);
  const Json j = Json::parse(out);
  EXPECT_EQ(j["content"][0]["token"], "h");
  EXPECT_EQ(j["content"][0]["bytes"], Json({104}));
  EXPECT_EQ(j["content"][0]["top_logprobs"][1]["token"], "bytes:\\xc3");
  EXPECT_EQ(j["content"][0]["top_logprobs"][1]["bytes"], Json({0xC3}));
}

TEST(Logprobs, LegacyShape) {
  std::string out;
  int64_t offset = 0;
  const std::vector<OutputToken> tokens = {token(FakeTokenizer::kBos, std::nanf("")),
                                           token('a', -1, {{'b', -0.5f}}), token(0xC3, -2, {{0xC3, -2}}),
                                           token(0xA9, -3), token('z', -INFINITY)};
  append_legacy_logprobs(out, kTokenizer, tokens, true, true, offset);
  const Json j = Json::parse(out);
  EXPECT_EQ(j["tokens"], Json({"<s>", "a", "bytes:\\xc3", "bytes:\\xa9", "z"}));
  EXPECT_EQ(j["token_logprobs"], Json({nullptr, -1, -2, -3, -9999}));
  EXPECT_TRUE(j["top_logprobs"][0].is_null());
  EXPECT_EQ(j["top_logprobs"][1], Json({{"a", -1}, {"b", -0.5}}));  // the sampled one is always there
  EXPECT_EQ(j["top_logprobs"][2], Json({{"bytes:\\xc3", -2}}));
  EXPECT_EQ(j["text_offset"], Json({0, 0, 1, 2, 2}));  // in "aéz", from which the special token is missing
  EXPECT_EQ(offset, 3);
  out.clear();
  append_legacy_logprobs(out, kTokenizer, tokens, false, true, offset);
  EXPECT_TRUE(Json::parse(out)["top_logprobs"].is_null());
}

TEST(Logprobs, PromptShape) {
  std::string out;
  const std::vector<OutputToken> tokens = {token('a', -1, {{'b', -0.5f}, {'a', -1}}),
                                           token('c', -4, {{'b', -0.5f}}), token('d', -5)};
  append_prompt_logprobs(out, kTokenizer, tokens);
  const Json j = Json::parse(out);
  ASSERT_EQ(j.size(), 4u);
  EXPECT_TRUE(j[0].is_null());
  EXPECT_EQ(j[1]["97"]["rank"], 2);
  EXPECT_EQ(j[1]["98"]["decoded_token"], "b");
  EXPECT_TRUE(j[2]["99"]["rank"].is_null());
  EXPECT_EQ(j[3].size(), 1u);
}

TEST(Answers, Whole) {
  ChoiceAnswer choice;
  choice.index = 1;
  choice.text = "a\tb";
  choice.finish_reason = "length";
  const std::vector<int32_t> ids = {1, 2}, prompt_ids = {3};
  choice.token_ids = ids;
  choice.prompt_token_ids = prompt_ids;
  choice.with_token_ids = true;
  choice.prompt_logprobs_json = "[null]";
  Json j = Json::parse(completion_json({ApiKind::kChat, "i", 5, "m"}, {choice}, {1, 2, 0}));
  EXPECT_EQ(j["object"], "chat.completion");
  EXPECT_EQ(j["choices"][0]["message"]["content"], "a\tb");
  EXPECT_EQ(j["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(j["choices"][0]["token_ids"], Json({1, 2}));
  EXPECT_EQ(j["prompt_token_ids"], Json({3}));
  EXPECT_EQ(j["prompt_logprobs"], Json({nullptr}));
  EXPECT_EQ(j["usage"]["total_tokens"], 3);
  j = Json::parse(completion_json({ApiKind::kCompletion, "i", 5, "m"}, {choice}, {1, 2, 0}));
  EXPECT_EQ(j["choices"][0]["text"], "a\tb");
  EXPECT_EQ(j["choices"][0]["prompt_token_ids"], Json({3}));
  EXPECT_EQ(j["choices"][0]["finish_reason"], "length");
}

}  // namespace
}  // namespace octet
