// Jinja's filters: `value | name(arguments)`. tojson is the one of Hugging Face transformers: json.dumps,
// without HTML escapes.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_strings.h"

namespace octet::jinja {

namespace {

using Args = const Arguments&;

// What a filter of text makes of `value`: text, marked safe where the value was.
Value same_kind(const Value& value, std::string text) {
  return value.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

std::vector<Value> items_of(const Value& value) {
  return iterate(value);
}

// --- text

Value do_trim(Interpreter&, const Value& v, Args a) {
  const Value* chars = a.find(0, "chars");
  const bool given = chars != nullptr && !chars->is_none();
  return same_kind(
      v, std::string(strip(to_str(v), Side::kBoth, given ? &string_argument(a, 0, "chars") : nullptr)));
}
Value do_upper(Interpreter&, const Value& v, Args) {
  return same_kind(v, to_upper(to_str(v)));
}
Value do_lower(Interpreter&, const Value& v, Args) {
  return same_kind(v, to_lower(to_str(v)));
}
Value do_capitalize(Interpreter&, const Value& v, Args) {
  return same_kind(v, capitalize(to_str(v)));
}
Value do_title(Interpreter&, const Value& v, Args) {
  return title(to_str(v));
}
Value do_string(Interpreter&, const Value& v, Args) {
  return v.is_string() ? v : Value(to_str(v));
}
Value do_safe(Interpreter&, const Value& v, Args) {
  return Value::markup(to_str(v));
}
Value do_escape(Interpreter&, const Value& v, Args) {
  return v.is_markup() ? v : Value::markup(escape_html(to_str(v)));
}
Value do_forceescape(Interpreter&, const Value& v, Args) {
  return Value::markup(escape_html(to_str(v)));
}
Value do_center(Interpreter&, const Value& v, Args a) {
  return same_kind(v, center(to_str(v), integer_argument(a, 0, "width", 80)));
}

Value do_replace(Interpreter&, const Value& v, Args a) {
  const Value* count = a.find(2, "count");
  const int64_t n = count == nullptr || count->is_none() ? -1 : integer_argument(a, 2, "count", -1);
  return replace(to_str(v), to_str(required_argument(a, 0, "old")), to_str(required_argument(a, 1, "new")),
                 n);
}

Value do_format(Interpreter&, const Value& v, Args a) {
  if (!a.named.empty()) fail("format() with keyword arguments is not supported");
  return format_percent(to_str(v), Value::tuple(a.positional));
}

Value do_indent(Interpreter&, const Value& v, Args a) {
  const Value* width = a.find(0, "width");
  std::string margin(4, ' ');
  if (width != nullptr && width->is_string()) {
    margin = width->text();
  } else if (width != nullptr) {
    margin.assign(static_cast<size_t>(std::clamp<int64_t>(integer_argument(a, 0, "width", 4), 0, 1000)), ' ');
  }
  const bool first = flag_argument(a, 1, "first", false), blank = flag_argument(a, 2, "blank", false);
  const std::string text = to_str(v) + "\n";
  if (margin.size() > 1000) fail("an indentation of more than 1000 characters");
  std::string out = first ? margin : "";
  bool at_start = true;
  for (const std::string_view line : split_lines(text, /*keep_ends=*/false)) {
    if (!at_start) out += (blank || !line.empty()) ? "\n" + margin : "\n";
    at_start = false;
    out += line;
  }
  return same_kind(v, std::move(out));
}

Value do_urlencode(Interpreter&, const Value& v, Args) {
  if (!v.is_string()) fail("urlencode is supported of strings");
  std::string out;
  for (const char c : v.text()) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~/").find(c) != std::string_view::npos;
    char buffer[4];
    std::snprintf(buffer, sizeof buffer, "%%%02X", static_cast<unsigned>(static_cast<uint8_t>(c)));
    out += plain ? std::string(1, c) : buffer;
  }
  return out;
}

Value do_tojson(Interpreter&, const Value& v, Args a) {
  JsonStyle style;
  style.ascii = flag_argument(a, 0, "ensure_ascii", false);
  if (const Value* indent = a.find(1, "indent"); indent != nullptr && !indent->is_none()) {
    style.multiline = true;
    style.item_separator = std::string(",");  // of a literal GCC 12 warns wrongly (bug 105651)
    if (indent->is_string()) {
      style.indent = indent->text();
    } else {
      style.indent.assign(
          static_cast<size_t>(std::clamp<int64_t>(integer_argument(a, 1, "indent", 0), 0, 100)), ' ');
    }
    if (style.indent.size() > 100) fail("an indentation of more than 100 characters");
  }
  if (const Value* separators = a.find(2, "separators"); separators != nullptr && !separators->is_none()) {
    const std::vector<Value> both = items_of(*separators);
    if (both.size() != 2) fail("separators: expected two");
    style.item_separator = to_str(both[0]);
    style.key_separator = to_str(both[1]);
  }
  style.sort_keys = flag_argument(a, 3, "sort_keys", false);
  return to_json(v, style);
}

// --- numbers

Value do_int(Interpreter&, const Value& v, Args a) {
  const Value* given = a.find(0, "default");
  const Value otherwise = given != nullptr ? *given : Value(0);
  const int64_t base = integer_argument(a, 1, "base", 10);
  if (v.is_undefined()) fail_undefined(v);
  if (v.is_integer()) return v.integer();
  double number = 0;
  if (v.is_string()) {
    std::string_view text = strip(v.text(), Side::kBoth, nullptr);
    if (text.starts_with('+')) text.remove_prefix(1);
    if (base == 16 && (text.starts_with("0x") || text.starts_with("0X"))) text.remove_prefix(2);
    if (base < 2 || base > 36) fail("int() base must be >= 2 and <= 36");
    int64_t integer = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, integer, static_cast<int>(base));
    if (!text.empty() && parsed.ptr == end && parsed.ec == std::errc()) return integer;
    const auto as_float = std::from_chars(text.data(), end, number);
    if (text.empty() || as_float.ptr != end || as_float.ec != std::errc()) return otherwise;
  } else if (v.is_number()) {
    number = v.number();
  } else {
    return otherwise;
  }
  if (!(std::abs(number) < 9.2e18)) return otherwise;
  return static_cast<int64_t>(number);
}

Value do_float(Interpreter&, const Value& v, Args a) {
  const Value* given = a.find(0, "default");
  if (v.is_undefined()) fail_undefined(v);
  if (v.is_number()) return v.number();
  if (v.is_string()) {
    std::string_view text = strip(v.text(), Side::kBoth, nullptr);
    if (text.starts_with('+')) text.remove_prefix(1);
    double number = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, number);
    if (!text.empty() && parsed.ptr == end && parsed.ec == std::errc()) return number;
  }
  return given != nullptr ? *given : Value(0.0);
}

