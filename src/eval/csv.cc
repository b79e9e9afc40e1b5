#include "eval/csv.h"

#include <fmt/format.h>

namespace octet {
namespace {

class CsvParser {
 public:
  CsvParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Result<std::vector<CsvRow>> parse() {
    std::vector<CsvRow> rows;
    while (at_ < text_.size()) {
      CsvRow row{line_, {}};
      do {
        std::string field;
        OCTET_RETURN_IF_ERROR(at_ < text_.size() && text_[at_] == '"' ? quoted(field) : plain(field));
        row.fields.push_back(std::move(field));
      } while (take(','));
      take('\r');
      if (at_ < text_.size() && !take('\n')) {
        return corrupt(fmt::format("{}: line {}: text after a closing quote", file_, line_));
      }
      ++line_;
      if (row.fields.size() > 1 || !row.fields[0].empty()) rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Status plain(std::string& field) {
    size_t end = std::min(text_.find_first_of(",\n", at_), text_.size());
    field = text_.substr(at_, end - at_);
    at_ = end;
    if (!field.empty() && field.back() == '\r' && (end == text_.size() || text_[end] == '\n'))
      field.pop_back();
    return {};
  }

  Status quoted(std::string& field) {
    const int64_t begin = line_;
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"' && !take('"')) return {};
      line_ += c == '\n' ? 1 : 0;
      field += c;
    }
    return corrupt(fmt::format("{}: line {}: a quote is opened and never closed", file_, begin));
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

Result<std::vector<CsvRow>> parse_csv(std::string_view text, const std::string& file) {
  return CsvParser(text, file).parse();
}

}  // namespace octet
