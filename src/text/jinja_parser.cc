// Recursive descent over Jinja's grammar (https://jinja.palletsprojects.com/templates): precedence and
// associativity are those of its own parser, which are not quite Python's.
#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "text/jinja_ast.h"
#include "text/jinja_builtins.h"
#include "text/jinja_lexer.h"

namespace octet::jinja {

namespace {

constexpr int kMaxNesting = 100;    // of blocks and brackets in the source
constexpr int kMaxExprDepth = 200;  // of an expression's tree, which long chains of operators build, too

class Parser {
 public:
  explicit Parser(const std::string& source) : tokens_(tokenize(source)) {}

  Body run() {
    Body body = statements({});
    if (current().type != Token::kEnd) unknown_tag();
    return body;
  }

 private:
  struct Nest {
    explicit Nest(Parser* parser) : parser_(parser) {
      if (++parser->nesting_ > kMaxNesting)
        parser->error("nested more than " + std::to_string(kMaxNesting) + " deep");
    }
    ~Nest() { --parser_->nesting_; }
    Parser* parser_;
  };
  using Names = std::initializer_list<std::string_view>;

  // --- tokens
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void advance() { at_ += at_ + 1 < tokens_.size(); }
  bool is_op(std::string_view op) const { return current().type == Token::kOperator && current().text == op; }
  bool is_name(std::string_view name) const {
    return current().type == Token::kName && current().text == name;
  }
  bool is_one_of(Names names) const {
    return current().type == Token::kName &&
           std::find(names.begin(), names.end(), current().text) != names.end();
  }
  bool skip_op(std::string_view op) {
    const bool is = is_op(op);
    if (is) advance();
    return is;
  }
  bool skip_name(std::string_view name) {
    const bool is = is_name(name);
    if (is) advance();
    return is;
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) error("expected '" + std::string(op) + "', found " + found());
  }
  std::string expect_name() {
    if (current().type != Token::kName) error("expected a name, found " + found());
    std::string name = current().text;
    advance();
    return name;
  }
  void expect_block_end() {
    if (current().type != Token::kBlockEnd) error("expected the end of the block, found " + found());
    advance();
  }
  std::string found() const {
    switch (current().type) {
      case Token::kEnd:
        return "the end of the template";
      case Token::kOutputEnd:
        return "'}}'";
      case Token::kBlockEnd:
        return "'%}'";
      default:
        return "'" + current().text + "'";
    }
  }
  [[noreturn]] void error(const std::string& what) const {
    fail("line " + std::to_string(current().line) + ": " + what);
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error{StatusCode::kUnsupported,
                "line " + std::to_string(current().line) + ": " + what + " is not supported"};
  }
  [[noreturn]] void unknown_tag() const { error("unexpected tag '" + ahead().text + "'"); }

  // --- statements
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

  // What an assignment writes to: names, tuples of them, and attributes of namespaces.
  ExprPtr target(bool attributes) {
    ExprPtr first = target_item(attributes);
    if (!is_op(",")) return first;
    ExprPtr tuple = node(Expr::kTuple);
    adopt(tuple.get(), std::move(first));
    while (skip_op(",")) {
      if (is_name("in") || is_op("=") || is_op(")")) break;
      adopt(tuple.get(), target_item(attributes));
    }
    return tuple;
  }

  ExprPtr target_item(bool attributes) {
    const Nest nest(this);
    if (skip_op("(")) {
      ExprPtr inner = target(attributes);
      expect_op(")");
      return inner;
    }
    ExprPtr name = node(Expr::kName);
    name->name = expect_name();
    for (const char* constant : {"true", "false", "none", "True", "False", "None"}) {
      if (name->name == constant) error("cannot assign to '" + name->name + "'");
    }
    if (!attributes || !skip_op(".")) return name;
    ExprPtr attribute = node(Expr::kAttribute);
    attribute->name = expect_name();
    adopt(attribute.get(), std::move(name));
    return attribute;
  }