Value do_abs(Interpreter&, const Value& v, Args) {
  if (v.is_integer()) return v.integer() < 0 ? negate(v) : Value(v.integer());
  if (!v.is_number()) fail(std::string("bad operand type for abs(): '") + type_name(v) + "'");
  return std::abs(v.number());
}

Value do_round(Interpreter&, const Value& v, Args a) {
  if (v.is_undefined()) fail_undefined(v);
  if (!v.is_number()) fail(std::string("type ") + type_name(v) + " doesn't define __round__ method");
  const int64_t precision = integer_argument(a, 0, "precision", 0);
  const Value* method = a.find(1, "method");
  const std::string how = method != nullptr ? to_str(*method) : "common";
  if (how != "common" && how != "ceil" && how != "floor") fail("method must be common, ceil or floor");
  if (precision < -300 || precision > 300) fail("round: the precision is out of range");
  const double x = v.number();
  if (!std::isfinite(x)) return x;
  if (how == "common" && v.is_integer() && precision >= 0) return v.integer();
  if (how == "common" && precision >= 0) {
    char buffer[700];
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), x);  // exact, half to even
    double rounded = 0;
    std::from_chars(buffer, buffer + sizeof buffer, rounded);
    return rounded;
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = x * scale;
  const double whole = how == "ceil"    ? std::ceil(scaled)
                       : how == "floor" ? std::floor(scaled)
                                        : std::nearbyint(scaled);
  if (how == "common" && v.is_integer()) return static_cast<int64_t>(whole / scale);
  return whole / scale;
}

// --- sequences

Value do_length(Interpreter&, const Value& v, Args) {
  return length(v);
}
Value do_list(Interpreter&, const Value& v, Args) {
  return Value::list(items_of(v));
}

Value do_first(Interpreter&, const Value& v, Args) {
  if (v.list() != nullptr && !v.list()->items.empty()) return v.list()->items.front();
  if (const auto* iterator = v.as<std::shared_ptr<Iterator>>()) {
    Iterator& it = **iterator;
    if (it.next < it.items.size()) return it.items[it.next++];
  } else if (const auto items = items_of(v); !items.empty()) {
    return items.front();
  }
  return Value::undefined("No first item, sequence was empty.");
}

Value do_last(Interpreter&, const Value& v, Args) {
  if (v.as<std::shared_ptr<Iterator>>() != nullptr) fail("'generator' object is not reversible");
  if (v.list() != nullptr && !v.list()->items.empty()) return v.list()->items.back();
  const auto items = items_of(v);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value do_reverse(Interpreter&, const Value& v, Args) {
  auto items = items_of(v);
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
  for (const Value& item : items_of(v)) {
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
  return Value::list(sorted(items_of(v), reverse, [&](const Value& item) {
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
  for (const Value& item : items_of(v)) {
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
  const auto items = items_of(v);
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
  for (const Value& item : items_of(v)) {
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
    for (const Value& item : items_of(v)) {
      interpreter.spend(1);
      out.push_back(get_path(item, attribute, otherwise));
    }
    return Value::iterator(std::move(out));
  }
  const std::string& name = string_argument(a, 0, "name");
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw Error{StatusCode::kUnsupported, "the filter '" + name + "' is not supported"};
  const Arguments arguments = rest(a, 1);
  for (const Value& item : items_of(v)) {
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
  for (const Value& item : items_of(v)) {
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
    {"abs", do_abs},
    {"attr", do_attr},
    {"capitalize", do_capitalize},
    {"center", do_center},
    {"count", do_length},
    {"d", do_default},
    {"default", do_default},
    {"dictsort", do_dictsort},
    {"e", do_escape},
    {"escape", do_escape},
    {"first", do_first},
    {"float", do_float},
    {"forceescape", do_forceescape},
    {"format", do_format},
    {"indent", do_indent},
    {"int", do_int},
    {"items", do_items},
    {"join", do_join},
    {"last", do_last},
    {"length", do_length},
    {"list", do_list},
    {"lower", do_lower},
    {"map", do_map},
    {"max", do_max},
    {"min", do_min},
    {"reject", do_reject},
    {"rejectattr", do_rejectattr},
    {"replace", do_replace},
    {"reverse", do_reverse},
    {"round", do_round},
    {"safe", do_safe},
    {"select", do_select},
    {"selectattr", do_selectattr},
    {"sort", do_sort},
    {"string", do_string},
    {"sum", do_sum},
    {"title", do_title},
    {"tojson", do_tojson},
    {"trim", do_trim},
    {"unique", do_unique},
    {"upper", do_upper},
    {"urlencode", do_urlencode},
};

}  // namespace

Filter find_filter(std::string_view name) {
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
