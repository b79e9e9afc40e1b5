// Jinja's filters of texts and numbers: `value | name(arguments)`. tojson is the one of Hugging Face
// transformers: json.dumps, without HTML escapes.
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
    const std::vector<Value> both = iterate(*separators);
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

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", do_abs},
    {"capitalize", do_capitalize},
    {"center", do_center},
    {"e", do_escape},
    {"escape", do_escape},
    {"float", do_float},
    {"forceescape", do_forceescape},
    {"format", do_format},
    {"indent", do_indent},
    {"int", do_int},
    {"lower", do_lower},
    {"replace", do_replace},
    {"round", do_round},
    {"safe", do_safe},
    {"string", do_string},
    {"title", do_title},
    {"tojson", do_tojson},
    {"trim", do_trim},
    {"upper", do_upper},
    {"urlencode", do_urlencode},
};

}  // namespace

Filter find_filter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return find_sequence_filter(name);
}

}  // namespace octet::jinja
