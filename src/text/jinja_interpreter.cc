#include "text/jinja_interpreter.h"

#include <utility>

#include "text/jinja_builtins.h"

namespace octet::jinja {

namespace {

constexpr size_t kMaxWork = 20'000'000;  // about two seconds
constexpr int kMaxCallDepth = 600;       // of expressions, blocks and macros within each other

}  // namespace

struct Interpreter::Deeper {
  explicit Deeper(Interpreter* interpreter) : interpreter_(interpreter) {
    if (++interpreter->depth_ > kMaxCallDepth) {
      --interpreter->depth_;
      fail("maximum recursion depth exceeded");
    }
  }
  ~Deeper() { --interpreter_->depth_; }
  Interpreter* interpreter_;
};

Interpreter::Interpreter() : root_(nullptr) {}

Interpreter::~Interpreter() {
  // A namespace may hold itself, or hold a chain of others: emptied one by one, none is destroyed in another.
  for (const auto& ns : namespaces_) ns->values = {};
}

std::string Interpreter::render(const Body& body) {
  std::string out;
  out_ = &out;
  run(body);
  out_ = nullptr;
  return out;
}

void Interpreter::spend(size_t work) {
  work_ += work;
  if (work_ > kMaxWork) fail("the template does not come to an end");
}

std::shared_ptr<Namespace> Interpreter::make_namespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return namespaces_.back();
}

void Interpreter::emit(const std::string& text) {
  spend(text.size() / 16);
  *out_ += text;
}

// --- statements

