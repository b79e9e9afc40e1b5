// What templates can call: filters, tests, methods of values, global functions, operators.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace octet::jinja {

Filter find_filter(std::string_view name);           // null: not there
Filter find_sequence_filter(std::string_view name);  // find_filter looks here, too
bool is_cheap_filter(std::string_view name);         // takes no longer for a longer list or dict
Test find_test(std::string_view name);
bool is_method(std::string_view name);  // of any type

// object.name: methods first. object[key]: items first. Undefined where there is neither.
Value get_attribute(const Value& object, const std::string& name);
Value get_item(const Value& object, const Value& key);
Value get_slice(const Value& object, const Value* start, const Value* stop, const Value* step);

// The item of an attribute path such as "function.name" or "0", for map(attribute=...) and the like.
// `otherwise`, where given, stands for what is missing on the way.
Value get_path(const Value& object, const Value& path, const Value* otherwise = nullptr);

Value binary_operator(Interpreter& interpreter, const std::string& op, const Value& left, const Value& right);
Value negate(const Value& value);
std::string format_percent(const std::string& format, const Value& arguments);  // Python's "..." % arguments

// A function of the template's global names; undefined where there is none.
Value find_global(const std::string& name);

// Arguments, checked: fail with the name of what is called.
int64_t integer_argument(const Arguments& arguments, size_t index, std::string_view name, int64_t otherwise);
bool flag_argument(const Arguments& arguments, size_t index, std::string_view name, bool otherwise);
const Value& required_argument(const Arguments& arguments, size_t index, std::string_view name);
const std::string& string_argument(const Arguments& arguments, size_t index, std::string_view name);

[[noreturn]] void fail_undefined(const Value& value);

}  // namespace octet::jinja
