// Tokens and expressions: the half of the parser below statements. Precedence and associativity are those of
// Jinja's own parser (https://jinja.palletsprojects.com/templates), which are not quite Python's.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace octet::jinja {

class ExpressionParser {
 protected:
  explicit ExpressionParser(const std::string& source) : tokens_(tokenize(source)) {}

  // Counts blocks and brackets within each other, which are recursion here.
  struct Nest {
    explicit Nest(ExpressionParser* parser);
    ~Nest() { --parser_->nesting_; }
    ExpressionParser* parser_;
  };
  using Names = std::initializer_list<std::string_view>;

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void advance() { at_ += at_ + 1 < tokens_.size(); }
  bool is_op(std::string_view op) const;
  bool is_name(std::string_view name) const;
  bool is_one_of(Names names) const;
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name();
  void expect_block_end();
  std::string found() const;
  [[noreturn]] void error(const std::string& what) const;
  [[noreturn]] void refuse(const std::string& what) const;

  // One expression, or a tuple of them without brackets; not conditional: `if` ends it, as in `for x in y if
  // z`.
  ExprPtr tuple(bool conditional);
  ExprPtr expression();
  ExprPtr filters(ExprPtr expr);
  ExprPtr filter(ExprPtr value);
  // What an assignment writes to: names, tuples of them, and attributes of namespaces.
  ExprPtr target(bool attributes);
  ExprPtr node(Expr::Kind kind) const;

 private:
  ExprPtr target_item(bool attributes);
  void deepen(Expr* parent, const Expr& child);
  void adopt(Expr* parent, ExprPtr child);
  ExprPtr binary(Expr::Kind kind, std::string op, ExprPtr left, ExprPtr right);
  template <typename Parse>
  ExprPtr chain(Expr::Kind kind, std::string_view word, const Parse& parse);
  ExprPtr or_expression();
  ExprPtr not_expression();
  ExprPtr comparison();
  // Operators of one precedence, the leftmost first.
  template <typename Parse>
  ExprPtr left_to_right(Names ops, const Parse& parse);
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr unary(bool with_filters);
  ExprPtr constant(Value value);
  ExprPtr primary();
  ExprPtr parenthesized();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr expr);
  ExprPtr attribute(ExprPtr object);
  ExprPtr subscript(ExprPtr object);
  ExprPtr call(ExprPtr callee);
  void arguments(Expr* expr);
  ExprPtr filters_and_tests(ExprPtr expr);
  ExprPtr test(ExprPtr value);
  bool begins_argument() const;
  std::string dotted_name();

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace octet::jinja
