#include <array>
#include <utility>

#include "lib/jinja/parser.h"

namespace parkd::jinja {

using Kind = Statement::Kind;

Program StatementParser::read() {
  program_.body = read_block({});
  if (!unknown_.empty()) throw unknown_.front();
  return std::move(program_);
}

void StatementParser::end_tag() {
  if (current().kind != Token::Kind::block_end) {
    fail_at(current().line, "expected the end of the tag, got " + shown_current());
  }
  take();
}

Block StatementParser::read_block(const std::vector<std::string_view>& ends) {
  const Nested nested(*this);
  Block block;
  while (current().kind != Token::Kind::end) {
    const int line = current().line;
    Statement made;
    made.line = line;
    if (current().kind == Token::Kind::data) {
      made.value.constant = Value::text(take().text, Origin::literal);
    } else if (current().kind == Token::Kind::variable_begin) {
      take();
      made.kind = Kind::output;
      made.value = read_tuple(Conditional::read, {});
      if (current().kind != Token::Kind::variable_end) {
        fail_at(current().line, "expected }}, got " + shown_current());
      }
      take();
    } else {
      take();
      if (current().kind != Token::Kind::name) {
        fail_at(current().line, "expected the name of a tag, got " + shown_current());
      }
      for (const std::string_view end : ends) {
        if (is_word(end)) return block;
      }
      made = read_statement();
      made.line = line;
      end_tag();
    }
    block.push_back(std::move(made));
  }
  if (!ends.empty()) {
    std::string words;
    for (const std::string_view end : ends)
      words += (words.empty() ? "" : " or ") + std::string(end);
    fail_at(current().line, "the template ends where " + words + " is missing");
  }
  return block;
}

Block StatementParser::read_body(std::string_view end) {
  end_tag();
  Block block = read_block({end});
  take();
  return block;
}

Statement StatementParser::read_statement() {
  static constexpr std::array<std::string_view, 6> kUnsupported = {
      "include", "import", "from", "extends", "block", "autoescape"};
  const int line = current().line;
  const std::string word = current().text;
  if (word == "if") return read_if();
  if (word == "for") return read_for();
  if (word == "set") return read_set();
  if (word == "macro") return read_macro();
  if (word == "call") return read_call_block();
  if (word == "filter") return read_filter_block();
  if (word == "with") return read_with();
  if (word == "generation") {  // marks what an assistant wrote, for training
    take();
    Statement made;
    made.kind = Kind::scope;
    made.body = read_body("endgeneration");
    return made;
  }
  if (word == "break" || word == "continue") {
    if (n_loops_ == 0) fail_at(line, "'" + word + "' stands outside of a loop");
    take();
    Statement made;
    made.kind = word == "break" ? Kind::break_loop : Kind::continue_loop;
    return made;
  }
  for (const std::string_view unsupported : kUnsupported) {
    if (word == unsupported) fail_at(line, "the tag '" + word + "' is not supported");
  }
  fail_at(line, "unknown tag '" + word.substr(0, 40) + "'");
}

Statement StatementParser::read_if() {
  Statement made;
  made.kind = Kind::branches;
  const size_t n_unknown = unknown_.size();
  while (true) {
    take();  // if, elif
    Branch branch;
    branch.test = read_tuple(Conditional::leave, {});
    end_tag();
    branch.body = read_block({"elif", "else", "endif"});
    made.branches.push_back(std::move(branch));
    if (!is_word("elif")) break;
  }
  if (take_word("else")) {
    end_tag();
    made.otherwise = read_block({"endif"});
  }
  take();
  unknown_.resize(n_unknown);
  return made;
}

Statement StatementParser::read_for() {
  take();
  Statement made;
  made.kind = Kind::loop;
  made.target = read_target("in", false);
  expect_word("in");
  made.value = read_tuple(Conditional::leave, "recursive");
  if (take_word("if")) made.filter = read_expression();
  if (is_word("recursive")) fail_at(current().line, "recursive loops are not supported");
  end_tag();
  ++n_loops_;
  made.body = read_block({"endfor", "else"});
  --n_loops_;
  if (take_word("else")) {
    end_tag();
    made.otherwise = read_block({"endfor"});
  }
  take();
  return made;
}

Statement StatementParser::read_set() {
  take();
  Statement made;
  made.target = read_target({}, true);
  if (take_mark("=")) {
    made.kind = Kind::set;
    made.value = read_tuple(Conditional::read, {});
    return made;
  }
  made.kind = Kind::set_block;
  Expression captured;
  captured.kind = Expression::Kind::captured;
  captured.line = current().line;
  made.value = read_filters(std::move(captured));
  made.body = read_body("endset");
  return made;
}

std::vector<Parameter> StatementParser::read_parameters() {
  std::vector<Parameter> parameters;
  expect_mark("(");
  while (!is_mark(")")) {
    if (!parameters.empty()) expect_mark(",");
    if (is_mark(")")) break;
    const int line = current().line;
    Parameter parameter;
    parameter.word = expect_name();
    parameter.name = name_id(parameter.word);
    if (take_mark("=")) {
      parameter.otherwise = read_expression();
    } else if (!parameters.empty() && parameters.back().otherwise) {
      fail_at(line, "a parameter without default stands behind one with a default");
    }
    parameters.push_back(std::move(parameter));
  }
  take();
  return parameters;
}

Statement StatementParser::read_macro() {
  take();
  Statement made;
  made.kind = Kind::macro;
  made.macro = std::make_unique<Macro>();
  made.macro->word = expect_name();
  made.macro->name = name_id(made.macro->word);
  made.macro->parameters = read_parameters();
  const int n_loops = std::exchange(n_loops_, 0);
  made.macro->body = read_body("endmacro");
  n_loops_ = n_loops;
  return made;
}

Statement StatementParser::read_call_block() {
  take();
  Statement made;
  made.kind = Kind::call_block;
  made.macro = std::make_unique<Macro>();
  made.macro->word = "caller";
  made.macro->name = name_id(made.macro->word);
  if (is_mark("(")) made.macro->parameters = read_parameters();
  made.value = read_expression();
  if (made.value.kind != Expression::Kind::call) {
    fail_at(made.value.line, "expected a call behind {% call %}");
  }
  const int n_loops = std::exchange(n_loops_, 0);
  made.macro->body = read_body("endcall");
  n_loops_ = n_loops;
  return made;
}

Statement StatementParser::read_filter_block() {
  const int line = take().line;
  Statement made;
  made.kind = Kind::filter_block;
  Expression captured;
  captured.kind = Expression::Kind::captured;
  captured.line = line;
  made.value = read_filters(read_one_filter(std::move(captured)));
  made.body = read_body("endfilter");
  return made;
}

Statement StatementParser::read_with() {
  take();
  Statement made;
  made.kind = Kind::with;
  while (current().kind != Token::Kind::block_end) {
    if (!made.assignments.empty()) expect_mark(",");
    Expression target = read_target("=", false);
    expect_mark("=");
    made.assignments.emplace_back(std::move(target), read_expression());
  }
  made.body = read_body("endwith");
  return made;
}

}  // namespace parkd::jinja
