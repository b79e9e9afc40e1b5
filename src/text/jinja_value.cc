#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "text/utf8.h"

namespace octet::jinja {

void fail(std::string message) {
  throw Error{StatusCode::kInvalidArgument, std::move(message)};
}

namespace {

void check_size(int depth, size_t weight) {
  if (depth > kMaxDepth) fail("a value nested more than " + std::to_string(kMaxDepth) + " deep");
  if (weight > kMaxWeight) fail("a value that is too large");
}

std::shared_ptr<List> make_list(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.depth() + 1);
    list->weight += item.weight();
    check_size(list->depth, list->weight);
  }
  list->items = std::move(items);
  return list;
}

bool equal_lists(const List& a, const List& b) {
  return a.is_tuple == b.is_tuple &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  return a.items.size() == b.items.size() &&
         std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
           const Value* other = b.find(item.first);
           return other != nullptr && equal(item.second, *other);
         });
}

// An integer and a double compare exactly, as in Python; -1, 0, 1, or 2 where a NaN has no order.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer();
  }
  const long double x = a.is_integer() ? static_cast<long double>(a.integer()) : a.number();
  const long double y = b.is_integer() ? static_cast<long double>(b.integer()) : b.number();
  if (std::isnan(x) || std::isnan(y)) return 2;
  return x < y ? -1 : x > y;
}

}  // namespace

Value Value::markup(std::string text) {
  return Value(Variant(String{std::make_shared<const std::string>(std::move(text)), true}));
}
Value Value::list(std::vector<Value> items) {
  return Value(ListPtr(make_list(std::move(items))));
}
Value Value::tuple(std::vector<Value> items) {
  auto list = make_list(std::move(items));
  list->is_tuple = true;
  return Value(ListPtr(std::move(list)));
}
Value Value::iterator(std::vector<Value> items) {
  return Value(std::make_shared<Iterator>(Iterator{std::move(items), 0}));
}

int64_t Value::integer() const {
  const bool* b = as<bool>();
  return b != nullptr ? *b : std::get<int64_t>(data_);
}
double Value::number() const {
  return is_integer() ? static_cast<double>(integer()) : std::get<double>(data_);
}
int Value::depth() const {
  if (const List* l = list()) return l->depth;
  const Dict* d = dict();
  return d == nullptr ? 0 : d->depth;
}

size_t Value::weight() const {
  if (is_string()) return 1 + text().size() / 16;
  if (const List* l = list()) return l->weight;
  const Dict* d = dict();
  return d == nullptr ? 1 : d->weight;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = strings_.find(std::string(key));
  return found == strings_.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.text()));
  for (const auto& [k, v] : items) {
    if (!k.is_string() && equal(k, key)) return &v;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  const bool hashable = !key.is_undefined() && !key.dict() && !(key.list() && !key.list()->is_tuple);
  if (!hashable) fail(std::string("unhashable type: '") + type_name(key) + "'");
  depth = std::max({depth, value.depth() + 1, key.depth() + 1});
  weight += value.weight() + key.weight();
  check_size(depth, weight);
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  if (key.is_string()) strings_.emplace(key.text(), items.size());
  items.emplace_back(key, std::move(value));
}

Value Loop::attribute(std::string_view name) const {
  const auto at = static_cast<int64_t>(index);
  const auto n = static_cast<int64_t>(items->size());
  if (name == "index") return at + 1;
  if (name == "index0") return at;
  if (name == "revindex") return n - at;
  if (name == "revindex0") return n - at - 1;
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 == n;
  if (name == "length") return n;
  if (name == "depth") return 1;  // of recursive loops, which are not there
  if (name == "depth0") return 0;
  if (name == "previtem") return at > 0 ? (*items)[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return at + 1 < n ? (*items)[index + 1] : Value::undefined("there is no next item");
  return Value::undefined("'loop' has no attribute '" + std::string(name) + "'");
}

const Value* Arguments::named_value(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

const Value* Arguments::find(size_t index, std::string_view name) const {
  return index < positional.size() ? &positional[index] : named_value(name);
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_integer()) return value.integer() != 0;
  if (value.is_number()) return value.number() != 0;
  if (value.is_string()) return !value.text().empty();
  if (value.list()) return !value.list()->items.empty();
  if (value.dict()) return !value.dict()->items.empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.data().index() != b.data().index()) return false;
  if (a.is_string()) return a.text() == b.text();
  if (a.list()) return equal_lists(*a.list(), *b.list());
  if (a.dict()) return equal_dicts(*a.dict(), *b.dict());
  if (a.is_none() || a.is_undefined()) return true;
  if (const auto* n = a.as<std::shared_ptr<Namespace>>()) return *n == *b.as<std::shared_ptr<Namespace>>();
  if (const auto* i = a.as<std::shared_ptr<Iterator>>()) return *i == *b.as<std::shared_ptr<Iterator>>();
  if (const auto* l = a.as<std::shared_ptr<const Loop>>()) return *l == *b.as<std::shared_ptr<const Loop>>();
  return *a.as<std::shared_ptr<const Callable>>() == *b.as<std::shared_ptr<const Callable>>();
}

