// The CSV reader of evaluations: whatever bytes come, rows that are told apart by their lines, or one line of
// error. octet: link octet_eval
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "eval/csv.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto rows = octet::parse_csv(text, "x.csv");
  if (!rows.ok()) {
    if (rows.status().message().find('\n') != std::string::npos) std::abort();
    return 0;
  }
  int64_t line = 0;
  size_t bytes = 0;
  for (const auto& row : *rows) {
    if (row.line <= line || row.fields.empty()) std::abort();
    line = row.line;
    for (const auto& field : row.fields) bytes += field.size();
  }
  if (bytes > size) std::abort();
  return 0;
}
