#include "text/jinja_expression_parser.h"

#include <charconv>
#include <utility>

#include "text/jinja_builtins.h"

namespace octet::jinja {

namespace {

constexpr int kMaxNesting = 100;    // of blocks and brackets in the source
constexpr int kMaxExprDepth = 200;  // of an expression's tree, which long chains of operators build, too

}  // namespace

ExpressionParser::Nest::Nest(ExpressionParser* parser) : parser_(parser) {
  if (++parser->nesting_ > kMaxNesting) {
    parser->error("nested more than " + std::to_string(kMaxNesting) + " deep");
  }
}

bool ExpressionParser::is_op(std::string_view op) const {
  return current().type == Token::kOperator && current().text == op;
}

bool ExpressionParser::is_name(std::string_view name) const {
  return current().type == Token::kName && current().text == name;
}

bool ExpressionParser::is_one_of(Names names) const {
  return current().type == Token::kName &&
         std::find(names.begin(), names.end(), current().text) != names.end();
}

bool ExpressionParser::skip_op(std::string_view op) {
  const bool is = is_op(op);
  if (is) advance();
  return is;
}

bool ExpressionParser::skip_name(std::string_view name) {
  const bool is = is_name(name);
  if (is) advance();
  return is;
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) error("expected '" + std::string(op) + "', found " + found());
}

std::string ExpressionParser::expect_name() {
  if (current().type != Token::kName) error("expected a name, found " + found());
  std::string name = current().text;
  advance();
  return name;
}

void ExpressionParser::expect_block_end() {
  if (current().type != Token::kBlockEnd) error("expected the end of the block, found " + found());
  advance();
}

std::string ExpressionParser::found() const {
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

void ExpressionParser::error(const std::string& what) const {
  fail("line " + std::to_string(current().line) + ": " + what);
}

void ExpressionParser::refuse(const std::string& what) const {
  throw Error{StatusCode::kUnsupported,
              "line " + std::to_string(current().line) + ": " + what + " is not supported"};
}

ExprPtr ExpressionParser::target(bool attributes) {
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

ExprPtr ExpressionParser::target_item(bool attributes) {
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

ExprPtr ExpressionParser::node(Expr::Kind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = current().line;
  return expr;
}

void ExpressionParser::deepen(Expr* parent, const Expr& child) {
  parent->depth = std::max(parent->depth, child.depth + 1);
  if (parent->depth > kMaxExprDepth) {
    error("an expression more than " + std::to_string(kMaxExprDepth) + " operations deep");
  }
}

void ExpressionParser::adopt(Expr* parent, ExprPtr child) {
  if (child) deepen(parent, *child);
  parent->children.push_back(std::move(child));
}

ExprPtr ExpressionParser::binary(Expr::Kind kind, std::string op, ExprPtr left, ExprPtr right) {
  ExprPtr expr = node(kind);
  expr->name = std::move(op);
  adopt(expr.get(), std::move(left));
  adopt(expr.get(), std::move(right));
  return expr;
}

ExprPtr ExpressionParser::tuple(bool conditional) {
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

ExprPtr ExpressionParser::expression() {
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
ExprPtr ExpressionParser::chain(Expr::Kind kind, std::string_view word, const Parse& parse) {
  ExprPtr first = parse();
  if (!is_name(word)) return first;
  ExprPtr all = node(kind);
  adopt(all.get(), std::move(first));
  while (skip_name(word)) adopt(all.get(), parse());
  return all;
}

ExprPtr ExpressionParser::or_expression() {
  return chain(Expr::kOr, "or", [&] { return chain(Expr::kAnd, "and", [&] { return not_expression(); }); });
}

ExprPtr ExpressionParser::not_expression() {
  if (!is_name("not")) return comparison();
  const Nest nest(this);
  ExprPtr expr = node(Expr::kUnary);
  expr->name = "not";
  advance();
  adopt(expr.get(), not_expression());
  return expr;
}

ExprPtr ExpressionParser::comparison() {
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

template <typename Parse>
ExprPtr ExpressionParser::left_to_right(Names ops, const Parse& parse) {
  ExprPtr left = parse();
  for (;;) {
    const auto op =
        std::find_if(ops.begin(), ops.end(), [&](std::string_view candidate) { return is_op(candidate); });
    if (op == ops.end()) return left;
    advance();
    left = binary(Expr::kBinary, std::string(*op), std::move(left), parse());
  }
}

ExprPtr ExpressionParser::sum() {
  return left_to_right({"+", "-"}, [&] { return concatenation(); });
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!is_op("~")) return first;
  ExprPtr all = node(Expr::kConcat);
  adopt(all.get(), std::move(first));
  while (skip_op("~")) adopt(all.get(), product());
  return all;
}

ExprPtr ExpressionParser::product() {
  return left_to_right({"*", "/", "//", "%"},
                       [&] { return left_to_right({"**"}, [&] { return unary(/*with_filters=*/true); }); });
}

ExprPtr ExpressionParser::unary(bool with_filters) {
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

ExprPtr ExpressionParser::constant(Value value) {
  ExprPtr expr = node(Expr::kConst);
  expr->value = std::move(value);
  return expr;
}

ExprPtr ExpressionParser::primary() {
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

ExprPtr ExpressionParser::parenthesized() {
  if (skip_op(")")) return node(Expr::kTuple);
  ExprPtr inner = tuple(/*conditional=*/true);
  expect_op(")");
  return inner;
}

ExprPtr ExpressionParser::list() {
  ExprPtr expr = node(Expr::kList);
  while (!is_op("]")) {
    if (!expr->children.empty()) expect_op(",");
    if (is_op("]")) break;
    adopt(expr.get(), expression());
  }
  advance();
  return expr;
}

ExprPtr ExpressionParser::dict() {
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

ExprPtr ExpressionParser::postfix(ExprPtr expr) {
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

ExprPtr ExpressionParser::attribute(ExprPtr object) {
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

ExprPtr ExpressionParser::subscript(ExprPtr object) {
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

ExprPtr ExpressionParser::call(ExprPtr callee) {
  if (callee->kind == Expr::kAttribute && !is_method(callee->name))
    refuse("the method '" + callee->name + "'");
  ExprPtr expr = node(Expr::kCall);
  adopt(expr.get(), std::move(callee));
  arguments(expr.get());
  return expr;
}

void ExpressionParser::arguments(Expr* expr) {
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

ExprPtr ExpressionParser::filters_and_tests(ExprPtr expr) {
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

ExprPtr ExpressionParser::filters(ExprPtr expr) {
  while (skip_op("|")) expr = filter(std::move(expr));
  return expr;
}

ExprPtr ExpressionParser::filter(ExprPtr value) {
  ExprPtr expr = node(Expr::kFilter);
  expr->name = dotted_name();
  expr->filter = find_filter(expr->name);
  expr->cheap = is_cheap_filter(expr->name);
  if (expr->filter == nullptr) refuse("the filter '" + expr->name + "'");
  adopt(expr.get(), std::move(value));
  if (is_op("(")) arguments(expr.get());
  return expr;
}

ExprPtr ExpressionParser::test(ExprPtr value) {
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

bool ExpressionParser::begins_argument() const {
  const auto type = current().type;
  if (type == Token::kName) return !is_one_of({"else", "or", "and"});
  return type == Token::kString || type == Token::kInteger || type == Token::kFloat || is_op("[") ||
         is_op("{");
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect_name();
  while (skip_op(".")) name += "." + expect_name();
  return name;
}

}  // namespace octet::jinja
