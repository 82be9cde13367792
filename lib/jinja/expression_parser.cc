// From "a if b else c" down to names and literals.
#include <algorithm>
#include <optional>
#include <utility>

#include "lib/jinja/filters.h"
#include "lib/jinja/parser.h"
#include "lib/jinja/tests.h"

namespace parkd::jinja {
namespace {

using Kind = Expression::Kind;

struct Word {
  std::string_view mark;
  Operator op;
};
constexpr Word kCompares[] = {{"==", Operator::equal},  {"!=", Operator::not_equal},
                              {"<", Operator::less},    {"<=", Operator::less_equal},
                              {">", Operator::greater}, {">=", Operator::greater_equal}};
constexpr Word kSums[] = {{"+", Operator::add}, {"-", Operator::subtract}};
constexpr Word kProducts[] = {{"*", Operator::multiply},
                              {"/", Operator::divide},
                              {"//", Operator::floor_divide},
                              {"%", Operator::modulo}};

template <size_t n>
std::optional<Operator> find_operator(const Word (&words)[n], const Token& token) {
  if (token.kind != Token::Kind::mark) return std::nullopt;
  for (const Word& word : words) {
    if (word.mark == token.text) return word.op;
  }
  return std::nullopt;
}

template <class... E>
std::vector<Expression> parts_of(E... expressions) {
  std::vector<Expression> parts;
  parts.reserve(sizeof...(expressions));
  (parts.push_back(std::move(expressions)), ...);
  return parts;
}

}  // namespace

Expression ExpressionParser::read_expression(Conditional conditional) {
  const Nested nested(*this);
  return conditional == Conditional::read ? read_conditional() : read_or();
}

Expression ExpressionParser::read_conditional() {
  int line = current().line;
  const size_t n_unknown = unknown_.size();
  Expression value = read_or();
  bool is_conditional = false;
  while (take_word("if")) {
    auto parts = parts_of(std::move(value), read_or());
    if (take_word("else")) parts.push_back(read_expression());
    value = make(Kind::conditional, line, std::move(parts));
    line = current().line;
    is_conditional = true;
  }
  if (is_conditional) unknown_.resize(n_unknown);
  return value;
}

template <class Next, class Find>
Expression ExpressionParser::read_chain(Kind kind, Next next, Find find) {
  const int line = current().line;
  Expression first = next();
  std::optional<Operator> op = find();
  if (!op) return first;
  auto parts = parts_of(std::move(first));
  std::vector<Operator> operators;
  for (; op; op = find()) {
    operators.push_back(*op);
    parts.push_back(next());
  }
  Expression chain = make(kind, line, std::move(parts));
  chain.operators = std::move(operators);
  return chain;
}

Expression ExpressionParser::read_or() {
  const auto find = [&] { return take_word("or") ? std::optional(Operator::in) : std::nullopt; };
  return read_chain(
      Kind::logical_or, [&] { return read_and(); }, find);
}

Expression ExpressionParser::read_and() {
  const auto find = [&] { return take_word("and") ? std::optional(Operator::in) : std::nullopt; };
  return read_chain(
      Kind::logical_and, [&] { return read_not(); }, find);
}

Expression ExpressionParser::read_not() {
  const int line = current().line;
  if (!take_word("not")) return read_compare();
  const Nested nested(*this);
  return make(Kind::logical_not, line, parts_of(read_not()));
}

Expression ExpressionParser::read_compare() {
  const auto find = [&]() -> std::optional<Operator> {
    if (const auto op = find_operator(kCompares, current())) {
      take();
      return op;
    }
    if (take_word("in")) return Operator::in;
    if (is_word("not") && look().kind == Token::Kind::name && look().text == "in") {
      take();
      take();
      return Operator::not_in;
    }
    return std::nullopt;
  };
  return read_chain(
      Kind::compare, [&] { return read_sum(); }, find);
}

Expression ExpressionParser::read_sum() {
  const auto find = [&] {
    const auto op = find_operator(kSums, current());
    if (op) take();
    return op;
  };
  return read_chain(
      Kind::arithmetic, [&] { return read_concat(); }, find);
}

Expression ExpressionParser::read_concat() {
  const auto find = [&] { return take_mark("~") ? std::optional(Operator::add) : std::nullopt; };
  return read_chain(
      Kind::concat, [&] { return read_product(); }, find);
}

Expression ExpressionParser::read_product() {
  const auto find = [&] {
    const auto op = find_operator(kProducts, current());
    if (op) take();
    return op;
  };
  return read_chain(
      Kind::arithmetic, [&] { return read_power(); }, find);
}

Expression ExpressionParser::read_power() {
  const auto find = [&] { return take_mark("**") ? std::optional(Operator::power) : std::nullopt; };
  return read_chain(
      Kind::arithmetic, [&] { return read_unary(true); }, find);
}

Expression ExpressionParser::read_unary(bool with_filters) {
  const Nested nested(*this);
  const int line = current().line;
  Expression value;
  if (take_mark("-")) {
    value = make(Kind::negative, line, parts_of(read_unary(false)));
  } else if (take_mark("+")) {
    value = make(Kind::positive, line, parts_of(read_unary(false)));
  } else {
    value = read_primary();
  }
  value = read_postfix(std::move(value));
  return with_filters ? read_filters_and_tests(std::move(value)) : std::move(value);
}

Expression ExpressionParser::read_primary() {
  const Token token = current();
  Expression value = make(Kind::constant, token.line, {});
  switch (token.kind) {
    case Token::Kind::name: {
      take();
      const std::string& word = token.text;
      if (word == "true" || word == "True" || word == "false" || word == "False") {
        value.constant = Value::boolean(word == "true" || word == "True");
      } else if (word == "none" || word == "None") {
        value.constant = Value::none();
      } else {
        value.kind = Kind::name;
        value.text = word;
        value.name = name_id(word);
      }
      return value;
    }
    case Token::Kind::string: {
      std::string text;
      while (current().kind == Token::Kind::string) text += take().text;
      value.constant = Value::text(std::move(text), Origin::literal);
      return value;
    }
    case Token::Kind::integer:
      value.constant = Value::integer(take().integer);
      return value;
    case Token::Kind::real:
      value.constant = Value::real(take().real);
      return value;
    default:
      break;
  }
  if (take_mark("(")) {
    value = read_tuple(Conditional::read, ")");
    expect_mark(")");
    return value;
  }
  if (is_mark("[")) return read_list();
  if (is_mark("{")) return read_dict();
  fail_at(token.line, "unexpected " + shown_current());
}

Expression ExpressionParser::read_list() {
  const int line = take().line;
  std::vector<Expression> items;
  while (!is_mark("]")) {
    if (!items.empty()) expect_mark(",");
    if (is_mark("]")) break;
    items.push_back(read_expression());
  }
  take();
  return make(Kind::list, line, std::move(items));
}

Expression ExpressionParser::read_dict() {
  const int line = take().line;
  std::vector<Expression> parts;
  while (!is_mark("}")) {
    if (!parts.empty()) expect_mark(",");
    if (is_mark("}")) break;
    parts.push_back(read_expression());
    expect_mark(":");
    parts.push_back(read_expression());
  }
  take();
  return make(Kind::dict, line, std::move(parts));
}

Expression ExpressionParser::read_tuple(Conditional conditional, std::string_view end) {
  const int line = current().line;
  const auto at_end = [&] {
    return current().kind == Token::Kind::variable_end ||
           current().kind == Token::Kind::block_end || is_mark(")") ||
           (!end.empty() && is_word(end));
  };
  std::vector<Expression> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect_mark(",");
    if (at_end()) break;
    items.push_back(read_expression(conditional));
    if (!is_mark(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && end != ")") {
    fail_at(current().line, "expected an expression, got " + shown_current());
  }
  return make(Kind::tuple, line, std::move(items));
}

Expression ExpressionParser::read_postfix(Expression subject) {
  while (true) {
    if (is_mark(".") || is_mark("[")) {
      subject = read_subscript(std::move(subject));
    } else if (is_mark("(")) {
      subject = read_call(std::move(subject));
    } else {
      return subject;
    }
  }
}

Expression ExpressionParser::read_subscript(Expression subject) {
  const int line = current().line;
  if (take_mark(".")) {
    if (current().kind == Token::Kind::integer) {
      Expression index = make(Kind::constant, line, {});
      index.constant = Value::integer(take().integer);
      return make(Kind::item, line, parts_of(std::move(subject), std::move(index)));
    }
    Expression attribute = make(Kind::attribute, line, parts_of(std::move(subject)));
    attribute.text = expect_name();
    return attribute;
  }
  expect_mark("[");
  const auto none = [&] {
    Expression left_out = make(Kind::constant, line, {});
    left_out.constant = Value::none();
    return left_out;
  };
  Expression first = is_mark(":") ? none() : read_expression();
  if (is_mark(",")) {
    auto items = parts_of(std::move(first));
    while (take_mark(",") && !is_mark("]")) items.push_back(read_expression());
    first = make(Kind::tuple, line, std::move(items));
  }
  if (take_mark("]")) return make(Kind::item, line, parts_of(std::move(subject), std::move(first)));
  auto parts = parts_of(std::move(subject), std::move(first));
  while (parts.size() < 4 && take_mark(":")) {
    parts.push_back(is_mark("]") || is_mark(":") ? none() : read_expression());
  }
  while (parts.size() < 4) parts.push_back(none());
  expect_mark("]");
  return make(Kind::slice, line, std::move(parts));
}

Expression ExpressionParser::read_call(Expression subject) {
  Expression call = make(Kind::call, current().line, parts_of(std::move(subject)));
  call.arguments = read_arguments();
  return call;
}

Expression ExpressionParser::read_one_filter(Expression subject) {
  const int line = current().line;
  Expression filter = make(Kind::filter, line, parts_of(std::move(subject)));
  filter.text = expect_name();
  while (take_mark(".")) filter.text += "." + expect_name();
  if (is_mark("(")) filter.arguments = read_arguments();
  filter.filter = find_filter(filter.text);
  if (filter.filter == nullptr) note_unknown(line, "no filter is named '" + filter.text + "'");
  return filter;
}

Expression ExpressionParser::read_filters(Expression subject) {
  while (take_mark("|")) subject = read_one_filter(std::move(subject));
  return subject;
}

Expression ExpressionParser::read_test(Expression subject) {
  const int line = take().line;
  const bool is_negated = take_word("not");
  Expression test = make(Kind::test, line, parts_of(std::move(subject)));
  test.text = expect_name();
  while (take_mark(".")) test.text += "." + expect_name();
  if (is_mark("(")) {
    test.arguments = read_arguments();
  } else if (current().kind == Token::Kind::string || current().kind == Token::Kind::integer ||
             current().kind == Token::Kind::real || is_mark("[") || is_mark("{") ||
             (current().kind == Token::Kind::name && !is_word("else") && !is_word("or") &&
              !is_word("and") && !is_word("if") && !is_word("in") && !is_word("not"))) {
    if (is_word("is")) fail_at(line, "tests with 'is' cannot be chained");
    test.arguments = std::make_unique<Arguments>();
    test.arguments->positional.push_back(read_postfix(read_primary()));
  }
  test.test = find_test(test.text);
  if (test.test == nullptr) note_unknown(line, "no test is named '" + test.text + "'");
  return is_negated ? make(Kind::logical_not, line, parts_of(std::move(test))) : std::move(test);
}

Expression ExpressionParser::read_filters_and_tests(Expression subject) {
  while (true) {
    if (is_mark("|")) {
      subject = read_filters(std::move(subject));
    } else if (is_word("is")) {
      subject = read_test(std::move(subject));
    } else if (is_mark("(")) {
      subject = read_call(std::move(subject));
    } else {
      return subject;
    }
  }
}

}  // namespace parkd::jinja
