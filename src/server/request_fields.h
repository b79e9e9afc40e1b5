// Reading a request body: JSON with bounds, and typed fields whose errors name them.
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "server/api_error.h"

namespace octet {

using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;
// An ordered object finds a key by looking at every one, so their number is bounded, not only their bytes.
inline constexpr int kMaxJsonMembers = 1024;

// Errors (400): not JSON (with the position), invalid UTF-8, nested too deep, too many members, not an
// object.
std::optional<ApiError> parse_json_object(std::string_view text, Json& out);

// "a string", "a number", ...: what stands where something else was expected.
const char* json_type_name(const Json& value);

// Reads the members of one object. The first error is kept, and every getter gives its default from then on,
// so that a parser is a list of fields. A member that is null counts as absent. What nobody asked for is
// refused at the end.
class RequestFields {
 public:
  // `path` is put before the names in messages: "stream_options" gives "stream_options.include_usage".
  explicit RequestFields(const Json& object, std::string path = "");

  const Json* find(const char* name);  // nullptr: absent
  bool has(const char* name) { return find(name) != nullptr; }

  bool boolean(const char* name, bool absent);
  double number(const char* name, double absent, double low, double high);
  int64_t integer(const char* name, int64_t absent, int64_t low, int64_t high);
  std::string string(const char* name, std::string absent);
  // A list of integers in [low, high].
  std::vector<int32_t> integers(const char* name, int64_t low, int64_t high);

  // Known and without effect on the result: accepted whatever it holds.
  void ignore(std::initializer_list<const char*> names);
  // Known, and not built unless it says `neutral` (or is absent).
  void refuse_unless(const char* name, const Json& neutral, const std::string& why);

  void fail(const std::string& name, const std::string& message);
  void fail(ApiError error);
  void refuse_unknown();

  std::string path_of(const std::string& name) const;
  const std::optional<ApiError>& error() const { return error_; }

 private:
  void wrong_type(const char* name, const char* expected, const Json& found);

  const Json& object_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
  std::optional<ApiError> error_;
};

// An integer, or a float that is one ("10.0"), within [low, high].
std::optional<int64_t> as_integer(const Json& value, int64_t low, int64_t high);

}  // namespace octet
