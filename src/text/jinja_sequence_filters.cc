// Jinja's filters of lists, dicts and other sequences.
#include <algorithm>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_strings.h"

namespace octet::jinja {

namespace {

using Args = const Arguments&;

Value do_length(Interpreter&, const Value& v, Args) {
  return length(v);
}
Value do_list(Interpreter&, const Value& v, Args) {
  return Value::list(iterate(v));
}

Value do_first(Interpreter&, const Value& v, Args) {
  if (v.list() != nullptr && !v.list()->items.empty()) return v.list()->items.front();
  if (const auto* iterator = v.as<std::shared_ptr<Iterator>>()) {
    Iterator& it = **iterator;
    if (it.next < it.items.size()) return it.items[it.next++];
  } else if (const auto items = iterate(v); !items.empty()) {
    return items.front();
  }
  return Value::undefined("No first item, sequence was empty.");
}

Value do_last(Interpreter&, const Value& v, Args) {
  if (v.as<std::shared_ptr<Iterator>>() != nullptr) fail("'generator' object is not reversible");
  if (v.list() != nullptr && !v.list()->items.empty()) return v.list()->items.back();
  const auto items = iterate(v);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value do_reverse(Interpreter&, const Value& v, Args) {
  auto items = iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return Value::iterator(std::move(items));
  std::string text;
  for (const Value& c : items) text += c.text();
  return text;
}

Value do_join(Interpreter& interpreter, const Value& v, Args a) {
  const Value* separator = a.find(0, "d");
  const Value* attribute = a.find(1, "attribute");
  const std::string between = separator == nullptr ? "" : to_str(*separator);
  std::string text;
  bool first = true;
  for (const Value& item : iterate(v)) {
    if (!std::exchange(first, false)) text += between;
    const std::string part =
        to_str(attribute == nullptr || attribute->is_none() ? item : get_path(item, *attribute));
    interpreter.spend(1 + (between.size() + part.size()) / 16);
    text += part;
  }
  return text;
}

Value do_items(Interpreter&, const Value& v, Args) {
  if (v.is_undefined()) return Value::iterator({});
  if (v.dict() == nullptr) fail("Can only get item pairs from a mapping.");
  std::vector<Value> pairs;
  for (const auto& [key, value] : v.dict()->items) pairs.push_back(Value::tuple({key, value}));
  return Value::iterator(std::move(pairs));
}

// What things are sorted by: text without case unless asked for, as Jinja does.
Value sort_key(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value(to_lower(value.text())) : value;
}

template <typename Key>
std::vector<Value> sorted(std::vector<Value> items, bool reverse, const Key& key) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) keyed.emplace_back(key(item), std::move(item));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
  items.clear();
  for (auto& [unused, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value do_sort(Interpreter&, const Value& v, Args a) {
  const bool reverse = flag_argument(a, 0, "reverse", false),
             case_sensitive = flag_argument(a, 1, "case_sensitive", false);
  const Value* attribute = a.find(2, "attribute");
  return Value::list(sorted(iterate(v), reverse, [&](const Value& item) {
    return sort_key(attribute == nullptr || attribute->is_none() ? item : get_path(item, *attribute),
                    case_sensitive);
  }));
}

Value do_dictsort(Interpreter&, const Value& v, Args a) {
  if (v.dict() == nullptr) fail(std::string("dictsort of a ") + type_name(v));
  const bool case_sensitive = flag_argument(a, 0, "case_sensitive", false);
  const Value* by = a.find(1, "by");
  const std::string what = by == nullptr ? "key" : to_str(*by);
  if (what != "key" && what != "value") fail("You can only sort by either \"key\" or \"value\"");
  std::vector<Value> pairs;
  for (const auto& [key, value] : v.dict()->items) pairs.push_back(Value::tuple({key, value}));
  return Value::list(sorted(std::move(pairs), flag_argument(a, 2, "reverse", false), [&](const Value& pair) {
    return sort_key(pair.list()->items[what == "key" ? 0 : 1], case_sensitive);
  }));
}

Value do_unique(Interpreter& interpreter, const Value& v, Args a) {
  const bool case_sensitive = flag_argument(a, 0, "case_sensitive", false);
  const Value* attribute = a.find(1, "attribute");
  std::vector<Value> kept, keys;
  for (const Value& item : iterate(v)) {
    Value key = sort_key(attribute == nullptr || attribute->is_none() ? item : get_path(item, *attribute),
                         case_sensitive);
    interpreter.spend(keys.size() + key.weight());
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(k, key); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return Value::iterator(std::move(kept));
}

Value extreme(const Value& v, Args a, bool largest) {
  const bool case_sensitive = flag_argument(a, 0, "case_sensitive", false);
  const Value* attribute = a.find(1, "attribute");
  const Value* best = nullptr;
  Value best_key;
  const auto items = iterate(v);
  for (const Value& item : items) {
    Value key = sort_key(attribute == nullptr || attribute->is_none() ? item : get_path(item, *attribute),
                         case_sensitive);
    if (best != nullptr && !(largest ? less(best_key, key) : less(key, best_key))) continue;
    best = &item;
    best_key = std::move(key);
  }
  return best == nullptr ? Value::undefined("No aggregated item, sequence was empty.") : *best;
}
Value do_max(Interpreter&, const Value& v, Args a) {
  return extreme(v, a, true);
}
Value do_min(Interpreter&, const Value& v, Args a) {
  return extreme(v, a, false);
}

Value do_sum(Interpreter& interpreter, const Value& v, Args a) {
  const Value* attribute = a.find(0, "attribute");
  const Value* start = a.find(1, "start");
  Value total = start == nullptr ? Value(0) : *start;
  for (const Value& item : iterate(v)) {
    total = binary_operator(interpreter, "+", total,
                            attribute == nullptr || attribute->is_none() ? item : get_path(item, *attribute));
  }
  return total;
}

Value do_default(Interpreter&, const Value& v, Args a) {
  const Value* given = a.find(0, "default_value");
  const bool replaces = v.is_undefined() || (flag_argument(a, 1, "boolean", false) && !truthy(v));
  return !replaces ? v : given != nullptr ? *given : Value("");
}

Value do_attr(Interpreter&, const Value& v, Args a) {
  const std::string& name = string_argument(a, 0, "name");
  // Unlike `.`, attr never looks at a dict's items.
  if (v.dict() != nullptr && !is_method(name))
    return Value::undefined("'dict object' has no attribute '" + name + "'");
  return get_attribute(v, name);
}

// Without the first `n` arguments.
Arguments rest(Args a, size_t n) {
  Arguments rest;
  for (size_t i = n; i < a.positional.size(); ++i) rest.positional.push_back(a.positional[i]);
  rest.named = a.named;
  return rest;
}

Value do_map(Interpreter& interpreter, const Value& v, Args a) {
  std::vector<Value> out;
  if (a.positional.empty()) {
    const Value& attribute = required_argument(a, 0, "attribute");
    const Value* otherwise = a.named_value("default");
    for (const Value& item : iterate(v)) {
      interpreter.spend(1);
      out.push_back(get_path(item, attribute, otherwise));
    }
    return Value::iterator(std::move(out));
  }
  const std::string& name = string_argument(a, 0, "name");
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw Error{StatusCode::kUnsupported, "the filter '" + name + "' is not supported"};
  const Arguments arguments = rest(a, 1);
  for (const Value& item : iterate(v)) {
    interpreter.spend(1 + shallow_weight(item));
    out.push_back(filter(interpreter, item, arguments));
  }
  return Value::iterator(std::move(out));
}

// select, reject, selectattr and rejectattr: items, or an attribute of theirs, that pass a test, or are true.
Value choose(Interpreter& interpreter, const Value& v, Args a, bool by_attribute, bool keeps) {
  const size_t at = by_attribute;
  const Value* attribute = by_attribute ? &required_argument(a, 0, "attribute") : nullptr;
  Test test = nullptr;
  if (a.positional.size() > at) {
    const std::string& name = string_argument(a, at, "test");
    test = find_test(name);
    if (test == nullptr) throw Error{StatusCode::kUnsupported, "the test '" + name + "' is not supported"};
  }
  const Arguments arguments = rest(a, at + 1);
  std::vector<Value> out;
  for (const Value& item : iterate(v)) {
    const Value value = attribute == nullptr ? item : get_path(item, *attribute);
    interpreter.spend(1 + shallow_weight(value));
    if ((test == nullptr ? truthy(value) : test(interpreter, value, arguments)) == keeps) out.push_back(item);
  }
  return Value::iterator(std::move(out));
}
Value do_select(Interpreter& i, const Value& v, Args a) {
  return choose(i, v, a, false, true);
}
Value do_reject(Interpreter& i, const Value& v, Args a) {
  return choose(i, v, a, false, false);
}
Value do_selectattr(Interpreter& i, const Value& v, Args a) {
  return choose(i, v, a, true, true);
}
Value do_rejectattr(Interpreter& i, const Value& v, Args a) {
  return choose(i, v, a, true, false);
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"attr", do_attr},
    {"count", do_length},
    {"d", do_default},
    {"default", do_default},
    {"dictsort", do_dictsort},
    {"first", do_first},
    {"items", do_items},
    {"join", do_join},
    {"last", do_last},
    {"length", do_length},
    {"list", do_list},
    {"map", do_map},
    {"max", do_max},
    {"min", do_min},
    {"reject", do_reject},
    {"rejectattr", do_rejectattr},
    {"reverse", do_reverse},
    {"select", do_select},
    {"selectattr", do_selectattr},
    {"sort", do_sort},
    {"sum", do_sum},
    {"unique", do_unique},
};

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

bool is_cheap_filter(std::string_view name) {
  for (const char* cheap : {"length", "count", "default", "d", "first", "last", "attr"}) {
    if (name == cheap) return true;
  }
  return false;
}

}  // namespace octet::jinja
