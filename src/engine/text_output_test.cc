#include "engine/text_output.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

// Bytes are tokens; 256 is the end of sequence.
class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(const std::vector<TokenId>& ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += token_bytes(id);
    return text;
  }
  std::string token_bytes(TokenId id) const override {
    return id == 256 ? "</s>" : std::string(1, static_cast<char>(id));
  }
  std::string token_text(TokenId id) const override { return token_bytes(id); }
  TokenId find(std::string_view) const override { return -1; }
  bool is_special(TokenId id) const override { return id == 256; }
  int32_t size() const override { return 257; }
  TokenId bos_id() const override { return -1; }
  TokenId eos_id() const override { return 256; }
  std::string bos_token() const override { return ""; }
  std::string eos_token() const override { return "</s>"; }
  bool strips_leading_space() const override { return false; }
  std::string description() const override { return "bytes"; }
};

class TextOutputTest : public testing::Test {
 protected:
  static OutputEvent event(std::string_view text, FinishReason finish = FinishReason::kNone,
                           int32_t stop_token = -1) {
    OutputEvent e;
    for (const char c : text) e.tokens.push_back({static_cast<uint8_t>(c), 0, {}});
    e.finish = finish;
    e.stop_token = stop_token;
    return e;
  }
  ByteTokenizer tokenizer_;
};

TEST_F(TextOutputTest, GivesTextAndTheEnd) {
  TextOutput output(tokenizer_, {});
  EXPECT_EQ(output.push(event("a")).text, "a");
  EXPECT_FALSE(output.finished());
  const TextDelta last = output.push(event("b", FinishReason::kLength));
  EXPECT_EQ(last.text, "b");
  EXPECT_EQ(last.finish, FinishReason::kLength);
  EXPECT_FALSE(last.cancel);
  EXPECT_TRUE(output.finished());
  EXPECT_EQ(output.n_tokens(), 2);
}

TEST_F(TextOutputTest, AStopStringAsksForCancellationOnce) {
  TextOutput output(tokenizer_, {.stop = {"END"}});
  EXPECT_EQ(output.push(event("xE")).text, "x");
  EXPECT_EQ(output.push(event("N")).text, "");
  const TextDelta last = output.push(event("Dy"));
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.finish, FinishReason::kStop);
  EXPECT_TRUE(last.cancel);
  EXPECT_EQ(last.stop_string, "END");
  EXPECT_EQ(output.n_tokens(), 4);
  const TextDelta late = output.push(event("z", FinishReason::kCancelled));
  EXPECT_EQ(late.text, "");
  EXPECT_EQ(late.finish, FinishReason::kNone);
  EXPECT_FALSE(late.cancel);
  EXPECT_EQ(output.n_tokens(), 4);
}

TEST_F(TextOutputTest, AStopStringInTheLastTokenNeedsNoCancellation) {
  TextOutput output(tokenizer_, {.stop = {"E"}});
  const TextDelta last = output.push(event("xE", FinishReason::kLength));
  EXPECT_EQ(last.text, "x");
  EXPECT_EQ(last.finish, FinishReason::kStop);
  EXPECT_FALSE(last.cancel);
}

TEST_F(TextOutputTest, WhatWasHeldBackComesAtTheEnd) {
  TextOutput output(tokenizer_, {.stop = {"END"}});
  EXPECT_EQ(output.push(event("xEN")).text, "x");
  const TextDelta last = output.push(event("", FinishReason::kStop, 256));
  EXPECT_EQ(last.text, "EN");
  EXPECT_EQ(last.finish, FinishReason::kStop);
  EXPECT_EQ(last.stop_token, 256);
  EXPECT_EQ(output.n_tokens(), 4);
}

TEST_F(TextOutputTest, TheStopTokenIsShownWhereAskedFor) {
  TextOutput output(tokenizer_, {.skip_special_tokens = false, .include_stop = true});
  EXPECT_EQ(output.push(event("a", FinishReason::kStop, 256)).text, "a</s>");
}

TEST_F(TextOutputTest, ErrorsKeepTheirMessage) {
  TextOutput output(tokenizer_, {});
  OutputEvent broken = event("", FinishReason::kError);
  broken.error = "broken";
  const TextDelta last = output.push(broken);
  EXPECT_EQ(last.finish, FinishReason::kError);
  EXPECT_EQ(last.error, "broken");
}

}  // namespace
}  // namespace octet
