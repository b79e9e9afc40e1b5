// Comma separated values as RFC 4180 has them: fields in quotes may hold commas, line ends and doubled
// quotes; lines end in LF or CRLF.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace octet {

struct CsvRow {
  int64_t line = 0;  // where it begins, from 1
  std::vector<std::string> fields;
};

// Empty lines are no rows. `file` is for messages. Errors: kCorrupt with the line (a quote that is not
// closed, text after a closing quote).
Result<std::vector<CsvRow>> parse_csv(std::string_view text, const std::string& file);

}  // namespace octet
