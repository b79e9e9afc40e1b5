#include "text/jinja_lexer.h"

#include <algorithm>

#include "text/jinja_value.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

// "\r\n" and "\r" become "\n"; one newline at the very end is dropped.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)), rest_(source_) {}

  std::vector<Token> run() {
    while (!rest_.empty()) next();
    add(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // Text up to the next tag, and that tag.
  void next() {
    size_t tag = 0;
    while ((tag = rest_.find('{', tag)) != rest_.npos) {
      const char kind = tag + 1 < rest_.size() ? rest_[tag + 1] : '\0';
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++tag;
    }
    if (tag == rest_.npos) {
      add(Token::kText, std::string(rest_));
      return advance(rest_.size());
    }
    const char kind = rest_[tag + 1];
    const char sign = tag + 2 < rest_.size() ? rest_[tag + 2] : '\0';
    add_text(rest_.substr(0, tag), sign, /*is_output=*/kind == '{');
    advance(tag + 2 + (sign == '-' || sign == '+'));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    add(kind == '{' ? Token::kOutputBegin : Token::kBlockBegin, "");
    inside(kind == '{');
  }

  // The text before a tag: '-' takes all white space off its end, lstrip_blocks what indents a block's line.
  void add_text(std::string_view text, char sign, bool is_output) {
    std::string_view kept = text;
    if (sign == '-') {
      kept = strip_right(text);
    } else if (sign != '+' && !is_output) {
      const size_t line = text.rfind('\n') + 1;
      if ((line > 0 || line_starting_) && strip_left(text.substr(line)).empty()) kept = text.substr(0, line);
    }
    if (!kept.empty()) add(Token::kText, std::string(kept));
  }

  // The end of a tag if it is here: `close` with its sign, and the white space it swallows.
  bool end_tag(std::string_view close, bool trims_newline) {
    const char sign =
        !rest_.empty() && (rest_[0] == '-' || (rest_[0] == '+' && trims_newline)) ? rest_[0] : '\0';
    size_t n = sign != '\0';
    if (!rest_.substr(n).starts_with(close)) return false;
    n += close.size();
    if (sign == '-') {
      n = rest_.size() - strip_left(rest_.substr(n)).size();
    } else if (sign == '\0' && trims_newline && n < rest_.size() && rest_[n] == '\n') {
      ++n;
    }
    line_starting_ = rest_[n - 1] == '\n';
    advance(n);
    return true;
  }

  void comment() {
    const size_t end = rest_.find("#}");
    if (end == rest_.npos) fail_at("Missing end of comment tag");
    const bool signed_end = end > 0 && (rest_[end - 1] == '-' || rest_[end - 1] == '+');
    advance(end - signed_end);
    end_tag("#}", /*trims_newline=*/true);
  }

  // "{% raw %}" up to and with "{% endraw %}"; false where the block is another.
  bool raw() {
    const auto word_then_end = [&](std::string_view word, std::string_view at, size_t* length) {
      const std::string_view name = strip_left(at);
      if (!name.starts_with(word)) return false;
      const std::string_view close = strip_left(name.substr(word.size()));
      *length = at.size() - close.size();
      return close.starts_with("%}") || close.starts_with("-%}") || close.starts_with("+%}");
    };
    size_t length = 0;
    if (!word_then_end("raw", rest_, &length) || rest_[length] == '+') return false;
    advance(length);
    end_tag("%}", /*trims_newline=*/false);
    for (size_t at = 0; (at = rest_.find("{%", at)) != rest_.npos; at += 2) {
      const char sign = at + 2 < rest_.size() ? rest_[at + 2] : '\0';
      const size_t begin = at + 2 + (sign == '-' || sign == '+');
      if (!word_then_end("endraw", rest_.substr(std::min(begin, rest_.size())), &length)) continue;
      add_text(rest_.substr(0, at), sign, /*is_output=*/false);
      advance(begin + length);
      end_tag("%}", /*trims_newline=*/true);
      return true;
    }
    fail_at("Missing end of raw directive");
  }

  // What stands within {{ }} or {% %}.
  void inside(bool is_output) {
    std::string brackets;
    for (;;) {
      const std::string_view trimmed = strip_left(rest_);
      advance(rest_.size() - trimmed.size());
      if (rest_.empty()) fail_at(is_output ? "a {{ is not closed" : "a {% is not closed");
      const int line = line_;
      if (brackets.empty() && end_tag(is_output ? "}}" : "%}", !is_output)) {
        tokens_.push_back({is_output ? Token::kOutputEnd : Token::kBlockEnd, "", line});
        return;
      }
      if (is_digit(rest_[0])) {
        number();
      } else if (is_name_char(rest_[0])) {
        size_t n = 0;
        while (n < rest_.size() && is_name_char(rest_[n])) ++n;
        take(Token::kName, n);
      } else if (rest_[0] == '\'' || rest_[0] == '"') {
        string();
      } else {
        op(&brackets);
      }
    }
  }

  void number() {
    size_t n = 0;
    const auto digits = [&](size_t from) {
      size_t i = from;
      while (i < rest_.size() && (is_digit(rest_[i]) || (rest_[i] == '_' && i > from &&
                                                         i + 1 < rest_.size() && is_digit(rest_[i + 1]))))
        ++i;
      return i;
    };
    n = digits(0);
    bool is_float = false;
    const bool after_dot =
        !tokens_.empty() && tokens_.back().type == Token::kOperator && tokens_.back().text == ".";
    if (!after_dot && n < rest_.size() && rest_[n] == '.' && digits(n + 1) > n + 1) {
      n = digits(n + 1);
      is_float = true;
    }
    if (!after_dot && n < rest_.size() && (rest_[n] == 'e' || rest_[n] == 'E')) {
      const size_t sign = n + 1 < rest_.size() && (rest_[n + 1] == '+' || rest_[n + 1] == '-');
      if (digits(n + 1 + sign) > n + 1 + sign) {
        n = digits(n + 1 + sign);
        is_float = true;
      }
    }
    std::string text(rest_.substr(0, n));
    std::erase(text, '_');
    if (n < rest_.size() && is_name_char(rest_[n]))
      fail_at("'" + text + rest_[n] + "' is no number that is supported");
    add(is_float ? Token::kFloat : Token::kInteger, text);
    advance(n);
  }

  void string() {
    const char quote = rest_[0];
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) fail_at("a string is not closed");
    add(Token::kString, unescape(rest_.substr(1, end - 1)));
    advance(end + 1);
  }

  // Python's escapes.
  std::string unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      constexpr std::string_view kLetters = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t at = kLetters.find(c); at != kLetters.npos) {
        out += kValues[at];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code_point_checked(digits_value(text.substr(i + 1), n, 16), &out);
        i += n;
      } else if (c >= '0' && c <= '7') {
        size_t n = 1;
        while (n < 3 && i + n < text.size() && text[i + n] >= '0' && text[i + n] <= '7') ++n;
        append_code_point_checked(digits_value(text.substr(i), n, 8), &out);
        i += n - 1;
      } else if (c == 'N') {
        fail_at("the escape \\N is not supported");
      } else if (c != '\n') {
        out += {'\\', c};
      }
    }
    return out;
  }

  uint32_t digits_value(std::string_view text, size_t n, uint32_t base) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    uint32_t value = 0;
    for (size_t i = 0; i < n; ++i) {
      const char c = i < text.size() ? text[i] : ' ';
      const size_t digit = kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
      if (digit >= base) fail_at("a truncated escape in a string");
      value = value * base + static_cast<uint32_t>(digit);
    }
    return value;
  }

  void append_code_point_checked(uint32_t value, std::string* out) {
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      fail_at("an escape in a string is no character");
    append_code_point(value, out);
  }

  void op(std::string* brackets) {
    for (const char* two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (rest_.starts_with(two)) return take(Token::kOperator, 2);
    }
    const char c = rest_[0];
    if (std::string_view("+-*/%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      fail_at(std::string("unexpected char '") + c + "'");
    }
    if (c == '(' || c == '[' || c == '{') brackets->push_back(c);
    if (c == ')' || c == ']' || c == '}') {
      const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (brackets->empty() || brackets->back() != open) fail_at(std::string("unexpected '") + c + "'");
      brackets->pop_back();
    }
    take(Token::kOperator, 1);
  }

  void take(Token::Type type, size_t n) {
    add(type, std::string(rest_.substr(0, n)));
    advance(n);
  }
  void add(Token::Type type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  void advance(size_t n) {
    line_ +=
        static_cast<int>(std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(n), '\n'));
    rest_.remove_prefix(n);
  }
  [[noreturn]] void fail_at(const std::string& what) { fail("line " + std::to_string(line_) + ": " + what); }

  const std::string source_;
  std::string_view rest_;
  int line_ = 1;
  bool line_starting_ = true;  // the text begins at the start of a line
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(uint32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const size_t last = last_code_point_begin(text);
    if (!is_python_space(first_code_point(text.substr(last)).value)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!is_python_space(c.value)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

std::vector<Token> tokenize(const std::string& source) {
  return Lexer(source).run();
}

}  // namespace octet::jinja
