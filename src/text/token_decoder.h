// What a token's spelling in the vocabulary stands for. The decoders of tokenizer.json, as far as they treat
// every token on its own (which streaming needs): only the single space at the start of a text is left to the
// caller.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace octet {

struct ByteLevelDecode {};     // GPT-2's byte alphabet; a token with other characters stays as it is
struct ByteFallbackDecode {};  // "<0x0A>" is the byte 10
struct ReplaceDecode {
  std::string from, to;
};

class TokenDecoder {
 public:
  using Step = std::variant<ByteLevelDecode, ByteFallbackDecode, ReplaceDecode>;
  void add(Step step);
  void set_strips_leading_space() { strips_leading_space_ = true; }

  std::string decode(std::string_view token) const;  // bytes, which need not be whole characters
  bool strips_leading_space() const { return strips_leading_space_; }

 private:
  std::vector<Step> steps_;
  bool strips_leading_space_ = false;
};

}  // namespace octet
