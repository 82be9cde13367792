// What a template is made of, as the parser reads it and the evaluator walks over it. Values,
// immutable after parsing, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/jinja/value.h"

namespace parkd::jinja {

struct Filter;
struct Test;

// A variable's name by its place in Program::names.
using NameId = uint32_t;

enum class Operator : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in,
};

struct Expression;

struct Arguments {
  std::vector<Expression> positional;
  std::vector<std::pair<std::string, Expression>> named;
  std::vector<Expression> unpacked;        // *list, at most one
  std::vector<Expression> unpacked_named;  // **dict, at most one
};

struct Expression {
  enum class Kind : uint8_t {
    constant,
    name,
    captured,         // the text of the block that a filter stands behind
    list,             // parts
    tuple,            // parts
    dict,             // parts: key, value, key, value
    attribute,        // parts[0].text
    item,             // parts[0][parts[1]]
    slice,            // parts[0][parts[1]:parts[2]:parts[3]]; a constant none where one is left out
    call,             // parts[0](arguments)
    filter,           // parts[0] | text(arguments)
    test,             // parts[0] is text(arguments)
    logical_not,      // parts[0]
    negative,         // parts[0]
    positive,         // parts[0]
    arithmetic,       // parts[0] operators[0] parts[1] operators[1] parts[2], from the left
    compare,          // the same, chained as in Python
    concat,           // parts joined by ~
    logical_and,      // parts
    logical_or,       // parts
    conditional,      // parts[0] if parts[1] else parts[2]; without else two parts
    space_attribute,  // a target: name.text
  };
  Kind kind = Kind::constant;
  int line = 0;
  size_t depth = 1;
  NameId name = 0;
  std::string text;
  Value constant;
  std::vector<Expression> parts;
  std::vector<Operator> operators;
  std::unique_ptr<Arguments> arguments;
  const Filter* filter = nullptr;  // null where no such filter is: fails when it is reached
  const Test* test = nullptr;      // the same
};

struct Statement;
using Block = std::vector<Statement>;

struct Parameter {
  NameId name = 0;
  std::string word;
  std::optional<Expression> otherwise;
};

struct Macro {
  std::string word;
  NameId name = 0;
  std::vector<Parameter> parameters;
  Block body;
};

struct Branch {
  Expression test;
  Block body;
};

struct Statement {
  enum class Kind : uint8_t {
    text,          // value.constant
    output,        // {{ value }}
    branches,      // if, elif; otherwise
    loop,          // for target in value if filter: body; otherwise
    set,           // target = value
    set_block,     // target = body, through the filters of value where it has some
    macro,         // macro
    call_block,    // value is a call, macro its caller
    filter_block,  // body through the filters of value
    with,          // targets and values; body
    scope,         // body, with names of its own
    break_loop,
    continue_loop,
  };
  Kind kind = Kind::text;
  int line = 0;
  Expression target;
  Expression value;
  std::optional<Expression> filter;
  std::vector<Branch> branches;
  std::vector<std::pair<Expression, Expression>> assignments;
  Block body;
  Block otherwise;
  std::unique_ptr<Macro> macro;
};

struct Program {
  std::vector<std::string> names;
  Block body;
};

}  // namespace parkd::jinja
