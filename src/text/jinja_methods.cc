// Methods of str, dict, list and loop, and attributes in general. Methods that would change a value are
// refused, as in the sandbox of transformers.
#include <algorithm>
#include <utility>

#include <utf8proc.h>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_lexer.h"
#include "text/jinja_strings.h"
#include "text/utf8.h"

namespace octet::jinja {

namespace {

using Args = const Arguments&;
using Method = Value (*)(Interpreter&, const Value&, Args);

// --- str

Value as_list(const std::vector<std::string_view>& parts) {
  return Value::list(std::vector<Value>(parts.begin(), parts.end()));
}

Value do_strip(const Value& v, Args a, Side side) {
  const Value* chars = a.find(0, "chars");
  const bool given = chars != nullptr && !chars->is_none();
  std::string text(strip(v.text(), side, given ? &string_argument(a, 0, "chars") : nullptr));
  return v.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

Value do_split(const Value& v, Args a, bool from_right) {
  const Value* separator = a.find(0, "sep");
  const int64_t max = integer_argument(a, 1, "maxsplit", -1);
  if (separator == nullptr || separator->is_none()) {
    if (from_right && max >= 0) fail("rsplit() at white space with a maximum is not supported");
    return as_list(split_white_space(v.text(), max));
  }
  const std::string& by = string_argument(a, 0, "sep");
  if (by.empty()) fail("empty separator");
  return as_list(from_right ? split_from_right(v.text(), by, max) : split(v.text(), by, max));
}

Value do_affix(const Value& v, Args a, bool start) {
  if (a.positional.size() > 1) fail("startswith() and endswith() with positions are not supported");
  const Value& affix = required_argument(a, 0, "prefix");
  const auto has = [&](const Value& part) {
    if (!part.is_string()) fail(std::string("expected a str or a tuple of str, not ") + type_name(part));
    return start ? v.text().starts_with(part.text()) : v.text().ends_with(part.text());
  };
  if (affix.list() == nullptr || !affix.list()->is_tuple) return has(affix);
  return std::any_of(affix.list()->items.begin(), affix.list()->items.end(), has);
}

Value do_partition(const Value& v, Args a, bool from_right) {
  const std::string& by = string_argument(a, 0, "sep");
  if (by.empty()) fail("empty separator");
  const std::string& text = v.text();
  const size_t at = from_right ? text.rfind(by) : text.find(by);
  if (at == std::string::npos)
    return from_right ? Value::tuple({"", "", text}) : Value::tuple({text, "", ""});
  return Value::tuple({text.substr(0, at), by, text.substr(at + by.size())});
}

// The position of a part, in code points; -1 where there is none.
Value do_find(const Value& v, Args a, bool from_right) {
  if (a.positional.size() > 1) fail("find() with positions is not supported");
  const std::string& part = string_argument(a, 0, "sub");
  const size_t at = from_right ? v.text().rfind(part) : v.text().find(part);
  return at == std::string::npos ? Value(-1) : Value(length(Value(v.text().substr(0, at))));
}

Value do_index(const Value& v, Args a, bool from_right) {
  Value at = do_find(v, a, from_right);
  if (at.integer() < 0) fail("substring not found");
  return at;
}

Value do_count(Interpreter&, const Value& v, Args a) {
  const std::string& part = string_argument(a, 0, "sub");
  if (part.empty()) return length(v) + 1;
  return split(v.text(), part, -1).size() - 1;
}

Value do_replace(Interpreter&, const Value& v, Args a) {
  if (v.is_markup()) fail("replace() of a text marked safe is not supported");
  return replace(v.text(), string_argument(a, 0, "old"), string_argument(a, 1, "new"),
                 integer_argument(a, 2, "count", -1));
}

Value do_join(Interpreter& interpreter, const Value& v, Args a) {
  std::string text;
  bool first = true;
  for (const Value& item : iterate(required_argument(a, 0, "iterable"))) {
    if (!item.is_string()) fail(std::string("join: expected str instances, ") + type_name(item) + " found");
    if (!std::exchange(first, false)) text += v.text();
    interpreter.spend(1 + (v.text().size() + item.text().size()) / 16);
    text += item.text();
  }
  return text;
}

Value do_removeprefix(Interpreter&, const Value& v, Args a) {
  const std::string& prefix = string_argument(a, 0, "prefix");
  return v.text().starts_with(prefix) ? v.text().substr(prefix.size()) : v.text();
}
Value do_removesuffix(Interpreter&, const Value& v, Args a) {
  const std::string& suffix = string_argument(a, 0, "suffix");
  return v.text().ends_with(suffix) ? v.text().substr(0, v.text().size() - suffix.size()) : v.text();
}

// str.title(): a word is a run of letters.
Value do_title(Interpreter&, const Value& v, Args) {
  std::string out;
  bool in_word = false;
  for (const std::string_view c : characters(v.text())) {
    const std::string upper = to_upper(c), lower = to_lower(c);
    out += in_word ? lower : capitalize(c);
    in_word = upper != lower;
  }
  return out;
}

// "{}", "{0}", "{name}", "{{" and "}}".
Value do_format(Interpreter& interpreter, const Value& v, Args a) {
  const std::string& format = v.text();
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    const size_t end = format.find('}', i);
    if (c == '}' || end == std::string::npos) fail("format(): a single '{' or '}'");
    const std::string field = format.substr(i + 1, end - i - 1);
    i = end;
    const bool digits = field.find_first_not_of("0123456789") == std::string::npos && field.size() < 6;
    if (!digits && field.find_first_of(".[!:{") != std::string::npos)
      fail("the format '{" + field + "}' is not supported");
    const Value* value = !digits ? a.named_value(field)
                                 : a.find(field.empty() ? next++ : static_cast<size_t>(std::stoi(field)), "");
    if (value == nullptr) fail("format(): there is no argument '" + field + "'");
    const std::string text = to_str(*value);
    interpreter.spend(1 + text.size() / 16);
    out += text;
  }
  return out;
}

template <typename Is>
bool all_characters(const Value& v, const Is& is) {
  const auto all = characters(v.text());
  return !all.empty() && std::all_of(all.begin(), all.end(), [&](std::string_view c) {
    const uint32_t point = first_code_point(c).value;
    return is(point, utf8proc_category(static_cast<utf8proc_int32_t>(point)));
  });
}
bool is_letter(utf8proc_category_t category) {
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_cased(const Value& v, bool upper) {
  const std::string folded = upper ? to_upper(v.text()) : to_lower(v.text());
  return folded == v.text() && to_upper(v.text()) != to_lower(v.text());
}

constexpr std::pair<std::string_view, Method> kStringMethods[] = {
    {"capitalize", [](Interpreter&, const Value& v, Args) { return Value(capitalize(v.text())); }},
    {"center", [](Interpreter&, const Value& v,
                  Args a) { return Value(center(v.text(), integer_argument(a, 0, "width", 0))); }},
    {"count", do_count},
    {"endswith", [](Interpreter&, const Value& v, Args a) { return do_affix(v, a, false); }},
    {"find", [](Interpreter&, const Value& v, Args a) { return do_find(v, a, false); }},
    {"format", do_format},
    {"index", [](Interpreter&, const Value& v, Args a) { return do_index(v, a, false); }},
    {"isalnum",
     [](Interpreter&, const Value& v, Args) {
       return Value(
           all_characters(v, [](uint32_t c, auto category) { return is_letter(category) || is_numeric(c); }));
     }},
    {"isalpha",
     [](Interpreter&, const Value& v, Args) {
       return Value(all_characters(v, [](uint32_t, auto category) { return is_letter(category); }));
     }},
    {"isdigit",
     [](Interpreter&, const Value& v, Args) {
       return Value(
           all_characters(v, [](uint32_t, auto category) { return category == UTF8PROC_CATEGORY_ND; }));
     }},
    {"islower", [](Interpreter&, const Value& v, Args) { return Value(is_cased(v, false)); }},
    {"isspace",
     [](Interpreter&, const Value& v, Args) {
       return Value(all_characters(v, [](uint32_t c, auto) { return is_python_space(c); }));
     }},
    {"isupper", [](Interpreter&, const Value& v, Args) { return Value(is_cased(v, true)); }},
    {"join", do_join},
    {"lower", [](Interpreter&, const Value& v, Args) { return Value(to_lower(v.text())); }},
    {"lstrip", [](Interpreter&, const Value& v, Args a) { return do_strip(v, a, Side::kLeft); }},
    {"partition", [](Interpreter&, const Value& v, Args a) { return do_partition(v, a, false); }},
    {"removeprefix", do_removeprefix},
    {"removesuffix", do_removesuffix},
    {"replace", do_replace},
    {"rfind", [](Interpreter&, const Value& v, Args a) { return do_find(v, a, true); }},
    {"rindex", [](Interpreter&, const Value& v, Args a) { return do_index(v, a, true); }},
    {"rpartition", [](Interpreter&, const Value& v, Args a) { return do_partition(v, a, true); }},
    {"rsplit", [](Interpreter&, const Value& v, Args a) { return do_split(v, a, true); }},
    {"rstrip", [](Interpreter&, const Value& v, Args a) { return do_strip(v, a, Side::kRight); }},
    {"split", [](Interpreter&, const Value& v, Args a) { return do_split(v, a, false); }},
    {"splitlines",
     [](Interpreter&, const Value& v, Args a) {
       return as_list(split_lines(v.text(), flag_argument(a, 0, "keepends", false)));
     }},
    {"startswith", [](Interpreter&, const Value& v, Args a) { return do_affix(v, a, true); }},
    {"strip", [](Interpreter&, const Value& v, Args a) { return do_strip(v, a, Side::kBoth); }},
    {"title", do_title},
    {"upper", [](Interpreter&, const Value& v, Args) { return Value(to_upper(v.text())); }},
};

// --- dict, list, loop

Value do_items(Interpreter&, const Value& v, Args) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : v.dict()->items) pairs.push_back(Value::tuple({key, value}));
  return Value::list(std::move(pairs));
}
Value do_values(Interpreter&, const Value& v, Args) {
  std::vector<Value> values;
  for (const auto& [key, value] : v.dict()->items) values.push_back(value);
  return Value::list(std::move(values));
}
Value do_get(Interpreter&, const Value& v, Args a) {
  const Value* found = v.dict()->find(required_argument(a, 0, "key"));
  const Value* otherwise = a.find(1, "default");
  return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value();
}
Value do_copy(Interpreter&, const Value& v, Args) {
  return v;
}

Value refuse_change(Interpreter&, const Value& v, Args) {
  fail(std::string("a method that changes a ") + type_name(v) + " is not safe in a template");
}

constexpr std::pair<std::string_view, Method> kDictMethods[] = {
    {"clear", refuse_change},
    {"copy", do_copy},
    {"get", do_get},
    {"items", do_items},
    {"keys", [](Interpreter&, const Value& v, Args) { return Value::list(iterate(v)); }},
    {"pop", refuse_change},
    {"popitem", refuse_change},
    {"setdefault", refuse_change},
    {"update", refuse_change},
    {"values", do_values},
};

Value do_list_count(Interpreter&, const Value& v, Args a) {
  const Value& item = required_argument(a, 0, "value");
  const auto& items = v.list()->items;
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& i) { return equal(i, item); }));
}
Value do_list_index(Interpreter&, const Value& v, Args a) {
  const Value& item = required_argument(a, 0, "value");
  const auto& items = v.list()->items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& i) { return equal(i, item); });
  if (found == items.end()) fail(to_repr(item) + " is not in list");
  return static_cast<int64_t>(found - items.begin());
}

