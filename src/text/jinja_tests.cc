// Jinja's tests: `value is name(arguments)`.
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_strings.h"

namespace octet::jinja {

namespace {

using Args = const Arguments&;

const Value& other(Args arguments) {
  return required_argument(arguments, 0, "other");
}

bool is_sequence(const Value& v) {
  return v.is_string() || v.list() || v.dict() || v.is_undefined();
}

int64_t modulo(const Value& v, int64_t by) {
  if (v.is_undefined()) fail_undefined(v);
  if (!v.is_integer()) fail(std::string("an integer is required, not ") + type_name(v));
  if (by == 0) fail("integer modulo by zero");
  return by == -1 ? 0 : v.integer() % by;
}

bool equals(Interpreter& interpreter, const Value& v, Args arguments) {
  interpreter.spend(v.weight());
  return equal(v, other(arguments));
}

bool same(const Value& a, const Value& b) {
  if (a.data().index() != b.data().index()) return false;
  if (const auto* list = a.as<ListPtr>()) return *list == *b.as<ListPtr>();
  if (const auto* dict = a.as<DictPtr>()) return *dict == *b.as<DictPtr>();
  return equal(a, b);
}

bool ordered(const Value& a, const Value& b, bool or_equal, bool greater) {
  const bool is_less = greater ? less(b, a, ">") : less(a, b);
  return is_less || (or_equal && equal(a, b));
}

constexpr std::pair<std::string_view, Test> kTests[] = {
    {"boolean", [](Interpreter&, const Value& v, Args) { return v.as<bool>() != nullptr; }},
    {"callable",
     [](Interpreter&, const Value& v, Args) { return v.as<std::shared_ptr<const Callable>>() != nullptr; }},
    {"defined", [](Interpreter&, const Value& v, Args) { return !v.is_undefined(); }},
    {"divisibleby",
     [](Interpreter&, const Value& v, Args a) { return modulo(v, integer_argument(a, 0, "num", 0)) == 0; }},
    {"eq", equals},
    {"equalto", equals},
    {"escaped", [](Interpreter&, const Value& v, Args) { return v.is_markup(); }},
    {"even", [](Interpreter&, const Value& v, Args) { return modulo(v, 2) == 0; }},
    {"false", [](Interpreter&, const Value& v, Args) { return v.as<bool>() != nullptr && !*v.as<bool>(); }},
    {"filter",
     [](Interpreter&, const Value& v, Args) { return v.is_string() && find_filter(v.text()) != nullptr; }},
    {"float", [](Interpreter&, const Value& v, Args) { return v.as<double>() != nullptr; }},
    {"ge", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), true, true); }},
    {"greaterthan", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), false, true); }},
    {"gt", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), false, true); }},
    {"in", [](Interpreter&, const Value& v, Args a) { return contains(other(a), v); }},
    {"integer", [](Interpreter&, const Value& v, Args) { return v.as<int64_t>() != nullptr; }},
    {"iterable", [](Interpreter&, const Value& v,
                    Args) { return is_sequence(v) || v.as<std::shared_ptr<Iterator>>() != nullptr; }},
    {"le", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), true, false); }},
    {"lessthan", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), false, false); }},
    {"lower", [](Interpreter&, const Value& v,
                 Args) { return to_lower(to_str(v)) == to_str(v) && to_upper(to_str(v)) != to_str(v); }},
    {"lt", [](Interpreter&, const Value& v, Args a) { return ordered(v, other(a), false, false); }},
    {"mapping", [](Interpreter&, const Value& v, Args) { return v.dict() != nullptr; }},
    {"ne", [](Interpreter& i, const Value& v, Args a) { return !equals(i, v, a); }},
    {"none", [](Interpreter&, const Value& v, Args) { return v.is_none(); }},
    {"number", [](Interpreter&, const Value& v, Args) { return v.is_number(); }},
    {"odd", [](Interpreter&, const Value& v, Args) { return modulo(v, 2) != 0; }},
    {"sameas", [](Interpreter&, const Value& v, Args a) { return same(v, other(a)); }},
    {"sequence", [](Interpreter&, const Value& v, Args) { return is_sequence(v); }},
    {"string", [](Interpreter&, const Value& v, Args) { return v.is_string(); }},
    {"test",
     [](Interpreter&, const Value& v, Args) { return v.is_string() && find_test(v.text()) != nullptr; }},
    {"true", [](Interpreter&, const Value& v, Args) { return v.as<bool>() != nullptr && *v.as<bool>(); }},
    {"undefined", [](Interpreter&, const Value& v, Args) { return v.is_undefined(); }},
    {"upper", [](Interpreter&, const Value& v,
                 Args) { return to_upper(to_str(v)) == to_str(v) && to_lower(to_str(v)) != to_str(v); }},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const auto& [known, test] : kTests) {
    if (known == name) return test;
  }
  return nullptr;
}

}  // namespace octet::jinja