  // --- expressions
  ExprPtr node(Expr::Kind kind) const {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = current().line;
    return expr;
  }

  void deepen(Expr* parent, const Expr& child) {
    parent->depth = std::max(parent->depth, child.depth + 1);
    if (parent->depth > kMaxExprDepth) {
      error("an expression more than " + std::to_string(kMaxExprDepth) + " operations deep");
    }
  }
  void adopt(Expr* parent, ExprPtr child) {
    if (child) deepen(parent, *child);
    parent->children.push_back(std::move(child));
  }

  ExprPtr binary(Expr::Kind kind, std::string op, ExprPtr left, ExprPtr right) {
    ExprPtr expr = node(kind);
    expr->name = std::move(op);
    adopt(expr.get(), std::move(left));
    adopt(expr.get(), std::move(right));
    return expr;
  }

  // One expression, or a tuple of them without brackets.
  ExprPtr tuple(bool conditional) {
    ExprPtr first = conditional ? expression() : or_expression();
    if (!is_op(",")) return first;
    ExprPtr list = node(Expr::kTuple);
    adopt(list.get(), std::move(first));
    while (skip_op(",")) {
      const auto type = current().type;
      if (type == Token::kOutputEnd || type == Token::kBlockEnd || is_op(")")) break;
      adopt(list.get(), conditional ? expression() : or_expression());
    }
    return list;
  }

  ExprPtr expression() {
    const Nest nest(this);
    ExprPtr value = or_expression();
    while (skip_name("if")) {
      ExprPtr choice = node(Expr::kConditional);
      adopt(choice.get(), or_expression());
      adopt(choice.get(), std::move(value));
      adopt(choice.get(), skip_name("else") ? expression() : nullptr);
      value = std::move(choice);
    }
    return value;
  }

  template <typename Parse>
  ExprPtr chain(Expr::Kind kind, std::string_view word, const Parse& parse) {
    ExprPtr first = parse();
    if (!is_name(word)) return first;
    ExprPtr all = node(kind);
    adopt(all.get(), std::move(first));
    while (skip_name(word)) adopt(all.get(), parse());
    return all;
  }

  ExprPtr or_expression() {
    return chain(Expr::kOr, "or", [&] { return chain(Expr::kAnd, "and", [&] { return not_expression(); }); });
  }

  ExprPtr not_expression() {
    if (!is_name("not")) return comparison();
    const Nest nest(this);
    ExprPtr expr = node(Expr::kUnary);
    expr->name = "not";
    advance();
    adopt(expr.get(), not_expression());
    return expr;
  }

  ExprPtr comparison() {
    ExprPtr first = sum();
    ExprPtr compare;
    for (;;) {
      std::string op;
      for (const char* candidate : {"==", "!=", "<", "<=", ">", ">="}) {
        if (is_op(candidate)) op = candidate;
      }
      if (is_name("in")) op = "in";
      if (is_name("not") && ahead().type == Token::kName && ahead().text == "in") {
        advance();
        op = "not in";
      }
      if (op.empty()) return compare ? std::move(compare) : std::move(first);
      advance();
      if (!compare) {
        compare = node(Expr::kCompare);
        adopt(compare.get(), std::move(first));
      }
      compare->ops.push_back(op);
      adopt(compare.get(), sum());
    }
  }

  // Operators of one precedence, the leftmost first.
  template <typename Parse>
  ExprPtr left_to_right(Names ops, const Parse& parse) {
    ExprPtr left = parse();
    for (;;) {
      const auto op =
          std::find_if(ops.begin(), ops.end(), [&](std::string_view candidate) { return is_op(candidate); });
      if (op == ops.end()) return left;
      advance();
      left = binary(Expr::kBinary, std::string(*op), std::move(left), parse());
    }
  }

  ExprPtr sum() {
    return left_to_right({"+", "-"}, [&] { return concatenation(); });
  }