constexpr std::pair<std::string_view, Method> kListMethods[] = {
    {"append", refuse_change},  {"clear", refuse_change},  {"copy", do_copy},
    {"count", do_list_count},   {"extend", refuse_change}, {"index", do_list_index},
    {"insert", refuse_change},  {"pop", refuse_change},    {"remove", refuse_change},
    {"reverse", refuse_change}, {"sort", refuse_change},
};

const Loop& loop_of(const Value& v) {
  return **v.as<std::shared_ptr<const Loop>>();
}

Value do_cycle(Interpreter&, const Value& v, Args a) {
  if (a.positional.empty()) fail("no items for cycling given");
  return a.positional[loop_of(v).index % a.positional.size()];
}
Value do_changed(Interpreter&, const Value& v, Args a) {
  Value now = Value::tuple(a.positional);
  if (equal(*loop_of(v).last_changed, now)) return false;
  *loop_of(v).last_changed = std::move(now);
  return true;
}

constexpr std::pair<std::string_view, Method> kLoopMethods[] = {{"changed", do_changed}, {"cycle", do_cycle}};

template <size_t N>
Method find_in(const std::pair<std::string_view, Method> (&methods)[N], std::string_view name) {
  for (const auto& [known, method] : methods) {
    if (known == name) return method;
  }
  return nullptr;
}

