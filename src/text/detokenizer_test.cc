#include "text/detokenizer.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "text/utf8.h"

namespace octet {
namespace {

// A vocabulary made as it is used: every text that is asked for becomes a token.
class PieceTokenizer final : public Tokenizer {
 public:
  explicit PieceTokenizer(bool strips = false) : strips_(strips) {}
  TokenId add(const std::string& bytes) {
    pieces_.push_back(bytes);
    return static_cast<TokenId>(pieces_.size() - 1);
  }
  TokenId add_special(const std::string& text) {
    special_[static_cast<TokenId>(pieces_.size())] = true;
    return add(text);
  }

  std::vector<TokenId> encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string decode(const std::vector<TokenId>& ids, bool skip) const override {
    std::string bytes;
    for (const TokenId id : ids) bytes += skip && is_special(id) ? "" : token_bytes(id);
    if (strips_ && bytes.starts_with(' ')) bytes.erase(0, 1);
    return to_valid_utf8(bytes);
  }
  std::string token_bytes(TokenId id) const override { return pieces_.at(static_cast<size_t>(id)); }
  std::string token_text(TokenId id) const override { return token_bytes(id); }
  TokenId find(std::string_view) const override { return -1; }
  bool is_special(TokenId id) const override { return special_.count(id) > 0; }
  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }
  TokenId bos_id() const override { return -1; }
  TokenId eos_id() const override { return -1; }
  std::string bos_token() const override { return {}; }
  std::string eos_token() const override { return {}; }
  bool strips_leading_space() const override { return strips_; }
  std::string description() const override { return "pieces"; }

 private:
  bool strips_;
  std::vector<std::string> pieces_;
  std::map<TokenId, bool> special_;
};

std::vector<std::string> stream(const std::vector<std::string>& pieces, DetokenizerOptions options = {},
                                std::string* stop = nullptr) {
  PieceTokenizer tokenizer;
  Detokenizer detokenizer(tokenizer, std::move(options));
  std::vector<std::string> out;
  for (const std::string& piece : pieces) out.push_back(detokenizer.push(tokenizer.add(piece)));
  out.push_back(detokenizer.finish());
  if (stop != nullptr) *stop = detokenizer.stopped() ? detokenizer.stop_string() : "(none)";
  return out;
}

using Texts = std::vector<std::string>;

TEST(DetokenizerTest, WaitsForWholeCharacters) {
  EXPECT_EQ(stream({"a\xF0\x9F", "\x99",
                    "\x82"
                    "b"}),
            (Texts{"a", "",
                   "\xF0\x9F\x99\x82"
                   "b",
                   ""}));
  EXPECT_EQ(stream({"\xE6\x97", "x"}), (Texts{"", "\xEF\xBF\xBDx", ""})) << "as soon as it cannot become one";
  EXPECT_EQ(stream({"\xFF"}), (Texts{"\xEF\xBF\xBD", ""}));
  EXPECT_EQ(stream({"\xE6\x97"}), (Texts{"", "\xEF\xBF\xBD"})) << "the end makes it certain";
  EXPECT_EQ(stream({"\xED\xA0", "\x80"}), (Texts{"\xEF\xBF\xBD\xEF\xBF\xBD", "\xEF\xBF\xBD", ""}))
      << "a surrogate";
}

TEST(DetokenizerTest, StopsAcrossTokensAndHoldsBackNoMoreThanNeeded) {
  std::string stop;
  EXPECT_EQ(stream({"hello S", "TO", "P more", "x"}, {.stop = {"STOP"}}, &stop),
            (Texts{"hello ", "", "", "", ""}));
  EXPECT_EQ(stop, "STOP");
  EXPECT_EQ(stream({"S", "TO", "S", "TOP"}, {.stop = {"STOP"}, .include_stop = true}),
            (Texts{"", "", "STO", "STOP", ""}));
  EXPECT_EQ(stream({"aab", "aa", "c"}, {.stop = {"aabaac"}}), (Texts{"", "", "", ""}));
  EXPECT_EQ(stream({"ST"}, {.stop = {"STOP"}}, &stop), (Texts{"", "ST"}));
  EXPECT_EQ(stop, "(none)");
  EXPECT_EQ(stream({"x"}, {.stop = {""}}), (Texts{"x", ""}));
}

TEST(DetokenizerTest, TheStopStringThatEndsFirstCounts) {
  std::string stop;
  EXPECT_EQ(stream({"abcd"}, {.stop = {"bcd", "c"}}, &stop), (Texts{"ab", ""}));
  EXPECT_EQ(stop, "c");
  EXPECT_EQ(stream({"abcd"}, {.stop = {"c", "bc"}}, &stop), (Texts{"a", ""}))
      << "of two that end together the longer";
  EXPECT_EQ(stop, "bc");
}

TEST(DetokenizerTest, SkipsSpecialTokensAndTheLeadingSpace) {
  PieceTokenizer tokenizer(/*strips=*/true);
  const TokenId bos = tokenizer.add_special("<s>"), hello = tokenizer.add(" Hello"),
                end = tokenizer.add_special("</s>");
  const auto stream_all = [&](const std::vector<TokenId>& ids, bool skip) {
    Detokenizer detokenizer(tokenizer, {.skip_special_tokens = skip});
    std::string text;
    for (const TokenId id : ids) text += detokenizer.push(id);
    return text + detokenizer.finish();
  };
  EXPECT_EQ(stream_all({bos, hello, hello, end}, true), "Hello Hello");
  EXPECT_EQ(stream_all({bos, hello, end}, false), "<s> Hello</s>");
}

// However a text is cut into tokens, what comes out is the same, with stop strings and without.
TEST(DetokenizerTest, TheCutsDoNotMatter) {
  std::mt19937 random(1);
  const std::string alphabet[] = {
      "a",    "b",    "ab",   "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x99\x82", "\xF0\x9F",
      "\xE6", "\x80", "\xFF", " "};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += alphabet[random() % std::size(alphabet)];
    const DetokenizerOptions options{.stop = round % 2 == 0 ? Texts{}
                                                            : Texts{"aba", "b\xC3\xA9",
                                                                    "\xF0\x9F\x99\x82"
                                                                    "a"},
                                     .include_stop = round % 4 == 1};
    std::string whole;
    for (const std::string& part : stream({text}, options)) whole += part;
    if (round % 2 == 0) {
      EXPECT_EQ(whole, to_valid_utf8(text));
    }
    Texts pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 4;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    std::string streamed;
    for (const std::string& part : stream(pieces, options)) {
      EXPECT_TRUE(is_valid_utf8(part));
      streamed += part;
    }
    EXPECT_EQ(streamed, whole) << "round " << round;
  }
}

}  // namespace
}  // namespace octet
