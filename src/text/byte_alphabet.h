// GPT-2's byte alphabet: each byte spelled as one printable character, so that a vocabulary of bytes is a
// vocabulary of text ("Language Models are Unsupervised Multitask Learners", 2019). Printable Latin-1 bytes
// stand for themselves; the other 68, in order, for U+0100 to U+0143.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace octet {

inline constexpr uint32_t kByteAlphabetEnd = 0x144;  // its characters lie below

uint32_t byte_to_char(uint8_t byte);
std::optional<uint8_t> char_to_byte(uint32_t code_point);

void append_byte_alphabet(std::string_view bytes, std::string* out);
// The bytes that `text` (valid UTF-8) spells; nothing where one of its characters is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace octet
