// Operators, indices and slices.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_strings.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

constexpr size_t kMaxText = 64 << 20;

[[noreturn]] void fail_operands(const std::string& op, const Value& left, const Value& right) {
  for (const Value* v : {&left, &right}) {
    if (v->is_undefined()) fail_undefined(*v);
  }
  fail("unsupported operand type(s) for " + op + ": '" + type_name(left) + "' and '" + type_name(right) +
       "'");
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0.0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    bool overflow = (exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) overflow |= __builtin_mul_overflow(base, base, &base);
    if (overflow) fail("an integer is out of range");
  }
  return result;
}

Value integer_operator(const std::string& op, int64_t a, int64_t b) {
  if (op == "**") return power(a, b);
  if (op == "+" || op == "-" || op == "*") {
    int64_t result = 0;
    const bool overflow = op == "+"   ? __builtin_add_overflow(a, b, &result)
                          : op == "-" ? __builtin_sub_overflow(a, b, &result)
                                      : __builtin_mul_overflow(a, b, &result);
    if (overflow) fail("an integer is out of range");
    return result;
  }
  if (b == 0) fail(op == "/" ? "division by zero" : "integer division or modulo by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) return op == "%" ? Value(0) : integer_operator("-", 0, a);  // a / b may overflow
  const bool rounds_up = a % b != 0 && (a < 0) != (b < 0);  // Python rounds towards minus infinity
  return op == "//" ? a / b - rounds_up : a % b + (rounds_up ? b : 0);
}

Value float_operator(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
    if (a < 0 && b != std::floor(b)) fail("complex numbers are not supported");
    return std::pow(a, b);
  }
  if (b == 0) fail(op == "/" ? "float division by zero" : "float modulo by zero");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return op == "%" ? rest : std::floor((a - rest) / b + 0.5);
}

Value add(const Value& left, const Value& right) {
  if (left.is_string() && right.is_string()) {
    if (!left.is_markup() && !right.is_markup()) return left.text() + right.text();
    const auto escaped = [](const Value& v) { return v.is_markup() ? v.text() : escape_html(v.text()); };
    return Value::markup(escaped(left) + escaped(right));
  }
  const List* a = left.list();
  const List* b = right.list();
  if (a == nullptr || b == nullptr || a->is_tuple != b->is_tuple) fail_operands("+", left, right);
  std::vector<Value> items = a->items;
  items.insert(items.end(), b->items.begin(), b->items.end());
  return a->is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value repeat(const Value& value, int64_t times) {
  const size_t n = times < 0 ? 0 : static_cast<size_t>(times);
  if (value.is_string()) {
    if (n > 0 && value.text().size() > kMaxText / n) fail("a text that is too long");
    std::string text;
    for (size_t i = 0; i < n; ++i) text += value.text();
    return value.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
  }
  const List* list = value.list();
  if (n > 0 && list->items.size() > kMaxWeight / n) fail("a list that is too long");
  std::vector<Value> items;
  for (size_t i = 0; i < n; ++i) items.insert(items.end(), list->items.begin(), list->items.end());
  return list->is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

// A slice's positions, as Python's slice.indices().
std::vector<size_t> slice_positions(size_t size, const Value* start, const Value* stop, const Value* step) {
  const auto bound = [](const Value* v, const char* what) {
    if (!v->is_none() && !v->is_integer()) fail(std::string("slice ") + what + " must be an integer or None");
    return v->is_none() ? 0 : std::clamp<int64_t>(v->integer(), -(int64_t{1} << 40), int64_t{1} << 40);
  };
  const auto n = static_cast<int64_t>(size);
  const int64_t by = step->is_none() ? 1 : bound(step, "step");
  if (by == 0) fail("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
  const auto place = [&](const Value* v, int64_t otherwise) {
    if (v->is_none()) return otherwise;
    const int64_t at = bound(v, "indices");
    return std::clamp(at < 0 ? at + n : at, low, high);
  };
  const int64_t from = place(start, by > 0 ? low : high), to = place(stop, by > 0 ? high : low);
  std::vector<size_t> positions;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) positions.push_back(static_cast<size_t>(i));
  return positions;
}

Value like(const Value& original, std::string text) {
  return original.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

}  // namespace

void fail_undefined(const Value& value) {
  fail(value.as<Undefined>()->message);
}

Value binary_operator(Interpreter& interpreter, const std::string& op, const Value& left,
                      const Value& right) {
  interpreter.spend(shallow_weight(left) + shallow_weight(right));
  if (left.is_number() && right.is_number()) {
    if (left.is_integer() && right.is_integer()) return integer_operator(op, left.integer(), right.integer());
    return float_operator(op, left.number(), right.number());
  }
  if (op == "+") return add(left, right);
  if (op == "%" && left.is_string()) {
    if (left.is_markup()) fail("% of a text marked safe is not supported");
    return format_percent(left.text(), right);
  }
  const auto repeats = [](const Value& v) { return v.is_string() || v.list(); };
  if (op == "*" && repeats(left) && right.is_integer()) return repeat(left, right.integer());
  if (op == "*" && repeats(right) && left.is_integer()) return repeat(right, left.integer());
  fail_operands(op == "**" ? "** or pow()" : op, left, right);
}

Value negate(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_integer()) return integer_operator("-", 0, value.integer());
  if (!value.is_number()) fail(std::string("bad operand type for unary -: '") + type_name(value) + "'");
  return -value.number();
}

Value get_slice(const Value& object, const Value* start, const Value* stop, const Value* step) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_string()) {
    const auto all = characters(object.text());
    std::string text;
    for (const size_t i : slice_positions(all.size(), start, stop, step)) text += all[i];
    return like(object, std::move(text));
  }
  const List* list = object.list();
  if (list == nullptr)
    return Value::undefined(std::string("'") + type_name(object) + "' object is not subscriptable");
  std::vector<Value> items;
  for (const size_t i : slice_positions(list->items.size(), start, stop, step))
    items.push_back(list->items[i]);
  return list->is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value get_item(const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  if (const Dict* dict = object.dict()) {
    if (const Value* found = dict->find(key)) return *found;
  } else if (key.is_integer() && (object.list() || object.is_string())) {
    const auto n = static_cast<int64_t>(length(object));
    const int64_t at = key.integer() < 0 ? key.integer() + n : key.integer();
    if (at >= 0 && at < n) {
      if (object.list()) return object.list()->items[static_cast<size_t>(at)];
      std::string_view text = object.text();
      for (int64_t i = 0; i < at; ++i) text.remove_prefix(first_code_point(text).length);
      return like(object, std::string(text.substr(0, first_code_point(text).length)));
    }
  }
  if (key.is_string()) return get_attribute(object, key.text());
  return Value::undefined("'" + std::string(type_name(object)) + " object' has no element " + to_repr(key));
}

