// Fields of a result: the first mistake is kept, with the file and the field.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace octet {

class ResultFields {
 public:
  // `object` outlives this. `where`: a file, "file:line", or "file: rows[3]".
  ResultFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) set_error("expected an object, found " + std::string(object.type_name()));
  }

  // Required; 0 or empty where they are missing or of another type.
  double number(const char* key);
  int32_t count(const char* key);  // an integer, at least 0
  std::string text(const char* key);
  const nlohmann::json& list(const char* key);
  const nlohmann::json& object(const char* key);

  // May be missing or null.
  std::optional<double> number_if(const char* key);
  std::string text_or(const char* key, const std::string& otherwise);
  bool flag(const char* key);

  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json* find(const char* key) const;
  const nlohmann::json* require(const char* key, bool (nlohmann::json::*is)() const noexcept,
                                const char* expected);
  void set_error(const std::string& what);

  const nlohmann::json& object_;
  std::string where_;
  Status status_;
};

}  // namespace octet
