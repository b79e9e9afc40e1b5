// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace octet::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Stmt>>;

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);
using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

struct Expr {
  enum Kind {
    kConst,        // value
    kName,         // name
    kHole,         // the text of the block that a filter is applied to
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value, ...
    kAttribute,    // children[0].name
    kItem,         // children[0][children[1]]
    kSlice,        // children[0][children[1]:children[2]:children[3]], null where left out
    kCall,         // children[0](arguments)
    kFilter,       // children[0] | name(arguments)
    kTest,         // children[0] is name(arguments)
    kUnary,        // name children[0]; name is +, - or not
    kBinary,       // children[0] name children[1]
    kCompare,      // children[0] ops[0] children[1] ops[1] ...
    kAnd,          // children
    kOr,           // children
    kConcat,       // children[0] ~ children[1] ~ ...
    kConditional,  // children[1] if children[0] else children[2] (null: undefined)
  };
  Kind kind;
  int line = 0;
  int depth = 1;  // of the tree from here down
  std::string name;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<ExprPtr> arguments;
  std::vector<std::pair<std::string, ExprPtr>> named_arguments;
  std::vector<std::string> ops;
  Filter filter = nullptr;
  bool cheap = false;  // the filter does not go through a list or dict
  Test test = nullptr;
};

struct Parameter {
  std::string name;
  ExprPtr otherwise;  // null: undefined
};

struct Stmt {
  enum Kind {
    kText,      // text
    kOutput,    // expr
    kIf,        // branches
    kFor,       // target in expr, if condition: body, else_body
    kSet,       // target = expr
    kSetBlock,  // target = body, through expr (a chain of filters over kHole, or null)
    kFilter,    // body through expr
    kMacro,     // text(parameters): body
    kCall,      // expr (a call) with caller(parameters): body
    kWith,      // assignments, body
    kScope,     // body in a scope of its own
    kBreak,
    kContinue,
  };
  struct Branch {
    ExprPtr condition;  // null: else
    Body body;
  };
  Kind kind;
  int line = 0;
  std::string text;
  ExprPtr target, expr, condition;
  std::vector<Branch> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  std::vector<Parameter> parameters;
  Body body, else_body;
};

// Throws jinja::Error, with the line and what is wrong or not supported.
Body parse(const std::string& source);

}  // namespace octet::jinja
