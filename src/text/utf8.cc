#include "text/utf8.h"

#include <simdjson.h>
#include <utf8proc.h>

namespace octet {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

Utf8Step next_utf8(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {Utf8Step::kValid, 1, lead};
  // The second byte's range is narrower after some leads: no overlong forms, no surrogates, none over
  // U+10FFFF.
  uint8_t length = 0, low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Utf8Step::kInvalid, 1, 0};
  }
  uint32_t code_point = lead & (0xFFu >> (length + 1));
  for (uint8_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Step::kIncomplete, i, 0};
    if (byte(i) < low || byte(i) > high) return {Utf8Step::kInvalid, i, 0};
    code_point = code_point << 6 | (byte(i) & 0x3Fu);
    low = 0x80, high = 0xBF;
  }
  return {Utf8Step::kValid, length, code_point};
}

size_t append_utf8_lossy(std::string_view bytes, bool last, std::string* out) {
  size_t at = 0;
  while (at < bytes.size()) {
    const Utf8Step step = next_utf8(bytes.substr(at));
    if (step.state == Utf8Step::kIncomplete && !last) break;
    out->append(step.state == Utf8Step::kValid ? bytes.substr(at, step.length) : kReplacement);
    at += step.length;
  }
  return at;
}

bool is_valid_utf8(std::string_view bytes) {
  return simdjson::validate_utf8(bytes.data(), bytes.size());
}

std::string to_valid_utf8(std::string_view bytes) {
  if (is_valid_utf8(bytes)) return std::string(bytes);
  std::string out;
  out.reserve(bytes.size());
  append_utf8_lossy(bytes, /*last=*/true, &out);
  return out;
}

void append_code_point(uint32_t code_point, std::string* out) {
  uint8_t encoded[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), encoded);
  out->append(reinterpret_cast<const char*>(encoded), static_cast<size_t>(n));
}

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(uint32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool is_word(uint32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const bool circled_or_squared_letter = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                                         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || circled_or_squared_letter;
}

}  // namespace octet
