#include "text/jinja_strings.h"

#include <algorithm>

#include <utf8proc.h>

#include "text/jinja_lexer.h"
#include "text/jinja_value.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

constexpr size_t kMaxText = 64 << 20;

template <typename Map>
std::string map_code_points(std::string_view text, const Map& map) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    map(c.value, &out);
    text.remove_prefix(c.length);
  }
  return out;
}

void append_upper(uint32_t c, std::string* out) {
  if (c == 0xDF) {  // the one letter of a living language whose capital form is two
    *out += "SS";
  } else {
    append_code_point(static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}
void append_lower(uint32_t c, std::string* out) {
  append_code_point(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace

std::string_view strip(std::string_view text, Side side, const std::string* chars) {
  const auto strips = [&](std::string_view c) {
    return chars == nullptr ? is_python_space(first_code_point(c).value)
                            : chars->find(c) != std::string::npos;
  };
  while (side != Side::kRight && !text.empty()) {
    const size_t n = first_code_point(text).length;
    if (!strips(text.substr(0, n))) break;
    text.remove_prefix(n);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t begin = last_code_point_begin(text);
    if (!strips(text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::string to_upper(std::string_view text) {
  return map_code_points(text, append_upper);
}
std::string to_lower(std::string_view text) {
  return map_code_points(text, append_lower);
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_code_points(text, [&](uint32_t c, std::string* out) {
    if (std::exchange(first, false)) {
      append_code_point(static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
    } else {
      append_lower(c, out);
    }
  });
}

std::string title(std::string_view text) {
  bool first = true;
  return map_code_points(text, [&](uint32_t c, std::string* out) {
    if (std::exchange(
            first, is_python_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                                          std::string_view::npos))) {
      append_upper(c, out);
    } else {
      append_lower(c, out);
    }
  });
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string center(std::string_view text, int64_t width) {
  const auto missing = width - static_cast<int64_t>(characters(text).size());
  if (missing <= 0) return std::string(text);
  if (missing > static_cast<int64_t>(kMaxText)) fail("a text that is too long");
  const int64_t left = missing / 2 + (missing & width & 1);
  return std::string(static_cast<size_t>(left), ' ') + std::string(text) +
         std::string(static_cast<size_t>(missing - left), ' ');
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  std::string out;
  size_t at = 0;
  const auto insert = [&](size_t found) {
    out.append(text.substr(at, found - at)).append(to);
    if (out.size() > kMaxText) fail("a text that is too long");
    --count;
  };
  if (from.empty()) {  // before every character and at the end
    for (; count != 0 && at < text.size();) {
      insert(at);
      const size_t n = first_code_point(text.substr(at)).length;
      out.append(text.substr(at, n));
      at += n;
    }
    if (count != 0) insert(at);
    return out.append(text.substr(at));
  }
  for (size_t found; count != 0 && (found = text.find(from, at)) != text.npos; at = found + from.size())
    insert(found);
  return out.append(text.substr(at));
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t max_splits) {
  std::vector<std::string_view> parts;
  size_t at = 0;
  for (size_t found; max_splits-- != 0 && (found = text.find(separator, at)) != text.npos;
       at = found + separator.size()) {
    parts.push_back(text.substr(at, found - at));
  }
  parts.push_back(text.substr(at));
  return parts;
}

std::vector<std::string_view> split_from_right(std::string_view text, std::string_view separator,
                                               int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (size_t found; max_splits-- != 0 && (found = text.rfind(separator)) != text.npos;
       text = text.substr(0, found)) {
    parts.push_back(text.substr(found + separator.size()));
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_white_space(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  text = strip_left(text);
  while (!text.empty()) {
    if (max_splits-- == 0) {
      parts.push_back(text);
      break;
    }
    size_t n = 0;
    while (n < text.size() && !is_python_space(first_code_point(text.substr(n)).value)) {
      n += first_code_point(text.substr(n)).length;
    }
    parts.push_back(text.substr(0, n));
    text = strip_left(text.substr(n));
  }
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  const auto ends_line = [](uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  std::vector<std::string_view> lines;
  const char* begin = text.data();
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const char* end = text.data();
    text.remove_prefix(c.value == '\r' && text.substr(1).starts_with('\n') ? 2 : c.length);
    if (!ends_line(c.value)) continue;
    lines.push_back(between(begin, keep_ends ? text.data() : end));
    begin = text.data();
  }
  if (begin != text.data()) lines.push_back(between(begin, text.data()));
  return lines;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    const size_t n = first_code_point(text).length;
    all.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return all;
}

}  // namespace octet::jinja
