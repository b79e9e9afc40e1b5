#include "text/token_decoder.h"

#include <charconv>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/normalizer.h"

namespace octet {

namespace {

struct Decode {
  std::string token;

  std::string operator()(const ByteLevelDecode&) { return from_byte_alphabet(token).value_or(token); }
  std::string operator()(const ByteFallbackDecode&) {
    unsigned byte = 0;
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return token;
    const char* end = token.data() + 5;
    if (std::from_chars(token.data() + 3, end, byte, 16).ptr != end) return token;
    return std::string(1, static_cast<char>(byte));
  }
  std::string operator()(const ReplaceDecode& step) { return replace_all(token, step.from, step.to); }
};

}  // namespace

void TokenDecoder::add(Step step) {
  steps_.push_back(std::move(step));
}

std::string TokenDecoder::decode(std::string_view token) const {
  Decode decode{std::string(token)};
  for (const Step& step : steps_) decode.token = std::visit(decode, step);
  return std::move(decode.token);
}

}  // namespace octet
