// Runs a template. One interpreter renders once.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace octet::jinja {

// Names of a block: a template, a body of a loop, of a macro. Inner ones hide outer ones.
struct Scope {
  Scope* parent = nullptr;
  std::unordered_map<std::string, Value> values;
  // False once the block is left: what was defined in it cannot be called any more.
  std::shared_ptr<bool> alive;
  explicit Scope(Scope* parent_scope) : parent(parent_scope) {}
  ~Scope() {
    if (alive) *alive = false;
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
};

class Interpreter {
 public:
  Interpreter();
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  void define(const std::string& name, Value value) { root_.values[name] = std::move(value); }
  std::string render(const Body& body);
  int line() const { return line_; }  // of the statement that runs, or failed

  Value call(const Value& callee, const Arguments& arguments);
  // Counts work, a unit being a step or 16 bytes of text; fails beyond what any honest template needs.
  void spend(size_t work);
  std::shared_ptr<Namespace> make_namespace();

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Deeper;

  Flow run(const Body& body);
  Flow run(const Stmt& stmt);
  Flow run_if(const Stmt& stmt);
  Flow run_for(const Stmt& stmt);
  void run_with(const Stmt& stmt);
  void run_call(const Stmt& stmt);
  std::string capture(const Body& body);  // in a scope of its own
  Value through_filters(const Expr* filters, std::string text);
  Value make_function(const Stmt& stmt, std::string name);
  Value call_function(const Stmt& stmt, const std::string& name, Scope* home, const Arguments& arguments);
  void assign(const Expr& target, const Value& value);
  void emit(const std::string& text);

  Value eval(const Expr& expr);
  Value eval_collection(const Expr& expr);
  Value eval_call(const Expr& expr);
  Value eval_filter(const Expr& expr);
  bool eval_test(const Expr& expr);
  bool eval_compare(const Expr& expr);
  Value eval_slice(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_name(const Expr& expr);
  Value eval_unary(const Expr& expr);
  Value eval_and_or(const Expr& expr, bool stops_at);
  Arguments eval_arguments(const Expr& expr);
  void spend_on(const Value& value, const Arguments& arguments);  // what goes through each of them costs

  Scope root_;
  Scope* scope_ = &root_;
  std::string* out_ = nullptr;
  std::vector<Value> holes_;  // texts of the blocks whose filters are being applied
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  size_t work_ = 0;
  int depth_ = 0, line_ = 0;
};

}  // namespace octet::jinja
