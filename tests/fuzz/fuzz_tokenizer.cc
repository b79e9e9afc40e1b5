// Tokenizers of arbitrary tokenizer.json files, and arbitrary text through whatever they give: the input is
// "file \0 text". A file that does not load leaves the text to a vocabulary of our own.
// octet: link octet_text
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace {

using octet::TokenId;
using octet::Tokenizer;

octet::TokenizerSpec small_gguf() {
  octet::TokenizerSpec spec;
  auto& gguf = spec.gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>",
                 "<s>",
                 "</s>",
                 "\xE2\x96\x81",
                 "a",
                 "b",
                 "ab",
                 "\xE2\x96\x81"
                 "ab",
                 "\n",
                 "<0x41>",
                 "<user>"};
  gguf.types = {2, 3, 3, 1, 1, 1, 1, 1, 1, 6, 4};
  gguf.scores = {0, 0, 0, -4, -3, -3, -1, -2, -5, 0, 0};
  gguf.unk_id = 0;
  gguf.bos_id = 1;
  gguf.add_bos = true;
  return spec;
}

void check(const Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {true, false}) {
    const auto ids = tokenizer.encode(text, {.add_special_tokens = special, .parse_special = special});
    for (const TokenId id : ids) OCTET_CHECK(id >= 0 && id < tokenizer.size()) << id;
    octet::Detokenizer detokenizer(tokenizer,
                                   {.skip_special_tokens = special, .stop = {}, .include_stop = false});
    std::string streamed;
    for (const TokenId id : ids) streamed += detokenizer.push(id);
    OCTET_CHECK(streamed + detokenizer.finish() == tokenizer.decode(ids, special)) << "streamed text differs";
    octet::Detokenizer stopping(tokenizer, {.stop = {"ab", "b\xE2\x96\x81", text.substr(0, 3)}});
    for (const TokenId id : ids) stopping.push(id);
    stopping.finish();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t border = std::min(input.find('\0'), input.size());
  const std::string text(input.substr(std::min(border + 1, input.size())));
  octet::TokenizerSpec spec;
  spec.tokenizer_json = std::string(input.substr(0, border));
  auto tokenizer = Tokenizer::create(spec);
  if (!tokenizer.ok()) tokenizer = Tokenizer::create(small_gguf());
  check(**tokenizer, text);
  return 0;
}
