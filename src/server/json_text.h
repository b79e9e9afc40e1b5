// Writing JSON by hand: the hot path of streaming appends to one string and escapes nothing but text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

// The characters of a JSON string, without quotes. Bytes that are no UTF-8 become U+FFFD.
void append_json_escaped(std::string& out, std::string_view text);
// The same with quotes.
void append_json_string(std::string& out, std::string_view text);

void append_json_integer(std::string& out, int64_t value);
// Shortest form that reads back as the same float. JSON knows no infinity: a log probability of -infinity
// becomes -9999, which is what vLLM writes.
void append_json_float(std::string& out, float value);

// Characters in UTF-8; in a piece of it, those that begin there.
size_t utf8_length(std::string_view text);

}  // namespace octet