bool less(const Value& a, const Value& b, const char* op) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.is_string() && b.is_string())
    return a.text() < b.text();  // the order of code points is that of UTF-8
  if (a.list() && b.list() && a.list()->is_tuple == b.list()->is_tuple) {
    const auto& x = a.list()->items;
    const auto& y = b.list()->items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(x[i], y[i])) return less(x[i], y[i], op);
    }
    return x.size() < y.size();
  }
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined()) fail(v->as<Undefined>()->message);
  }
  fail(std::string("'") + op + "' not supported between instances of '" + type_name(a) + "' and '" +
       type_name(b) + "'");
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      fail(std::string("'in <string>' requires string as left operand, not ") + type_name(item));
    }
    return container.text().find(item.text()) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) return dict->find(item) != nullptr;
  if (container.list() == nullptr && !container.is_undefined() &&
      !container.as<std::shared_ptr<Iterator>>()) {
    fail(std::string("argument of type '") + type_name(container) + "' is not iterable");
  }
  if (const List* list = container.list()) {
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& v) { return equal(v, item); });
  }
  const std::vector<Value> items = iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item); });
}

const char* type_name(const Value& value) {
  struct Name {
    const char* operator()(const Undefined&) { return "Undefined"; }
    const char* operator()(const None&) { return "NoneType"; }
    const char* operator()(bool) { return "bool"; }
    const char* operator()(int64_t) { return "int"; }
    const char* operator()(double) { return "float"; }
    const char* operator()(const String& s) { return s.markup ? "Markup" : "str"; }
    const char* operator()(const ListPtr& l) { return l->is_tuple ? "tuple" : "list"; }
    const char* operator()(const DictPtr&) { return "dict"; }
    const char* operator()(const std::shared_ptr<Namespace>&) { return "Namespace"; }
    const char* operator()(const std::shared_ptr<Iterator>&) { return "generator"; }
    const char* operator()(const std::shared_ptr<const Loop>&) { return "LoopContext"; }
    const char* operator()(const std::shared_ptr<const Callable>&) { return "function"; }
  };
  return std::visit(Name{}, value.data());
}

std::vector<Value> iterate(const Value& value) {
  if (const List* list = value.list()) return list->items;
  std::vector<Value> items;
  if (const Dict* dict = value.dict()) {
    for (const auto& [key, unused] : dict->items) items.push_back(key);
  } else if (value.is_string()) {
    std::string_view text = value.text();
    while (!text.empty()) {
      const size_t n = first_code_point(text).length;
      items.emplace_back(text.substr(0, n));
      text.remove_prefix(n);
    }
  } else if (const auto* iterator = value.as<std::shared_ptr<Iterator>>()) {
    Iterator& it = **iterator;
    items.assign(it.items.begin() + static_cast<std::ptrdiff_t>(it.next), it.items.end());
    it.next = it.items.size();
  } else if (!value.is_undefined()) {
    fail(std::string("'") + type_name(value) + "' object is not iterable");
  }
  return items;
}

size_t length(const Value& value) {
  if (const List* list = value.list()) return list->items.size();
  if (const Dict* dict = value.dict()) return dict->items.size();
  if (value.is_undefined()) return 0;
  if (!value.is_string()) fail(std::string("object of type '") + type_name(value) + "' has no len()");
  return static_cast<size_t>(std::count_if(value.text().begin(), value.text().end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

size_t shallow_weight(const Value& value) {
  if (value.is_string()) return value.weight();
  if (const List* list = value.list()) return 1 + list->items.size();
  if (const Dict* dict = value.dict()) return 1 + dict->items.size();
  const auto* iterator = value.as<std::shared_ptr<Iterator>>();
  return 1 + (iterator == nullptr ? 0 : (*iterator)->items.size());
}

Value from_json(const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxDepth) fail("JSON nested more than " + std::to_string(kMaxDepth) + " deep");
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > INT64_MAX) fail("the integer " + std::to_string(number) + " is out of range");
      return static_cast<int64_t>(number);
    }
    case nlohmann::json::value_t::number_float:
      return json.get<double>();
    case nlohmann::json::value_t::string:
      return to_valid_utf8(json.get_ref<const std::string&>());
    case nlohmann::json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return Value::list(std::move(items));
    }
    case nlohmann::json::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, item] : json.items()) dict->set(to_valid_utf8(key), from_json(item, depth + 1));
      return DictPtr(std::move(dict));
    }
    default:
      return {};
  }
}

}  // namespace octet::jinja
