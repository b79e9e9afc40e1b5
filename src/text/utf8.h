// UTF-8 that may be broken, seen as Python's bytes.decode('utf-8', errors='replace') and the Unicode standard
// see it: the longest beginning of a character that is cut short becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

struct Utf8Step {
  enum State : uint8_t { kValid, kInvalid, kIncomplete };
  State state;
  uint8_t length;       // bytes of the character, or of what stands in for U+FFFD
  uint32_t code_point;  // kValid only
};

// The first character of `bytes`, which must not be empty. kIncomplete: `bytes` ends within a character that
// more bytes could complete.
Utf8Step next_utf8(std::string_view bytes);

// Appends the characters of `bytes` to `out`, U+FFFD for what is none, and returns how many bytes were used:
// all of them, but for an incomplete character at the end unless `last`.
size_t append_utf8_lossy(std::string_view bytes, bool last, std::string* out);

bool is_valid_utf8(std::string_view bytes);
std::string to_valid_utf8(std::string_view bytes);

void append_code_point(uint32_t code_point, std::string* out);

// The code point at the start of valid UTF-8, and its length in bytes.
struct CodePoint {
  uint32_t value;
  uint32_t length;
};
inline CodePoint first_code_point(std::string_view valid) {
  const auto* p = reinterpret_cast<const uint8_t*>(valid.data());
  if (p[0] < 0x80) return {p[0], 1};
  if (p[0] < 0xE0) return {(p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu), 2};
  if (p[0] < 0xF0) return {(p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu), 3};
  return {(p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu), 4};
}

// The start of the last character of valid UTF-8, which must not be empty.
inline size_t last_code_point_begin(std::string_view valid) {
  size_t i = valid.size() - 1;
  while ((static_cast<uint8_t>(valid[i]) & 0xC0) == 0x80) --i;
  return i;
}

bool is_white_space(uint32_t code_point);  // the Unicode property White_Space
bool is_numeric(uint32_t code_point);      // general category N
bool is_word(uint32_t code_point);         // letters, marks, digits, connectors: \w of Unicode's UTS #18

}  // namespace octet
