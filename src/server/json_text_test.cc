#include "server/json_text.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

std::string json_of(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonText, EveryByteReadsBackAsItself) {
  for (int c = 0; c < 0x80; ++c) {
    const std::string text = {'a', static_cast<char>(c), 'b'};
    EXPECT_EQ(nlohmann::json::parse(json_of(text)).get<std::string>(), text) << c;
  }
  const std::string text = "é ü 漢字 😀 \xF4\x8F\xBF\xBF";
  EXPECT_EQ(json_of(text), '"' + text + '"');
}

TEST(JsonText, BrokenUtf8BecomesReplacementCharacters) {
  EXPECT_EQ(json_of("a\xC3"), "\"a\xEF\xBF\xBD\"");
  for (const char* text :
       {"\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\x80", "\xE2\x82", "\xF0\x9F\x98"}) {
    const auto read = nlohmann::json::parse(json_of(text)).get<std::string>();
    EXPECT_NE(read.find("\xEF\xBF\xBD"), std::string::npos) << read;
  }
}

TEST(JsonText, Numbers) {
  std::string out;
  append_json_integer(out, -9223372036854775807LL - 1);
  EXPECT_EQ(out, "-9223372036854775808");
  for (const float value : {-0.1f, 3e-8f, -123.456f, 0.0f}) {
    out.clear();
    append_json_float(out, value);
    EXPECT_EQ(nlohmann::json::parse(out).get<float>(), value);
  }
  for (const float value : {-INFINITY, NAN}) {
    out.clear();
    append_json_float(out, value);
    EXPECT_EQ(out, "-9999");
  }
}

TEST(JsonText, CountsCharactersThatBegin) {
  EXPECT_EQ(utf8_length("aé漢😀"), 4u);
  EXPECT_EQ(utf8_length("\xA9"), 0u);  // the second half of é
}

}  // namespace
}  // namespace octet