Method find_method(const Value& object, std::string_view name) {
  if (object.is_string()) return find_in(kStringMethods, name);
  if (object.dict()) return find_in(kDictMethods, name);
  if (object.list()) return find_in(kListMethods, name);
  return object.as<std::shared_ptr<const Loop>>() ? find_in(kLoopMethods, name) : nullptr;
}

}  // namespace

bool is_method(std::string_view name) {
  return find_in(kStringMethods, name) || find_in(kDictMethods, name) || find_in(kListMethods, name) ||
         find_in(kLoopMethods, name);
}

Value get_attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail_undefined(object);
  if (const Method method = find_method(object, name)) {
    return std::make_shared<const Callable>(
        Callable{name, [object, method](Interpreter& interpreter, Args a) {
                   interpreter.spend(object.dict() ? 1 : object.weight());
                   return method(interpreter, object, a);
                 }});
  }
  const auto* ns = object.as<std::shared_ptr<Namespace>>();
  const Dict* dict = ns != nullptr ? &(*ns)->values : object.dict();
  if (dict != nullptr) {
    if (const Value* found = dict->find(std::string_view(name))) return *found;
  }
  if (const auto* loop = object.as<std::shared_ptr<const Loop>>()) return (*loop)->attribute(name);
  return Value::undefined(std::string("'") + type_name(object) + " object' has no attribute '" + name + "'");
}

}  // namespace octet::jinja
