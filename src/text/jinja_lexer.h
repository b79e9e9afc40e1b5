// Templates as tokens, with the white-space rules of trim_blocks and lstrip_blocks already applied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octet::jinja {

struct Token {
  enum Type {
    kText,
    kOutputBegin,
    kOutputEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Type type;
  std::string text;  // kString: with its escapes undone
  int line;
};

// `source` is valid UTF-8. Throws jinja::Error.
std::vector<Token> tokenize(const std::string& source);

bool is_python_space(uint32_t code_point);            // str.isspace()
std::string_view strip_right(std::string_view text);  // of white space, as str.rstrip() does
std::string_view strip_left(std::string_view text);

}  // namespace octet::jinja
