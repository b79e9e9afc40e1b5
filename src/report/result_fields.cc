#include "report/result_fields.h"

#include <limits>

namespace octet {

using nlohmann::json;

void ResultFields::set_error(const std::string& what) {
  if (status_.ok()) {
    status_ = corrupt(where_ + ": " + what +
                      "; was it written by another version of octet? measure again, or leave the file out");
  }
}

const json* ResultFields::find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json* ResultFields::require(const char* key, bool (json::*is)() const noexcept, const char* expected) {
  const json* value = find(key);
  if (value == nullptr) {
    set_error(std::string(key) + " is missing");
  } else if (!(value->*is)()) {
    set_error(std::string(key) + ": expected " + expected + ", found " + value->type_name());
    value = nullptr;
  }
  return value;
}

double ResultFields::number(const char* key) {
  const json* value = require(key, &json::is_number, "a number");
  return value == nullptr ? 0 : value->get<double>();
}

int32_t ResultFields::count(const char* key) {
  const double value = number(key);
  if (value < 0 || value > std::numeric_limits<int32_t>::max() || value != static_cast<int32_t>(value)) {
    set_error(std::string(key) + ": expected an integer from 0 on");
    return 0;
  }
  return static_cast<int32_t>(value);
}

std::string ResultFields::text(const char* key) {
  const json* value = require(key, &json::is_string, "a text");
  return value == nullptr ? "" : value->get<std::string>();
}

const json& ResultFields::list(const char* key) {
  static const json kEmpty = json::array();
  const json* value = require(key, &json::is_array, "a list");
  return value == nullptr ? kEmpty : *value;
}

const json& ResultFields::object(const char* key) {
  static const json kEmpty = json::object();
  const json* value = require(key, &json::is_object, "an object");
  return value == nullptr ? kEmpty : *value;
}

std::optional<double> ResultFields::number_if(const char* key) {
  return find(key) == nullptr ? std::nullopt : std::optional(number(key));
}

std::string ResultFields::text_or(const char* key, const std::string& otherwise) {
  return find(key) == nullptr ? otherwise : text(key);
}

bool ResultFields::flag(const char* key) {
  if (find(key) == nullptr) return false;
  const json* value = require(key, &json::is_boolean, "true or false");
  return value != nullptr && value->get<bool>();
}

}  // namespace octet
