#include "text/regex_syntax.h"

namespace octet {

namespace {

constexpr std::string_view kSpaces =
    R"(\t-\r\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNoSpaces =
    R"(\x00-\x08\x0e-\x1f\x21-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// Letters, marks, decimal and letter numbers, connectors, and the circled and squared letters.
constexpr std::string_view kWords =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

Status refuse(std::string_view pattern, std::string_view what) {
  return unsupported("regular expression '" + std::string(pattern) + "': " + std::string(what) +
                     " is not supported");
}

std::string bracketed(std::string_view open, std::string_view members) {
  return std::string(open) + std::string(members) + "]";
}

// What an escape outside a class or within one becomes; nothing where it stays as it is.
std::string translate_escape(char letter, bool in_class) {
  switch (letter) {
    case 's':
      return in_class ? std::string(kSpaces) : bracketed("[", kSpaces);
    case 'S':
      return in_class ? std::string(kNoSpaces) : bracketed("[^", kSpaces);
    case 'w':
      return in_class ? std::string(kWords) : bracketed("[", kWords);
    case 'W':
      return bracketed("[^", kWords);
    default:
      return {};
  }
}

// "(?i:", "(?m-x)": does the group at `open` turn the flag m on? Ruby's m is PCRE2's s.
bool sets_flag_m(std::string_view pattern, size_t open) {
  if (pattern.substr(open, 2) != "(?") return false;
  for (size_t i = open + 2; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == 'm') return true;
    if (c != 'i' && c != 'x' && c != 'a' && c != 's' && c != '-') return false;
  }
  return false;
}

}  // namespace

Result<std::string> translate_regex(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (i + 1 == pattern.size()) return refuse(pattern, "a backslash at the end");
      const char letter = pattern[++i];
      if (letter == 'h' || letter == 'H' || letter == 'b' || letter == 'B' || (in_class && letter == 'W')) {
        return refuse(pattern, std::string(in_class ? "within a class, \\" : "\\") + letter);
      }
      const std::string translated = translate_escape(letter, in_class);
      out += translated.empty() ? std::string{c, letter} : translated;
    } else if (in_class) {
      if (c == '[') return refuse(pattern, "a class within a class");
      if (c == '&' && pattern.substr(i, 2) == "&&") return refuse(pattern, "an intersection of classes");
      if (c == ']') in_class = false;
      out += c;
    } else {
      if (c == '(' && sets_flag_m(pattern, i)) return refuse(pattern, "the flag m");
      out += c;
      if (c != '[') continue;
      in_class = true;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') return refuse(pattern, "an empty class");
    }
  }
  return out;
}

}  // namespace octet