Interpreter::Flow Interpreter::run(const Body& body) {
  const Deeper deeper(this);
  for (const auto& stmt : body) {
    if (const Flow flow = run(*stmt); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Stmt& stmt) {
  spend(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case Stmt::kText:
      emit(stmt.text);
      break;
    case Stmt::kOutput:
      emit(to_str(eval(*stmt.expr)));
      break;
    case Stmt::kIf:
      return run_if(stmt);
    case Stmt::kFor:
      return run_for(stmt);
    case Stmt::kSet:
      assign(*stmt.target, eval(*stmt.expr));
      break;
    case Stmt::kSetBlock:
      assign(*stmt.target, through_filters(stmt.expr.get(), capture(stmt.body)));
      break;
    case Stmt::kFilter:
      emit(to_str(through_filters(stmt.expr.get(), capture(stmt.body))));
      break;
    case Stmt::kMacro:
      scope_->values[stmt.text] = make_function(stmt, stmt.text);
      break;
    case Stmt::kCall:
      run_call(stmt);
      break;
    case Stmt::kWith:
      run_with(stmt);
      break;
    case Stmt::kScope:
      emit(capture(stmt.body));
      break;
    case Stmt::kBreak:
      return Flow::kBreak;
    case Stmt::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_if(const Stmt& stmt) {
  for (const auto& branch : stmt.branches) {
    if (!branch.condition || truthy(eval(*branch.condition))) return run(branch.body);
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_for(const Stmt& stmt) {
  Value source = eval(*stmt.expr);
  spend(shallow_weight(source));
  auto items = std::make_shared<std::vector<Value>>(iterate(source));
  Scope* const outer = scope_;
  if (stmt.condition) {
    std::vector<Value> kept;
    for (const Value& item : *items) {
      Scope scope(outer);
      scope_ = &scope;
      spend(1);
      assign(*stmt.target, item);
      if (truthy(eval(*stmt.condition))) kept.push_back(item);
      scope_ = outer;
    }
    *items = std::move(kept);
  }
  auto loop = std::make_shared<Loop>();
  loop->items = items;
  for (; loop->index < items->size(); ++loop->index) {
    Scope scope(outer);
    scope_ = &scope;
    spend(1);
    scope.values["loop"] = std::shared_ptr<const Loop>(loop);
    assign(*stmt.target, (*items)[loop->index]);
    const Flow flow = run(stmt.body);
    scope_ = outer;
    if (flow == Flow::kBreak) break;
  }
  if (!items->empty() || stmt.else_body.empty()) return Flow::kNext;
  Scope scope(outer);
  scope_ = &scope;
  const Flow flow = run(stmt.else_body);
  scope_ = outer;
  return flow;
}

void Interpreter::run_with(const Stmt& stmt) {
  Scope scope(scope_);
  std::vector<Value> values;
  for (const auto& [target, expr] : stmt.assignments) values.push_back(eval(*expr));
  Scope* const outer = std::exchange(scope_, &scope);
  for (size_t i = 0; i < values.size(); ++i) assign(*stmt.assignments[i].first, values[i]);
  std::string text = capture(stmt.body);
  scope_ = outer;
  emit(text);
}

void Interpreter::run_call(const Stmt& stmt) {
  const Value callee = eval(*stmt.expr->children[0]);
  Arguments arguments = eval_arguments(*stmt.expr);
  Scope scope(scope_);  // the life of `caller`
  Scope* const outer = std::exchange(scope_, &scope);
  arguments.named.emplace_back("caller", make_function(stmt, "caller"));
  const Value result = call(callee, arguments);
  scope_ = outer;
  emit(to_str(result));
}

std::string Interpreter::capture(const Body& body) {
  std::string text;
  Scope scope(scope_);
  Scope* const outer = std::exchange(scope_, &scope);
  std::string* const out = std::exchange(out_, &text);
  run(body);
  out_ = out;
  scope_ = outer;
  return text;
}

Value Interpreter::through_filters(const Expr* filters, std::string text) {
  if (filters == nullptr) return text;
  holes_.emplace_back(std::move(text));
  Value value = eval(*filters);
  holes_.pop_back();
  return value;
}

Value Interpreter::make_function(const Stmt& stmt, std::string name) {
  Scope* const home = scope_;
  if (!home->alive) home->alive = std::make_shared<bool>(true);
  auto function = std::make_shared<Callable>();
  function->name = name;
  function->call = [&stmt, name = std::move(name), home, alive = home->alive](Interpreter& interpreter,
                                                                              const Arguments& arguments) {
    if (!*alive) fail("'" + name + "' was called after the block that defines it");
    return interpreter.call_function(stmt, name, home, arguments);
  };
  return std::shared_ptr<const Callable>(std::move(function));
}

Value Interpreter::call_function(const Stmt& stmt, const std::string& name, Scope* home,
                                 const Arguments& arguments) {
  const size_t n = stmt.parameters.size();
  if (arguments.positional.size() > n) {
    fail("macro '" + name + "' takes not more than " + std::to_string(n) + " argument(s)");
  }
  Scope scope(home);
  Scope* const outer = std::exchange(scope_, &scope);
  size_t used = 0;
  for (size_t i = 0; i < n; ++i) {
    const Parameter& parameter = stmt.parameters[i];
    const Value* named = arguments.named_value(parameter.name);
    if (named != nullptr && i < arguments.positional.size()) {
      fail("macro '" + name + "' got two values for '" + parameter.name + "'");
    }
    used += named != nullptr;
    const Value* given = i < arguments.positional.size() ? &arguments.positional[i] : named;
    scope.values[parameter.name] =
        given != nullptr      ? *given
        : parameter.otherwise ? eval(*parameter.otherwise)
                              : Value::undefined("parameter '" + parameter.name + "' was not provided");
  }
  if (const Value* caller = arguments.named_value("caller")) {
    scope.values["caller"] = *caller;
    ++used;
  }
  if (used < arguments.named.size()) fail("macro '" + name + "' takes no such keyword argument");
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  run(stmt.body);
  out_ = out;
  scope_ = outer;
  return text;
}

void Interpreter::assign(const Expr& target, const Value& value) {
  if (target.kind == Expr::kName) {
    scope_->values[target.name] = value;
    return;
  }
  if (target.kind == Expr::kAttribute) {
    const Value object = eval(*target.children[0]);
    const auto* ns = object.as<std::shared_ptr<Namespace>>();
    if (ns == nullptr) fail("cannot assign attribute on non-namespace object");
    (*ns)->values.set(target.name, value);
    return;
  }
  const std::vector<Value> items = iterate(value);
  if (items.size() != target.children.size()) {
    fail("expected " + std::to_string(target.children.size()) + " values to unpack, found " +
         std::to_string(items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i]);
}

// --- expressions

Value Interpreter::eval(const Expr& expr) {
  const Deeper deeper(this);
  spend(1);
  switch (expr.kind) {
    case Expr::kConst:
      return expr.value;
    case Expr::kName:
      return eval_name(expr);
    case Expr::kHole:
      return holes_.back();
    case Expr::kList:
    case Expr::kTuple:
    case Expr::kDict:
      return eval_collection(expr);
    case Expr::kAttribute:
      return get_attribute(eval(*expr.children[0]), expr.name);
    case Expr::kItem: {
      const Value object = eval(*expr.children[0]);
      if (object.is_string()) spend(object.weight());
      return get_item(object, eval(*expr.children[1]));
    }
    case Expr::kSlice:
      return eval_slice(expr);
    case Expr::kCall:
      return eval_call(expr);
    case Expr::kFilter:
      return eval_filter(expr);
    case Expr::kTest:
      return eval_test(expr);
    case Expr::kUnary:
      return eval_unary(expr);
    case Expr::kBinary: {
      const Value left = eval(*expr.children[0]);
      return binary_operator(*this, expr.name, left, eval(*expr.children[1]));
    }
    case Expr::kCompare:
      return eval_compare(expr);
    case Expr::kAnd:
      return eval_and_or(expr, /*stops_at=*/false);
    case Expr::kOr:
      return eval_and_or(expr, /*stops_at=*/true);
    case Expr::kConcat:
      return eval_concat(expr);
    case Expr::kConditional:
      if (truthy(eval(*expr.children[0]))) return eval(*expr.children[1]);
      if (expr.children[2]) return eval(*expr.children[2]);
      return Value::undefined("the inline if-expression on line " + std::to_string(expr.line) +
                              " evaluated to false and no else section was defined");
  }
  return {};
}

Value Interpreter::eval_name(const Expr& expr) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const auto found = scope->values.find(expr.name); found != scope->values.end()) return found->second;
  }
  return find_global(expr.name);
}

Value Interpreter::eval_unary(const Expr& expr) {
  const Value value = eval(*expr.children[0]);
  if (expr.name == "not") return !truthy(value);
  return expr.name == "-" ? negate(value) : negate(negate(value));
}

Value Interpreter::eval_and_or(const Expr& expr, bool stops_at) {
  Value value;
  for (const ExprPtr& child : expr.children) {
    value = eval(*child);
    if (truthy(value) == stops_at) break;
  }
  return value;
}

Value Interpreter::eval_collection(const Expr& expr) {
  if (expr.kind == Expr::kDict) {
    auto dict = std::make_shared<Dict>();
    for (size_t i = 0; i < expr.children.size(); i += 2) {
      const Value key = eval(*expr.children[i]);
      dict->set(key, eval(*expr.children[i + 1]));
    }
    return DictPtr(std::move(dict));
  }
  std::vector<Value> items;
  for (const ExprPtr& child : expr.children) items.push_back(eval(*child));
  return expr.kind == Expr::kTuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Interpreter::eval_slice(const Expr& expr) {
  const Value object = eval(*expr.children[0]);
  spend(shallow_weight(object));
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1]) bounds[i] = eval(*expr.children[i + 1]);
  }
  return get_slice(object, &bounds[0], &bounds[1], &bounds[2]);
}

Value Interpreter::eval_concat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    text += to_str(eval(*child));
    spend(text.size() / 16);
  }
  return text;
}

