// Walks over a Program and writes what it renders. One render, one thread.
//
// Names are looked up from the innermost scope outwards and set in the innermost one, as Jinja's
// compiler resolves them: a loop's turn, a macro, a block that is captured and {% with %} have a
// scope of their own, an `if` has none. A macro sees the scope that it was defined in.
#pragma once

#include <deque>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/jinja/runtime.h"
#include "lib/jinja/syntax.h"

namespace parkd::jinja {

struct Scope {
  std::vector<std::pair<NameId, Value>> variables;
  Scope* parent = nullptr;
  bool is_kept = false;  // a macro was defined in it, or inside of it
};

class Evaluator {
 public:
  Evaluator(const Program& program, Runtime& runtime);

  // A variable of the whole template.
  void set(NameId name, Value value) { put(*root_, name, std::move(value)); }
  // Throws Fault; where, says line().
  Text run();
  int line() const { return line_; }

 private:
  enum class Flow { on, stop_loop, next_turn };

  // --- statements
  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow execute_branches(const Statement& statement);
  Flow execute_loop(const Statement& statement);
  Flow execute_scope(const Block& block);
  void execute_with(const Statement& statement);
  void execute_call_block(const Statement& statement);
  std::vector<Value> filtered_items(const Statement& statement, const std::vector<Value>& items);
  // What the block renders, as a text of its own.
  Text captured(const Block& block);
  // What the filters behind a captured block make of it.
  Value through_filters(const Expression& filters, Text captured);
  void emit(const Text& text);
  void emit(const Value& value);
  void assign(const Expression& target, const Value& value);

  // --- expressions
  Value evaluate(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_items(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_arithmetic(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_logical(const Expression& expression, bool stops_at);
  Value evaluate_conditional(const Expression& expression);
  Value evaluate_filter(const Expression& expression);
  Value evaluate_test(const Expression& expression);
  Value evaluate_call(const Expression& expression, const Value* caller);
  CallArguments evaluate_arguments(const Arguments* arguments);
  void unpack_arguments(const Arguments& arguments, CallArguments& out);

  // --- macros
  Value make_macro(const Macro& macro);
  Value call_macro(const Function& function, const CallArguments& arguments);

  // --- scopes
  Scope* enter(Scope* parent);
  void leave(Scope* scope);
  static void put(Scope& scope, NameId name, Value value);

  const Program& program_;
  Runtime& runtime_;
  std::deque<Scope> scopes_;
  std::vector<Scope*> free_scopes_;
  Scope* root_ = nullptr;
  Scope* current_ = nullptr;
  Text root_out_;
  Text* out_ = &root_out_;
  const Value* captured_ = nullptr;
  std::optional<NameId> loop_name_;
  std::optional<NameId> caller_name_;
  std::deque<std::string> words_;  // of **arguments
  int line_ = 0;
};

}  // namespace parkd::jinja
