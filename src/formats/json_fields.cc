#include "formats/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace octet {
namespace {

using nlohmann::json;

// The parser itself does not recurse, but whatever walks its result may.
bool nested_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

bool as_int32(const json& value, int32_t* out) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned()) {
    const auto v = value.get<uint64_t>();
    if (v > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) return false;
    *out = static_cast<int32_t>(v);
    return true;
  }
  const auto v = value.get<int64_t>();
  if (v < std::numeric_limits<int32_t>::min() || v > std::numeric_limits<int32_t>::max()) return false;
  *out = static_cast<int32_t>(v);
  return true;
}

}  // namespace

Result<json> parse_json(std::string_view text, const std::string& file) {
  if (text.size() > kMaxJsonBytes) {
    return corrupt(file + ": " + std::to_string(text.size()) + " bytes of JSON, expected at most " +
                   std::to_string(kMaxJsonBytes));
  }
  if (nested_too_deep(text)) {
    return corrupt(file + ": JSON nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
  }
  try {
    return json::parse(text);
  } catch (const json::exception& e) {
    std::string_view what = e.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
    if (what.starts_with('[')) what.remove_prefix(std::min(what.size(), what.find("] ") + 2));
    return corrupt(file + ": not valid JSON: " + std::string(what));
  }
}

std::string brief(const json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

JsonFields::JsonFields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) fail(corrupt(where_ + ": expected a JSON object, found " + brief(object)));
}

const json* JsonFields::find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonFields::is_null(const char* key) const {
  return object_.is_object() && object_.contains(key) && find(key) == nullptr;
}

void JsonFields::read(const char* key, int32_t* out) {
  const json* value = find(key);
  if (value == nullptr || as_int32(*value, out)) return;
  fail(key, "expected an integer of 32 bits, found " + brief(*value));
}

void JsonFields::read(const char* key, float* out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_number()) return fail(key, "expected a number, found " + brief(*value));
  const double number = value->get<double>();
  if (!(std::abs(number) <= std::numeric_limits<float>::max())) {
    return fail(key, "expected a number of float32's range, found " + brief(*value));
  }
  *out = static_cast<float>(number);
}

void JsonFields::read(const char* key, bool* out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return fail(key, "expected true or false, found " + brief(*value));
  *out = value->get<bool>();
}

void JsonFields::read(const char* key, std::string* out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) return fail(key, "expected a string, found " + brief(*value));
  *out = value->get<std::string>();
}

void JsonFields::read_ids(const char* key, std::vector<int32_t>* out) {
  const json* value = find(key);
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& item : list) {
    int32_t id = 0;
    if (!as_int32(item, &id) || id < 0) {
      return fail(key, "expected a token id or a list of them, found " + brief(*value));
    }
    if (std::find(out->begin(), out->end(), id) == out->end()) out->push_back(id);
  }
}

void JsonFields::fail(const char* key, const std::string& what) {
  fail(corrupt(where_ + ": " + key + ": " + what));
}

void JsonFields::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Result<std::vector<std::string>> read_strings(const JsonFields& fields, const char* key) {
  std::vector<std::string> strings;
  const nlohmann::json* list = fields.find(key);
  if (list == nullptr) return strings;
  bool fits = list->is_array();
  for (size_t i = 0; fits && i < list->size(); ++i) {
    fits = (*list)[i].is_string();
    if (fits) strings.push_back((*list)[i].get<std::string>());
  }
  if (!fits)
    return corrupt(fields.where() + ": " + key + ": expected a list of names, found " + brief(*list));
  return strings;
}

}  // namespace octet
