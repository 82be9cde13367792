#include "lib/jinja/parser.h"

#include <algorithm>
#include <array>
#include <utility>

namespace parkd::jinja {

using Kind = Expression::Kind;

void ExpressionParser::fail_at(int line, std::string message) const {
  throw Fault{Fault::Kind::template_error, std::move(message), line};
}

void ExpressionParser::fail_depth() const {
  throw Fault{Fault::Kind::limit,
              "nests expressions or blocks deeper than " + std::to_string(limits_.syntax_depth_max),
              current().line};
}

std::string ExpressionParser::shown_current() const {
  switch (current().kind) {
    case Token::Kind::end:
      return "the end of the template";
    case Token::Kind::data:
      return "text";
    case Token::Kind::variable_begin:
      return "{{";
    case Token::Kind::variable_end:
      return "}}";
    case Token::Kind::block_begin:
      return "{%";
    case Token::Kind::block_end:
      return "%}";
    case Token::Kind::name:
    case Token::Kind::string:
    case Token::Kind::integer:
    case Token::Kind::real:
    case Token::Kind::mark:
      break;
  }
  return "'" + current().text.substr(0, 40) + "'";
}

bool ExpressionParser::take_mark(std::string_view mark) {
  if (!is_mark(mark)) return false;
  take();
  return true;
}

bool ExpressionParser::take_word(std::string_view word) {
  if (!is_word(word)) return false;
  take();
  return true;
}

void ExpressionParser::expect_mark(std::string_view mark) {
  if (!take_mark(mark)) {
    fail_at(current().line, "expected '" + std::string(mark) + "', got " + shown_current());
  }
}

void ExpressionParser::expect_word(std::string_view word) {
  if (!take_word(word)) {
    fail_at(current().line, "expected '" + std::string(word) + "', got " + shown_current());
  }
}

std::string ExpressionParser::expect_name() {
  if (current().kind != Token::Kind::name) {
    fail_at(current().line, "expected a name, got " + shown_current());
  }
  return take().text;
}

NameId ExpressionParser::name_id(const std::string& name) {
  const auto [found, is_new] = name_ids_.emplace(name, static_cast<NameId>(program_.names.size()));
  if (is_new) program_.names.push_back(name);
  return found->second;
}

void ExpressionParser::note_unknown(int line, std::string message) {
  unknown_.push_back({Fault::Kind::template_error, std::move(message), line});
}

Expression ExpressionParser::make(Kind kind, int line, std::vector<Expression> parts) const {
  Expression made;
  made.kind = kind;
  made.line = line;
  for (const Expression& part : parts) made.depth = std::max(made.depth, part.depth + 1);
  if (made.depth > limits_.syntax_depth_max) fail_depth();
  made.parts = std::move(parts);
  return made;
}

Expression ExpressionParser::read_one_target(bool with_spaces) {
  const Nested nested(*this);
  const int line = current().line;
  if (take_mark("(")) {
    Expression inner = read_target(")", with_spaces);
    expect_mark(")");
    return inner;
  }
  const std::string word = expect_name();
  static constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                                 "True", "False", "None"};
  if (std::find(kConstants.begin(), kConstants.end(), word) != kConstants.end()) {
    fail_at(line, "cannot assign to '" + word + "'");
  }
  Expression target = make(Kind::name, line, {});
  target.name = name_id(word);
  target.text = word;
  if (with_spaces && take_mark(".")) {
    target.kind = Kind::space_attribute;
    target.text = expect_name();
  }
  return target;
}

Expression ExpressionParser::read_target(std::string_view end, bool with_spaces) {
  const int line = current().line;
  std::vector<Expression> targets;
  bool is_tuple = false;
  while (true) {
    targets.push_back(read_one_target(with_spaces));
    if (!take_mark(",")) break;
    is_tuple = true;
    if ((!end.empty() && is_word(end)) || is_mark(end) || is_mark("=")) break;
  }
  if (!is_tuple) return std::move(targets.front());
  return make(Kind::tuple, line, std::move(targets));
}

std::unique_ptr<Arguments> ExpressionParser::read_arguments() {
  auto arguments = std::make_unique<Arguments>();
  const int line = current().line;
  const auto ensure = [&](bool is_in_order) {
    if (!is_in_order) fail_at(line, "the arguments of a call stand in a wrong order");
  };
  expect_mark("(");
  bool is_first = true;
  while (!is_mark(")")) {
    if (!is_first) expect_mark(",");
    if (is_mark(")")) break;
    is_first = false;
    if (take_mark("*")) {
      ensure(arguments->unpacked.empty() && arguments->unpacked_named.empty());
      arguments->unpacked.push_back(read_expression());
    } else if (take_mark("**")) {
      ensure(arguments->unpacked_named.empty());
      arguments->unpacked_named.push_back(read_expression());
    } else if (current().kind == Token::Kind::name && look().kind == Token::Kind::mark &&
               look().text == "=") {
      ensure(arguments->unpacked_named.empty());
      std::string word = take().text;
      take();
      for (const auto& [known, value] : arguments->named) {
        if (known == word) fail_at(line, "the argument '" + word + "' is given twice");
      }
      arguments->named.emplace_back(std::move(word), read_expression());
    } else {
      ensure(arguments->unpacked.empty() && arguments->unpacked_named.empty() &&
             arguments->named.empty());
      arguments->positional.push_back(read_expression());
    }
  }
  take();
  return arguments;
}

}  // namespace parkd::jinja
