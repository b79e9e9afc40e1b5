// Statements of templates, by recursive descent.
#include <algorithm>
#include <utility>

#include "text/jinja_expression_parser.h"

namespace octet::jinja {

namespace {

class Parser : private ExpressionParser {
 public:
  explicit Parser(const std::string& source) : ExpressionParser(source) {}

  Body run() {
    Body body = statements({});
    if (current().type != Token::kEnd) error("unexpected tag '" + ahead().text + "'");
    return body;
  }

 private:
  // Up to a block of one of these names, which is left as the current token (its "{%" taken), or to the end.
  Body statements(Names ends) {
    const Nest nest(this);
    Body body;
    for (;;) {
      switch (current().type) {
        case Token::kText:
          body.push_back(make(Stmt::kText));
          body.back()->text = current().text;
          advance();
          break;
        case Token::kOutputBegin:
          advance();
          body.push_back(make(Stmt::kOutput));
          body.back()->expr = tuple(/*conditional=*/true);
          if (current().type != Token::kOutputEnd) error("expected '}}', found " + found());
          advance();
          break;
        case Token::kBlockBegin: {
          const auto& name = ahead().text;
          if (ahead().type == Token::kName && std::find(ends.begin(), ends.end(), name) != ends.end()) {
            advance();
            return body;
          }
          advance();
          body.push_back(statement());
          break;
        }
        default:
          if (ends.size() > 0)
            error("expected {% " + std::string(*(ends.end() - 1)) + " %}, found " + found());
          return body;
      }
    }
  }

  // The body of a block that ends with {% `end` %}.
  Body block(std::string_view end) {
    expect_block_end();
    Body body = statements({end});
    advance();
    expect_block_end();
    return body;
  }

  std::unique_ptr<Stmt> make(Stmt::Kind kind) const {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = current().line;
    return stmt;
  }

  std::unique_ptr<Stmt> statement() {
    if (current().type != Token::kName) error("expected the name of a tag, found " + found());
    const std::string name = current().text;
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "call") return call_statement();
    if (name == "filter") return filter_statement();
    if (name == "with") return with_statement();
    if (name == "generation") {
      auto stmt = make(Stmt::kScope);
      advance();
      stmt->body = function_body("endgeneration");
      return stmt;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) error("'" + name + "' outside of a loop");
      auto stmt = make(name == "break" ? Stmt::kBreak : Stmt::kContinue);
      advance();
      expect_block_end();
      return stmt;
    }
    for (const char* known :
         {"include", "import", "from", "extends", "block", "autoescape", "trans", "do", "debug"}) {
      if (name == known) refuse("the tag '" + name + "'");
    }
    error("unexpected tag '" + name + "'");
  }

  std::unique_ptr<Stmt> if_statement() {
    auto stmt = make(Stmt::kIf);
    while (true) {
      const std::string name = expect_name();
      ExprPtr condition = name == "else" ? nullptr : tuple(/*conditional=*/false);
      expect_block_end();
      const bool last = name == "else";
      Body body = last ? statements({"endif"}) : statements({"elif", "else", "endif"});
      stmt->branches.push_back({std::move(condition), std::move(body)});
      if (is_name("endif")) break;
    }
    advance();
    expect_block_end();
    return stmt;
  }

  std::unique_ptr<Stmt> for_statement() {
    auto stmt = make(Stmt::kFor);
    advance();
    stmt->target = target(/*attributes=*/false);
    if (!skip_name("in")) error("expected 'in', found " + found());
    stmt->expr = tuple(/*conditional=*/false);
    if (skip_name("if")) stmt->condition = expression();
    if (is_name("recursive")) refuse("a recursive loop");
    expect_block_end();
    ++loops_;
    stmt->body = statements({"else", "endfor"});
    --loops_;
    if (skip_name("else")) {
      expect_block_end();
      stmt->else_body = statements({"endfor"});
    }
    advance();
    expect_block_end();
    return stmt;
  }

  std::unique_ptr<Stmt> set_statement() {
    auto stmt = make(Stmt::kSet);
    advance();
    stmt->target = target(/*attributes=*/true);
    if (skip_op("=")) {
      stmt->expr = tuple(/*conditional=*/true);
      expect_block_end();
      return stmt;
    }
    stmt->kind = Stmt::kSetBlock;
    if (is_op("|")) stmt->expr = filters(node(Expr::kHole));
    stmt->body = function_body("endset");
    return stmt;
  }

  std::unique_ptr<Stmt> filter_statement() {
    auto stmt = make(Stmt::kFilter);
    advance();
    stmt->expr = filters(filter(node(Expr::kHole)));
    stmt->body = function_body("endfilter");
    return stmt;
  }

  std::unique_ptr<Stmt> macro_statement() {
    auto stmt = make(Stmt::kMacro);
    advance();
    stmt->text = expect_name();
    stmt->parameters = parameters();
    stmt->body = function_body("endmacro");
    return stmt;
  }

  std::unique_ptr<Stmt> call_statement() {
    auto stmt = make(Stmt::kCall);
    advance();
    if (is_op("(")) stmt->parameters = parameters();
    stmt->expr = expression();
    if (stmt->expr->kind != Expr::kCall) error("expected a call");
    stmt->body = function_body("endcall");
    return stmt;
  }

  // A body whose text is taken aside: no `break` leaves it for a loop around it.
  Body function_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = block(end);
    loops_ = loops;
    return body;
  }

  std::unique_ptr<Stmt> with_statement() {
    auto stmt = make(Stmt::kWith);
    advance();
    while (current().type != Token::kBlockEnd) {
      if (!stmt->assignments.empty()) expect_op(",");
      ExprPtr to = target(/*attributes=*/false);
      expect_op("=");
      stmt->assignments.emplace_back(std::move(to), expression());
    }
    stmt->body = function_body("endwith");
    return stmt;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> list;
    expect_op("(");
    while (!is_op(")")) {
      if (!list.empty()) expect_op(",");
      Parameter parameter{expect_name(), nullptr};
      if (skip_op("=")) {
        parameter.otherwise = expression();
      } else if (!list.empty() && list.back().otherwise) {
        error("a parameter without a default follows one with a default");
      }
      list.push_back(std::move(parameter));
    }
    advance();
    return list;
  }

  int loops_ = 0;
};

}  // namespace

Body parse(const std::string& source) {
  return Parser(source).run();
}

}  // namespace octet::jinja