Value get_path(const Value& object, const Value& path, const Value* otherwise) {
  const auto step = [&](const Value& from, const Value& key) {
    Value item = get_item(from, key);
    return item.is_undefined() && otherwise != nullptr ? *otherwise : item;
  };
  if (path.is_integer()) return step(object, path);
  if (!path.is_string()) fail("an attribute is named by a string or an integer");
  Value value = object;
  for (const std::string_view part : split(path.text(), ".", -1)) {
    const bool is_index =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    value = step(value, is_index ? Value(int64_t{std::stoll(std::string(part))}) : Value(part));
  }
  return value;
}

std::string format_percent(const std::string& format, const Value& arguments) {
  const List* tuple = arguments.list() != nullptr && arguments.list()->is_tuple ? arguments.list() : nullptr;
  size_t next = 0;
  const auto argument = [&]() -> const Value& {
    if (next >= (tuple == nullptr ? 1 : tuple->items.size())) fail("not enough arguments for format string");
    return tuple == nullptr ? (++next, arguments) : tuple->items[next++];
  };
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const size_t begin = i++;
    while (i < format.size() && std::string_view("-+ 0123456789.").find(format[i]) != std::string_view::npos)
      ++i;
    const char kind = i < format.size() ? format[i] : '\0';
    const std::string spec = format.substr(begin, i - begin);
    if (spec.size() > 6 || (spec.size() > 1 && (kind == 's' || kind == 'r' || kind == '%'))) {
      fail("the format '" + spec + kind + "' is not supported");
    }
    char buffer[1 << 11];
    if (kind == '%') {
      out += '%';
    } else if (kind == 's' || kind == 'r') {
      out += kind == 's' ? to_str(argument()) : to_repr(argument());
    } else if (std::string_view("dixX").find(kind) != std::string_view::npos && kind != '\0') {
      const Value& value = argument();
      if (!value.is_number())
        fail(std::string("%") + kind + " format: a number is required, not " + type_name(value));
      if (!value.is_integer()) fail(std::string("%") + kind + " of a float is not supported");
      std::snprintf(buffer, sizeof buffer, (spec + "ll" + kind).c_str(),
                    static_cast<long long>(value.integer()));
      out += buffer;
    } else if (std::string_view("feEgG").find(kind) != std::string_view::npos && kind != '\0') {
      const Value& value = argument();
      if (!value.is_number()) fail(std::string("must be real number, not ") + type_name(value));
      std::snprintf(buffer, sizeof buffer, (spec + kind).c_str(), value.number());
      out += buffer;
    } else {
      fail("the format '" + spec + kind + "' is not supported");
    }
  }
  if (tuple != nullptr ? next < tuple->items.size() : next == 0 && !arguments.dict() && !arguments.list()) {
    fail("not all arguments converted during string formatting");
  }
  return out;
}

}  // namespace octet::jinja
