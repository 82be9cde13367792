// Reads a template's tokens into a Program. Expressions and statements are two classes in two
// files; this is what they share. One thread.
//
// Not supported, and refused by name: include, import, from, extends, block, autoescape, recursive
// loops. An unknown filter or test is refused at once, inside of an `if` when it is reached: as
// Jinja has it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/jinja/lexer.h"
#include "lib/jinja/syntax.h"

namespace parkd::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, const Limits& limits)
      : tokens_(std::move(tokens)), limits_(limits) {}

 protected:
  enum class Conditional { read, leave };  // "a if b else c"
  Expression read_expression(Conditional conditional = Conditional::read);
  // One expression, or several with commas between them, which are a tuple. `end` is a word that
  // ends it besides a tag's end.
  Expression read_tuple(Conditional conditional, std::string_view end);
  // A name, names with commas, and where `with_spaces` says so name.attribute.
  Expression read_target(std::string_view end, bool with_spaces);
  Expression read_one_target(bool with_spaces);
  std::unique_ptr<Arguments> read_arguments();
  // "| filter | filter" behind `subject`.
  Expression read_filters(Expression subject);
  // "filter", without a | before it.
  Expression read_one_filter(Expression subject);

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() {
    Token token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool is_mark(std::string_view mark) const {
    return current().kind == Token::Kind::mark && current().text == mark;
  }
  bool is_word(std::string_view word) const {
    return current().kind == Token::Kind::name && current().text == word;
  }
  bool take_mark(std::string_view mark);
  bool take_word(std::string_view word);
  void expect_mark(std::string_view mark);
  void expect_word(std::string_view word);
  std::string expect_name();
  NameId name_id(const std::string& name);
  [[noreturn]] void fail_at(int line, std::string message) const;
  std::string shown_current() const;

  // Counts nesting of the parser's own calls.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.limits_.syntax_depth_max) parser_.fail_depth();
    }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    ~Nested() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };

  Program program_;
  // Filters and tests that do not exist, where nothing conditional stands around them.
  std::vector<Fault> unknown_;

 private:
  void note_unknown(int line, std::string message);
  [[noreturn]] void fail_depth() const;
  Expression make(Expression::Kind kind, int line, std::vector<Expression> parts) const;
  Expression read_conditional();
  Expression read_or();
  Expression read_and();
  Expression read_not();
  Expression read_compare();
  Expression read_sum();
  Expression read_concat();
  Expression read_product();
  Expression read_power();
  Expression read_unary(bool with_filters);
  Expression read_primary();
  Expression read_list();
  Expression read_dict();
  Expression read_postfix(Expression subject);
  Expression read_subscript(Expression subject);
  Expression read_call(Expression subject);
  Expression read_filters_and_tests(Expression subject);
  Expression read_test(Expression subject);
  // Reads "a op b op c" of one level.
  template <class Next, class Find>
  Expression read_chain(Expression::Kind kind, Next next, Find find);

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t depth_ = 0;
  const Limits& limits_;
  std::unordered_map<std::string, NameId> name_ids_;
};

class StatementParser final : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;
  // Throws Fault.
  Program read();

 private:
  // Statements until a block that starts with one of the words, which stays; none: to the end.
  Block read_block(const std::vector<std::string_view>& ends);
  // The same behind a tag's end, and the end tag is passed over.
  Block read_body(std::string_view end);
  void end_tag();
  Statement read_statement();
  Statement read_if();
  Statement read_for();
  Statement read_set();
  Statement read_macro();
  Statement read_call_block();
  Statement read_filter_block();
  Statement read_with();
  std::vector<Parameter> read_parameters();

  int n_loops_ = 0;  // loops around the place
};

}  // namespace parkd::jinja
