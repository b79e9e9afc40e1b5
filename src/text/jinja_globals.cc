// The functions that every template can call, and what all builtins need of their arguments.
#include <ctime>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // that of Jinja's sandbox

Value range(Interpreter&, const Arguments& arguments) {
  const size_t n = arguments.positional.size();
  if (n < 1 || n > 3) fail("range expected 1 to 3 arguments, got " + std::to_string(n));
  const int64_t start = n == 1 ? 0 : integer_argument(arguments, 0, "start", 0);
  const int64_t stop = integer_argument(arguments, n == 1 ? 0 : 1, "stop", 0);
  const int64_t step = integer_argument(arguments, 2, "step", 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      fail("a range of more than " + std::to_string(kMaxRange) + " numbers");
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::list(std::move(items));
}

void fill(const Arguments& arguments, const char* name, Dict* dict) {
  if (arguments.positional.size() > 1) fail(std::string(name) + "() takes one positional argument at most");
  if (!arguments.positional.empty()) {
    const Dict* source = arguments.positional[0].dict();
    if (source == nullptr) fail(std::string(name) + "() is supported of a dict and of keyword arguments");
    for (const auto& [key, value] : source->items) dict->set(key, value);
  }
  for (const auto& [key, value] : arguments.named) dict->set(key, value);
}

Value make_namespace(Interpreter& interpreter, const Arguments& arguments) {
  auto ns = interpreter.make_namespace();
  fill(arguments, "namespace", &ns->values);
  return ns;
}

Value make_dict(Interpreter&, const Arguments& arguments) {
  auto dict = std::make_shared<Dict>();
  fill(arguments, "dict", dict.get());
  return DictPtr(std::move(dict));
}

Value raise_exception(Interpreter&, const Arguments& arguments) {
  throw Error{StatusCode::kInvalidArgument, to_str(required_argument(arguments, 0, "message")),
              /*raised=*/true};
}

Value strftime_now(Interpreter&, const Arguments& arguments) {
  const std::string& format = string_argument(arguments, 0, "format");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[1024];
  const size_t n = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  if (n == 0 && !format.empty()) fail("strftime_now: the format gives nothing, or too much");
  return to_valid_utf8({buffer, n});
}

constexpr std::pair<std::string_view, Value (*)(Interpreter&, const Arguments&)> kGlobals[] = {
    {"range", range},
    {"namespace", make_namespace},
    {"dict", make_dict},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

}  // namespace

Value find_global(const std::string& name) {
  for (const auto& [known, function] : kGlobals) {
    if (known == name) return std::make_shared<const Callable>(Callable{name, function});
  }
  return Value::undefined("'" + name + "' is undefined");
}

int64_t integer_argument(const Arguments& arguments, size_t index, std::string_view name, int64_t otherwise) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr) return otherwise;
  if (value->is_undefined()) fail_undefined(*value);
  if (!value->is_integer()) fail("'" + std::string(name) + "' must be an integer, not " + type_name(*value));
  return value->integer();
}

bool flag_argument(const Arguments& arguments, size_t index, std::string_view name, bool otherwise) {
  const Value* value = arguments.find(index, name);
  return value == nullptr ? otherwise : truthy(*value);
}

const Value& required_argument(const Arguments& arguments, size_t index, std::string_view name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr) fail("the argument '" + std::string(name) + "' is missing");
  return *value;
}

const std::string& string_argument(const Arguments& arguments, size_t index, std::string_view name) {
  const Value& value = required_argument(arguments, index, name);
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_string()) fail("'" + std::string(name) + "' must be a string, not " + type_name(value));
  return value.text();
}

}  // namespace octet::jinja
