#include "eval/json_rows.h"

#include <fmt/format.h>

#include "base/mapped_file.h"
#include "formats/json_fields.h"

namespace octet {

Result<std::vector<JsonRow>> read_json_rows(const std::string& path, std::string& text) {
  OCTET_ASSIGN_OR_RETURN(text, read_text_file(path));
  std::vector<JsonRow> rows;
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '[') {
    OCTET_ASSIGN_OR_RETURN(auto array, parse_json(text, path));
    for (auto& value : array) rows.push_back({fmt::format("entry {}", rows.size() + 1), std::move(value)});
  } else {
    int64_t line = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++line;
      const std::string_view piece = std::string_view(text).substr(begin, end - begin);
      begin = end + 1;
      if (piece.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      OCTET_ASSIGN_OR_RETURN(auto value, parse_json(piece, fmt::format("{}: line {}", path, line)));
      rows.push_back({fmt::format("line {}", line), std::move(value)});
    }
  }
  if (rows.empty()) return corrupt(path + ": holds no questions");
  for (const JsonRow& row : rows) {
    if (!row.value.is_object())
      return corrupt(path + ": " + row.where + ": expected an object, found " + brief(row.value));
  }
  return rows;
}

Result<std::string> string_field(const nlohmann::json& row, const char* key, const std::string& where) {
  if (!row.is_object() || !row.contains(key)) return corrupt(where + key + " is missing");
  if (!row[key].is_string()) return corrupt(where + key + ": expected a string, found " + brief(row[key]));
  return row[key].get<std::string>();
}

}  // namespace octet
