// Values as text: Python's str(), repr() and json.dumps.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include <utf8proc.h>

#include "text/jinja_value.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

bool is_printable(uint32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string hex_escape(const char* format, uint32_t code) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, format, code);
  return buffer;
}

std::string string_repr(const std::string& text) {
  const bool double_quoted = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quoted ? '"' : '\'';
  std::string out(1, quote);
  for (std::string_view rest = text; !rest.empty();) {
    const CodePoint c = first_code_point(rest);
    if (c.value == static_cast<uint32_t>(quote) || c.value == '\\') {
      out += {'\\', static_cast<char>(c.value)};
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (is_printable(c.value)) {
      out += rest.substr(0, c.length);
    } else {
      out += hex_escape(c.value < 0x100 ? "\\x%02x" : c.value < 0x10000 ? "\\u%04x" : "\\U%08x", c.value);
    }
    rest.remove_prefix(c.length);
  }
  return out + quote;
}

class Repr {
 public:
  std::string out;

  void add(const Value& value) {
    if (value.is_string()) {
      if (value.is_markup()) out += "Markup(";
      out += string_repr(value.text());
      if (value.is_markup()) out += ")";
    } else if (const List* list = value.list()) {
      out += list->is_tuple ? "(" : "[";
      for (size_t i = 0; i < list->items.size(); ++i) {
        if (i > 0) out += ", ";
        add(list->items[i]);
      }
      out += !list->is_tuple ? "]" : list->items.size() == 1 ? ",)" : ")";
    } else if (const Dict* dict = value.dict()) {
      add(*dict);
    } else {
      out += value.is_undefined() ? "Undefined" : to_str(value);
    }
  }

 private:
  void add(const Dict& dict) {
    out += "{";
    for (size_t i = 0; i < dict.items.size(); ++i) {
      if (i > 0) out += ", ";
      add(dict.items[i].first);
      out += ": ";
      add(dict.items[i].second);
    }
    out += "}";
  }
};

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}
  std::string out;

  void add(const Value& value, int depth) {
    if (value.is_none()) {
      out += "null";
    } else if (const bool* b = value.as<bool>()) {
      out += *b ? "true" : "false";
    } else if (value.is_integer()) {
      out += std::to_string(value.integer());
    } else if (value.is_number()) {
      out += number(value.number());
    } else if (value.is_string()) {
      add_string(value.text());
    } else if (const List* list = value.list()) {
      add_all(list->items, '[', ']', depth, [&](const Value& item) { add(item, depth + 1); });
    } else if (const Dict* dict = value.dict()) {
      auto items = dict->items;
      if (style_.sort_keys) {
        std::stable_sort(items.begin(), items.end(), [](auto& a, auto& b) { return less(a.first, b.first); });
      }
      add_all(items, '{', '}', depth, [&](const auto& item) {
        add_string(key(item.first));
        out += style_.key_separator;
        add(item.second, depth + 1);
      });
    } else {
      fail(std::string("Object of type ") + type_name(value) + " is not JSON serializable");
    }
  }

 private:
  static std::string number(double v) {
    return std::isnan(v) ? "NaN" : std::isinf(v) ? (v < 0 ? "-Infinity" : "Infinity") : float_repr(v);
  }

  static std::string key(const Value& k) {
    if (k.is_string()) return k.text();
    if (k.is_none()) return "null";
    if (const bool* b = k.as<bool>()) return *b ? "true" : "false";
    if (k.is_integer()) return std::to_string(k.integer());
    if (k.is_number()) return number(k.number());
    fail(std::string("keys must be str, int, float, bool or None, not ") + type_name(k));
  }

  template <typename Items, typename Add>
  void add_all(const Items& items, char open, char close, int depth, const Add& add_one) {
    out += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line(depth + 1);
      add_one(items[i]);
    }
    if (!items.empty()) new_line(depth);
    out += close;
  }

  void new_line(int depth) {
    if (!style_.multiline) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += style_.indent;
  }

  void add_string(const std::string& text) {
    out += '"';
    for (std::string_view rest = text; !rest.empty();) {
      const CodePoint c = first_code_point(rest);
      constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
      const size_t at = c.value < 0x80 ? kShort.find(static_cast<char>(c.value)) : kShort.npos;
      if (at != kShort.npos) {
        out += {'\\', kLetters[at]};
      } else if (c.value < 0x20 ||
                 (style_.ascii && c.value >= 0x7F && c.value < 0x10000 && c.value != 0x7F)) {
        out += hex_escape("\\u%04x", c.value);
      } else if (style_.ascii && c.value >= 0x10000) {
        out += hex_escape("\\u%04x", 0xD800 + ((c.value - 0x10000) >> 10));
        out += hex_escape("\\u%04x", 0xDC00 + (c.value & 0x3FF));
      } else {
        out += rest.substr(0, c.length);
      }
      rest.remove_prefix(c.length);
    }
    out += '"';
  }

  const JsonStyle& style_;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  int exponent = 0;
  std::from_chars(shortest.data() + e + (shortest[e + 1] == '+' ? 2 : 1), end, exponent);
  std::string digits;
  for (const char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  std::string out = value < 0 || std::signbit(value) ? "-" : "";
  const int n = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    std::snprintf(buffer, sizeof buffer, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + digits.substr(0, 1) + (n > 1 ? "." + digits.substr(1) : "") + buffer;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - n), '0') + ".0";
  return out + digits.substr(0, static_cast<size_t>(exponent + 1)) + "." +
         digits.substr(static_cast<size_t>(exponent + 1));
}

std::string to_repr(const Value& value) {
  Repr repr;
  repr.add(value);
  return std::move(repr.out);
}

std::string to_str(const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return {};
  if (value.is_none()) return "None";
  if (const bool* b = value.as<bool>()) return *b ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_number()) return float_repr(value.number());
  if (value.list() || value.dict()) return to_repr(value);
  // Python prints an address, or what a namespace holds: no template means to.
  fail(std::string("a ") + type_name(value) + " cannot be printed");
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.add(value, 0);
  return std::move(writer.out);
}

}  // namespace octet::jinja
