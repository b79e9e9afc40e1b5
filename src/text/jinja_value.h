// Values of chat templates, with the semantics of Python: what is true, str(), repr(), equality, order.
//
// Lists, dicts and strings never change once made (transformers renders in a sandbox that forbids it), so
// values share them freely and no cycle can arise. Only a namespace changes; the interpreter empties all of
// them at its end, which ends their cycles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"

namespace octet::jinja {

// What goes wrong in a template: the evaluator is a tree of small functions, so it throws; ChatTemplate
// catches and gives a Status. Nothing else throws.
struct Error {
  StatusCode code;
  std::string message;
  bool raised = false;  // by the template's own raise_exception
};
[[noreturn]] void fail(std::string message);

class Value;
struct List;
struct Dict;
struct Namespace;
struct Iterator;
struct Loop;
struct Callable;

struct None {};
struct Undefined {
  std::string message;  // what to say when it is used
};
struct String {
  std::shared_ptr<const std::string> text;  // valid UTF-8
  bool markup = false;                      // of |safe or |escape: what is added to it gets escaped
};

using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;

class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, String, ListPtr, DictPtr,
                               std::shared_ptr<Namespace>, std::shared_ptr<Iterator>,
                               std::shared_ptr<const Loop>, std::shared_ptr<const Callable>>;

  Value() : data_(None{}) {}
  Value(bool v) : data_(v) {}
  Value(int64_t v) : data_(v) {}
  Value(int v) : data_(int64_t{v}) {}
  Value(size_t v) : data_(static_cast<int64_t>(v)) {}
  Value(double v) : data_(v) {}
  Value(std::string v) : data_(String{std::make_shared<const std::string>(std::move(v))}) {}
  Value(std::string_view v) : Value(std::string(v)) {}
  Value(const char* v) : Value(std::string(v)) {}
  Value(ListPtr v) : data_(std::move(v)) {}
  Value(DictPtr v) : data_(std::move(v)) {}
  Value(std::shared_ptr<Namespace> v) : data_(std::move(v)) {}
  Value(std::shared_ptr<Iterator> v) : data_(std::move(v)) {}
  Value(std::shared_ptr<const Loop> v) : data_(std::move(v)) {}
  Value(std::shared_ptr<const Callable> v) : data_(std::move(v)) {}
  static Value undefined(std::string message) { return Value(Variant(Undefined{std::move(message)})); }
  static Value markup(std::string text);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value iterator(std::vector<Value> items);  // of a filter such as map: goes once, has no length

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  bool is_integer() const { return as<bool>() != nullptr || as<int64_t>() != nullptr; }  // as Python has it
  bool is_number() const { return is_integer() || as<double>() != nullptr; }
  bool is_string() const { return as<String>() != nullptr; }
  bool is_markup() const { return is_string() && as<String>()->markup; }
  const std::string& text() const { return *std::get<String>(data_).text; }  // is_string()
  const List* list() const { return as<ListPtr>() == nullptr ? nullptr : as<ListPtr>()->get(); }
  const Dict* dict() const { return as<DictPtr>() == nullptr ? nullptr : as<DictPtr>()->get(); }
  int64_t integer() const;  // is_integer()
  double number() const;    // is_number()
  int depth() const;        // of nested lists and dicts
  size_t weight()
      const;  // of everything in it, each time that it is in it; a unit is an item or 16 bytes of text

  const Variant& data() const { return data_; }

 private:
  explicit Value(Variant v) : data_(std::move(v)) {}
  Variant data_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;
  size_t weight = 1;
};

// In the order of insertion. Keys are strings, numbers, booleans, None or tuples, equal as in Python (1
// == 1.0 == True).
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
  size_t weight = 1;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);

 private:
  std::unordered_map<std::string, size_t> strings_;  // where a string key is
};

struct Namespace {
  Dict values;
};

struct Iterator {
  std::vector<Value> items;
  size_t next = 0;
};

struct Loop {
  std::shared_ptr<const std::vector<Value>> items;
  size_t index = 0;
  std::shared_ptr<Value> last_changed = std::make_shared<Value>();  // what loop.changed() saw last, a tuple
  Value attribute(std::string_view name) const;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* named_value(std::string_view name) const;
  // The argument at `index`, or that of the name; null where it is not given.
  const Value* find(size_t index, std::string_view name) const;
};

class Interpreter;
struct Callable {
  std::string name;
  std::function<Value(Interpreter&, const Arguments&)> call;
};

// Values share what is in them, so a few steps could make one that takes for ever to compare or to print.
inline constexpr int kMaxDepth = 200;
inline constexpr size_t kMaxWeight = 4 << 20;

bool truthy(const Value& value);
std::string to_str(const Value& value);   // Python's str()
std::string to_repr(const Value& value);  // Python's repr()
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b, const char* op = "<");  // fails for what Python cannot order
bool contains(const Value& container, const Value& item);

const char* type_name(const Value& value);  // as Python's errors have it
std::string float_repr(double value);

// The items that a `for` sees: those of a list, the keys of a dict, the characters of a string, nothing of
// undefined. An iterator is used up.
std::vector<Value> iterate(const Value& value);
size_t length(const Value& value);
size_t shallow_weight(const Value& value);  // what going through it once costs, in the unit of Value::weight

Value from_json(const nlohmann::ordered_json& json, int depth = 0);

struct JsonStyle {
  bool ascii = false, sort_keys = false;
  bool multiline = false;
  std::string indent;  // of one level
  std::string item_separator = ", ", key_separator = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style);  // Python's json.dumps

}  // namespace octet::jinja
