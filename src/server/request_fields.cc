#include "server/request_fields.h"

#include <cmath>

#include <fmt/format.h>

#include "text/utf8.h"

namespace octet {
namespace {

ApiError not_json(const std::string& message) {
  return api_error(400, "the request body is not valid JSON: " + message, "invalid_json");
}

// A pass over the brackets and commas outside strings, before anything is built from them.
std::optional<ApiError> check_bounds(std::string_view text) {
  struct Level {
    bool object;
    int members;
  };
  std::vector<Level> levels;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (levels.size() == kMaxJsonDepth) {
        return not_json(fmt::format("nested deeper than {} levels at byte {}", kMaxJsonDepth, i));
      }
      levels.push_back({c == '{', 1});
    } else if ((c == '}' || c == ']') && !levels.empty()) {
      levels.pop_back();
    } else if (c == ',' && !levels.empty() && levels.back().object) {
      if (++levels.back().members > kMaxJsonMembers) {
        return not_json(fmt::format("an object of more than {} members at byte {}", kMaxJsonMembers, i));
      }
    }
  }
  return std::nullopt;
}

// Valid UTF-8, so that a message can quote whatever came.
std::string shortened(std::string text) {
  if (text.size() <= 60) return text;
  size_t cut = 57;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

std::string short_form(const Json& value) {
  return shortened(value.dump());
}

}  // namespace

std::optional<ApiError> parse_json_object(std::string_view text, Json& out) {
  if (auto error = check_bounds(text)) return error;
  try {
    out = Json::parse(text);
  } catch (const Json::exception& e) {
    // The library's message begins with a code of its own: "[json.exception.parse_error.101] ".
    const std::string_view what = e.what();
    const size_t bracket = what.find("] ");
    std::string message(bracket == what.npos ? what : what.substr(bracket + 2));
    if (!is_valid_utf8(message)) message = "a string is no valid UTF-8";
    return not_json(message);
  }
  if (!out.is_object()) return not_json(std::string("expected an object, found ") + json_type_name(out));
  return std::nullopt;
}

const char* json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_float:
      return "a number";
    default:
      return "an integer";
  }
}

std::optional<int64_t> as_integer(const Json& value, int64_t low, int64_t high) {
  int64_t result = 0;
  if (value.is_number_unsigned()) {
    const auto u = value.get<uint64_t>();
    if (u > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    result = static_cast<int64_t>(u);
  } else if (value.is_number_integer()) {
    result = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double d = value.get<double>();
    if (d != std::floor(d) || std::abs(d) > 9007199254740992.0) return std::nullopt;
    result = static_cast<int64_t>(d);
  } else {
    return std::nullopt;
  }
  if (result < low || result > high) return std::nullopt;
  return result;
}

RequestFields::RequestFields(const Json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

std::string RequestFields::path_of(const std::string& name) const {
  return path_.empty() ? name : path_ + "." + name;
}

const Json* RequestFields::find(const char* name) {
  known_.insert(name);
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void RequestFields::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

void RequestFields::fail(const std::string& name, const std::string& message) {
  const std::string param = path_of(name);
  fail(bad_field(param, fmt::format("'{}' {}", param, message)));
}

void RequestFields::wrong_type(const char* name, const char* expected, const Json& found) {
  fail(name, fmt::format("must be {}, found {} ({})", expected, json_type_name(found), short_form(found)));
}

bool RequestFields::boolean(const char* name, bool absent) {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) {
    wrong_type(name, "a boolean", *value);
    return absent;
  }
  return value->get<bool>();
}

double RequestFields::number(const char* name, double absent, double low, double high) {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (!value->is_number()) {
    wrong_type(name, "a number", *value);
    return absent;
  }
  const double d = value->get<double>();
  if (!(d >= low && d <= high)) {
    fail(name, fmt::format("must be between {:g} and {:g}, found {:g}", low, high, d));
    return absent;
  }
  return d;
}

int64_t RequestFields::integer(const char* name, int64_t absent, int64_t low, int64_t high) {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (const auto result = as_integer(*value, low, high)) return *result;
  if (value->is_number()) {
    fail(name, fmt::format("must be an integer between {} and {}, found {}", low, high, short_form(*value)));
  } else {
    wrong_type(name, "an integer", *value);
  }
  return absent;
}

std::string RequestFields::string(const char* name, std::string absent) {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (!value->is_string()) {
    wrong_type(name, "a string", *value);
    return absent;
  }
  return value->get<std::string>();
}

std::vector<int32_t> RequestFields::integers(const char* name, int64_t low, int64_t high) {
  std::vector<int32_t> result;
  const Json* value = find(name);
  if (value == nullptr) return result;
  if (!value->is_array()) {
    wrong_type(name, "a list of integers", *value);
    return result;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const auto entry = as_integer((*value)[i], low, high);
    if (!entry) {
      fail(fmt::format("{}[{}]", name, i),
           fmt::format("must be an integer between {} and {}, found {}", low, high, short_form((*value)[i])));
      return {};
    }
    result.push_back(static_cast<int32_t>(*entry));
  }
  return result;
}

void RequestFields::ignore(std::initializer_list<const char*> names) {
  for (const char* name : names) known_.insert(name);
}

void RequestFields::refuse_unless(const char* name, const Json& neutral, const std::string& why) {
  const Json* value = find(name);
  if (value != nullptr && *value != neutral) fail(name, why);
}

void RequestFields::refuse_unknown() {
  if (error_) return;
  for (const auto& [name, value] : object_.items()) {
    if (!value.is_null() && !known_.contains(name)) {
      fail(shortened(name),
           "is not a field this server knows; it is refused because it might change the result");
      return;
    }
  }
}

}  // namespace octet
