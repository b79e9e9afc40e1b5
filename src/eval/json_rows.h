// A data set as a list of JSON objects: a file that is one array, or one object a line.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace octet {

struct JsonRow {
  std::string where;     // "line 3" or "entry 3", from 1
  nlohmann::json value;  // an object
};

// `text` gets the file's bytes. Errors: no such file, not JSON (with the line), an element that is no object,
// no rows.
Result<std::vector<JsonRow>> read_json_rows(const std::string& path, std::string& text);

// `where` begins the message.
Result<std::string> string_field(const nlohmann::json& row, const char* key, const std::string& where);

}  // namespace octet
