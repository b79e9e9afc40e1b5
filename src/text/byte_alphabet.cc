#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace octet {

namespace {

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr auto kChars = [] {
  std::array<uint16_t, 256> chars{};
  uint16_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    chars[byte] = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
  }
  return chars;
}();

constexpr auto kBytes = [] {
  std::array<int16_t, kByteAlphabetEnd> bytes{};
  bytes.fill(-1);
  for (int16_t byte = 0; byte < 256; ++byte) bytes[kChars[byte]] = byte;
  return bytes;
}();

}  // namespace

uint32_t byte_to_char(uint8_t byte) {
  return kChars[byte];
}

std::optional<uint8_t> char_to_byte(uint32_t code_point) {
  if (code_point >= kByteAlphabetEnd || kBytes[code_point] < 0) return std::nullopt;
  return static_cast<uint8_t>(kBytes[code_point]);
}

void append_byte_alphabet(std::string_view bytes, std::string* out) {
  for (const char byte : bytes) {
    const uint16_t c = kChars[static_cast<uint8_t>(byte)];
    if (c < 0x80) {
      out->push_back(static_cast<char>(c));
    } else {
      out->push_back(static_cast<char>(0xC0 | c >> 6));
      out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const auto byte = char_to_byte(c.value);
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    text.remove_prefix(c.length);
  }
  return bytes;
}

}  // namespace octet