bool Interpreter::eval_compare(const Expr& expr) {
  Value left = eval(*expr.children[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.children[i + 1]);
    spend(left.weight() + shallow_weight(right));
    const std::string& op = expr.ops[i];
    const bool holds = op == "=="   ? equal(left, right)
                       : op == "!=" ? !equal(left, right)
                       : op == "<"  ? less(left, right)
                       : op == ">"  ? less(right, left, ">")
                       : op == "<=" ? equal(left, right) || less(left, right, "<=")
                       : op == ">=" ? equal(left, right) || less(right, left, ">=")
                       : op == "in" ? contains(right, left)
                                    : !contains(right, left);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Arguments Interpreter::eval_arguments(const Expr& expr) {
  Arguments arguments;
  for (const ExprPtr& argument : expr.arguments) arguments.positional.push_back(eval(*argument));
  for (const auto& [name, argument] : expr.named_arguments)
    arguments.named.emplace_back(name, eval(*argument));
  return arguments;
}

Value Interpreter::eval_call(const Expr& expr) {
  const Value callee = eval(*expr.children[0]);
  return call(callee, eval_arguments(expr));
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  const Deeper deeper(this);
  if (callee.is_undefined()) fail_undefined(callee);
  const auto* function = callee.as<std::shared_ptr<const Callable>>();
  if (function == nullptr) fail(std::string("'") + type_name(callee) + "' object is not callable");
  Value result = (*function)->call(*this, arguments);
  spend(shallow_weight(result));
  return result;
}

Value Interpreter::eval_filter(const Expr& expr) {
  const Value value = eval(*expr.children[0]);
  const Arguments arguments = eval_arguments(expr);
  if (!expr.cheap || value.is_string()) spend_on(value, arguments);
  Value result = expr.filter(*this, value, arguments);
  if (!expr.cheap) spend(shallow_weight(result));
  return result;
}

bool Interpreter::eval_test(const Expr& expr) {
  const Value value = eval(*expr.children[0]);
  const Arguments arguments = eval_arguments(expr);
  if (value.is_string() || !arguments.positional.empty()) spend_on(value, arguments);
  return expr.test(*this, value, arguments);
}

void Interpreter::spend_on(const Value& value, const Arguments& arguments) {
  size_t work = shallow_weight(value);
  for (const Value& argument : arguments.positional) work += shallow_weight(argument);
  for (const auto& [name, argument] : arguments.named) work += shallow_weight(argument);
  spend(work);
}

}  // namespace octet::jinja