  ExprPtr concatenation() {
    ExprPtr first = product();
    if (!is_op("~")) return first;
    ExprPtr all = node(Expr::kConcat);
    adopt(all.get(), std::move(first));
    while (skip_op("~")) adopt(all.get(), product());
    return all;
  }

  ExprPtr product() {
    return left_to_right({"*", "/", "//", "%"},
                         [&] { return left_to_right({"**"}, [&] { return unary(/*with_filters=*/true); }); });
  }

  ExprPtr unary(bool with_filters) {
    const Nest nest(this);
    ExprPtr expr;
    if (is_op("-") || is_op("+")) {
      expr = node(Expr::kUnary);
      expr->name = current().text;
      advance();
      adopt(expr.get(), unary(/*with_filters=*/false));
    } else {
      expr = primary();
    }
    expr = postfix(std::move(expr));
    return with_filters ? filters_and_tests(std::move(expr)) : std::move(expr);
  }

  ExprPtr constant(Value value) {
    ExprPtr expr = node(Expr::kConst);
    expr->value = std::move(value);
    return expr;
  }

  ExprPtr primary() {
    const Token token = current();
    switch (token.type) {
      case Token::kName: {
        advance();
        if (token.text == "true" || token.text == "True") return constant(true);
        if (token.text == "false" || token.text == "False") return constant(false);
        if (token.text == "none" || token.text == "None") return constant(Value());
        for (const char* other : {"self", "super", "varargs", "kwargs", "lipsum", "cycler", "joiner"}) {
          if (token.text == other) refuse("'" + token.text + "'");
        }
        ExprPtr name = node(Expr::kName);
        name->name = token.text;
        return name;
      }
      case Token::kString: {
        std::string text;
        for (; current().type == Token::kString; advance()) text += current().text;
        return constant(std::move(text));
      }
      case Token::kInteger: {
        int64_t value = 0;
        const char* end = token.text.data() + token.text.size();
        if (std::from_chars(token.text.data(), end, value).ec != std::errc())
          error("the integer is out of range");
        advance();
        return constant(value);
      }
      case Token::kFloat: {
        double value = 0;
        std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
        advance();
        return constant(value);
      }
      default:
        if (skip_op("(")) return parenthesized();
        if (skip_op("[")) return list();
        if (skip_op("{")) return dict();
        error("expected an expression, found " + found());
    }
  }

  ExprPtr parenthesized() {
    if (skip_op(")")) return node(Expr::kTuple);
    ExprPtr inner = tuple(/*conditional=*/true);
    expect_op(")");
    return inner;
  }

  ExprPtr list() {
    ExprPtr expr = node(Expr::kList);
    while (!is_op("]")) {
      if (!expr->children.empty()) expect_op(",");
      if (is_op("]")) break;
      adopt(expr.get(), expression());
    }
    advance();
    return expr;
  }

  ExprPtr dict() {
    ExprPtr expr = node(Expr::kDict);
    while (!is_op("}")) {
      if (!expr->children.empty()) expect_op(",");
      if (is_op("}")) break;
      adopt(expr.get(), expression());
      expect_op(":");
      adopt(expr.get(), expression());
    }
    advance();
    return expr;
  }

