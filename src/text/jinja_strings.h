// Python's methods of str that filters and methods share. All texts are valid UTF-8; positions count code
// points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octet::jinja {

enum class Side { kLeft, kRight, kBoth };

// Of white space, or where `chars` is given of these characters.
std::string_view strip(std::string_view text, Side side, const std::string* chars);
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);  // the first letter, the rest lower
std::string title(std::string_view text);       // Jinja's: words begin after white space and one of -([{<
std::string escape_html(std::string_view text);
std::string center(std::string_view text, int64_t width);

// max_splits or count below 0: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t count);
std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t max_splits);
std::vector<std::string_view> split_from_right(std::string_view text, std::string_view separator,
                                               int64_t max_splits);
std::vector<std::string_view> split_white_space(std::string_view text, int64_t max_splits);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
std::vector<std::string_view> characters(std::string_view text);

}  // namespace octet::jinja
