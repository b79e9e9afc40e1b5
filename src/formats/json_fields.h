// Typed access to the fields of a JSON object that somebody else wrote. The first mistake is kept and
// reported at the end, as "config.json: hidden_size: expected an integer, found \"many\"", so that readers
// are plain lists of fields.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"

namespace octet {

// Parses a small JSON file (a config, an index). kCorrupt with `file` in the message where it is not JSON,
// larger than kMaxJsonBytes or nested deeper than kMaxJsonDepth.
inline constexpr size_t kMaxJsonBytes = size_t{16} << 20;
inline constexpr int kMaxJsonDepth = 64;
Result<nlohmann::json> parse_json(std::string_view text, const std::string& file);

// A value for messages: its JSON text, shortened.
std::string brief(const nlohmann::json& value);

class JsonFields {
 public:
  // `object` outlives this. `where` begins every message: a file, or "file: field".
  JsonFields(const nlohmann::json& object, std::string where);

  // The field's value, or null where it is absent or null.
  const nlohmann::json* find(const char* key) const;
  bool has(const char* key) const { return find(key) != nullptr; }
  bool is_null(const char* key) const;  // there, and null

  // Leave `out` as it is where the field is absent or null.
  void read(const char* key, int32_t* out);
  void read(const char* key, float* out);
  void read(const char* key, bool* out);
  void read(const char* key, std::string* out);
  // An integer or a list of integers, appended to `out` without repeating what is there.
  void read_ids(const char* key, std::vector<int32_t>* out);

  // As read, but the field has to be there.
  template <typename T>
  void require(const char* key, T* out) {
    if (!has(key)) fail(key, "is missing");
    read(key, out);
  }

  // Keeps the first mistake.
  void fail(const char* key, const std::string& what);
  void fail(Status status);
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
  Status status_;
};

// A list of strings; empty where the field is absent or null, kCorrupt where it is something else.
Result<std::vector<std::string>> read_strings(const JsonFields& fields, const char* key);

}  // namespace octet