  ExprPtr postfix(ExprPtr expr) {
    for (;;) {
      if (skip_op(".")) {
        expr = attribute(std::move(expr));
      } else if (skip_op("[")) {
        expr = subscript(std::move(expr));
      } else if (is_op("(")) {
        expr = call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr attribute(ExprPtr object) {
    if (current().type == Token::kInteger) {
      ExprPtr item = node(Expr::kItem);
      adopt(item.get(), std::move(object));
      adopt(item.get(), primary());
      return item;
    }
    ExprPtr expr = node(Expr::kAttribute);
    expr->name = expect_name();
    adopt(expr.get(), std::move(object));
    return expr;
  }

  ExprPtr subscript(ExprPtr object) {
    ExprPtr expr = node(Expr::kItem);
    adopt(expr.get(), std::move(object));
    const auto part = [&] { return is_op(":") || is_op("]") ? nullptr : expression(); };
    ExprPtr first = part();
    if (!is_op(":")) {
      if (!first) error("expected an index");
      if (is_op(",")) refuse("an index of several values");
      adopt(expr.get(), std::move(first));
    } else {
      expr->kind = Expr::kSlice;
      adopt(expr.get(), std::move(first));
      for (int i = 0; i < 2; ++i) adopt(expr.get(), skip_op(":") ? part() : nullptr);
    }
    expect_op("]");
    return expr;
  }

  ExprPtr call(ExprPtr callee) {
    if (callee->kind == Expr::kAttribute && !is_method(callee->name))
      refuse("the method '" + callee->name + "'");
    ExprPtr expr = node(Expr::kCall);
    adopt(expr.get(), std::move(callee));
    arguments(expr.get());
    return expr;
  }

  void arguments(Expr* expr) {
    expect_op("(");
    while (!is_op(")")) {
      if (!expr->arguments.empty() || !expr->named_arguments.empty()) {
        expect_op(",");
        if (is_op(")")) break;
      }
      if (is_op("*") || is_op("**")) refuse("'" + current().text + "' in a call");
      ExprPtr value;
      if (current().type == Token::kName && ahead().type == Token::kOperator && ahead().text == "=") {
        std::string name = expect_name();
        advance();
        value = expression();
        deepen(expr, *value);
        expr->named_arguments.emplace_back(std::move(name), std::move(value));
        continue;
      }
      if (!expr->named_arguments.empty()) error("a positional argument follows a named one");
      value = expression();
      deepen(expr, *value);
      expr->arguments.push_back(std::move(value));
    }
    advance();
  }

  ExprPtr filters_and_tests(ExprPtr expr) {
    for (;;) {
      if (is_op("|")) {
        expr = filters(std::move(expr));
      } else if (skip_name("is")) {
        expr = test(std::move(expr));
      } else if (is_op("(")) {
        expr = call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr filters(ExprPtr expr) {
    while (skip_op("|")) expr = filter(std::move(expr));
    return expr;
  }

  ExprPtr filter(ExprPtr value) {
    ExprPtr expr = node(Expr::kFilter);
    expr->name = dotted_name();
    expr->filter = find_filter(expr->name);
    expr->cheap = is_cheap_filter(expr->name);
    if (expr->filter == nullptr) refuse("the filter '" + expr->name + "'");
    adopt(expr.get(), std::move(value));
    if (is_op("(")) arguments(expr.get());
    return expr;
  }

  ExprPtr test(ExprPtr value) {
    const bool negated = skip_name("not");
    ExprPtr expr = node(Expr::kTest);
    expr->name = dotted_name();
    expr->test = find_test(expr->name);
    if (expr->test == nullptr) refuse("the test '" + expr->name + "'");
    adopt(expr.get(), std::move(value));
    if (is_op("(")) {
      arguments(expr.get());
    } else if (begins_argument()) {
      if (is_name("is")) error("tests cannot be chained with 'is'");
      ExprPtr argument = postfix(primary());
      deepen(expr.get(), *argument);
      expr->arguments.push_back(std::move(argument));
    }
    if (!negated) return expr;
    ExprPtr opposite = node(Expr::kUnary);
    opposite->name = "not";
    adopt(opposite.get(), std::move(expr));
    return opposite;
  }

  bool begins_argument() const {
    const auto type = current().type;
    if (type == Token::kName) return !is_one_of({"else", "or", "and"});
    return type == Token::kString || type == Token::kInteger || type == Token::kFloat || is_op("[") ||
           is_op("{");
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    return name;
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0, loops_ = 0;
};

}  // namespace

Body parse(const std::string& source) {
  return Parser(source).run();
}

}  // namespace octet::jinja
