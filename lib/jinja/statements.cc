// What each statement does.
#include "lib/jinja/evaluator.h"
#include "lib/jinja/lookup.h"

namespace parkd::jinja {
namespace {

// `loop` of one for: what it was asked about is dropped with it, for it may hold the loop itself.
class LoopGuard {
 public:
  explicit LoopGuard(Loop& loop) : loop_(loop) {}
  LoopGuard(const LoopGuard&) = delete;
  LoopGuard& operator=(const LoopGuard&) = delete;
  ~LoopGuard() {
    loop_.is_over = true;
    loop_.last_checked.reset();
  }

 private:
  Loop& loop_;
};

}  // namespace

Evaluator::Flow Evaluator::execute(const Block& block) {
  for (const Statement& statement : block) {
    const Flow flow = execute(statement);
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::execute(const Statement& statement) {
  runtime_.budget.step();
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::Kind::text:
      emit(statement.value.constant.as_text());
      return Flow::on;
    case Statement::Kind::output:
      emit(evaluate(statement.value));
      return Flow::on;
    case Statement::Kind::branches:
      return execute_branches(statement);
    case Statement::Kind::loop:
      return execute_loop(statement);
    case Statement::Kind::set:
      assign(statement.target, evaluate(statement.value));
      return Flow::on;
    case Statement::Kind::set_block:
      assign(statement.target, through_filters(statement.value, captured(statement.body)));
      return Flow::on;
    case Statement::Kind::macro:
      put(*current_, statement.macro->name, make_macro(*statement.macro));
      return Flow::on;
    case Statement::Kind::call_block:
      execute_call_block(statement);
      return Flow::on;
    case Statement::Kind::filter_block:
      emit(through_filters(statement.value, captured(statement.body)));
      return Flow::on;
    case Statement::Kind::with:
      execute_with(statement);
      return Flow::on;
    case Statement::Kind::scope:
      return execute_scope(statement.body);
    case Statement::Kind::break_loop:
      return Flow::stop_loop;
    case Statement::Kind::continue_loop:
      return Flow::next_turn;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::execute_branches(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (is_true(evaluate(branch.test))) {
      const Budget::Level level(runtime_.budget);
      return execute(branch.body);
    }
  }
  if (statement.otherwise.empty()) return Flow::on;
  const Budget::Level level(runtime_.budget);
  return execute(statement.otherwise);
}

std::vector<Value> Evaluator::filtered_items(const Statement& statement,
                                             const std::vector<Value>& items) {
  std::vector<Value> kept;
  Scope* const outer = current_;
  for (const Value& item : items) {
    Scope* const scope = enter(outer);
    current_ = scope;
    assign(statement.target, item);
    if (is_true(evaluate(*statement.filter))) kept.push_back(item);
    current_ = outer;
    leave(scope);
  }
  runtime_.charge_items(kept.size());
  return kept;
}

Evaluator::Flow Evaluator::execute_loop(const Statement& statement) {
  const Budget::Level level(runtime_.budget);
  const Value over = evaluate(statement.value);
  const auto loop = std::make_shared<Loop>();
  const LoopGuard guard(*loop);
  loop->items = items_of(runtime_, over);
  loop->depth = over.depth() + 1;
  if (statement.filter) {
    loop->filtered = filtered_items(statement, loop->items->items);
    loop->items = nullptr;
  }
  const std::vector<Value>& items = loop->all();
  if (items.empty()) return execute_scope(statement.otherwise);
  const Value shown = Value::object(Type::loop, loop);
  Scope* const outer = current_;
  for (size_t i = 0; i < items.size(); ++i) {
    runtime_.budget.step();
    loop->index0 = i;
    Scope* const scope = enter(outer);
    current_ = scope;
    if (loop_name_) put(*scope, *loop_name_, shown);
    assign(statement.target, items[i]);
    const Flow flow = execute(statement.body);
    current_ = outer;
    leave(scope);
    if (flow == Flow::stop_loop) break;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::execute_scope(const Block& block) {
  if (block.empty()) return Flow::on;
  const Budget::Level level(runtime_.budget);
  Scope* const outer = current_;
  Scope* const scope = enter(outer);
  current_ = scope;
  const Flow flow = execute(block);
  current_ = outer;
  leave(scope);
  return flow;
}

void Evaluator::execute_with(const Statement& statement) {
  const Budget::Level level(runtime_.budget);
  Scope* const outer = current_;
  Scope* const scope = enter(outer);
  for (const auto& [target, expression] : statement.assignments) {
    const Value value = evaluate(expression);
    current_ = scope;
    assign(target, value);
    current_ = outer;
  }
  current_ = scope;
  execute(statement.body);
  current_ = outer;
  leave(scope);
}

Text Evaluator::captured(const Block& block) {
  Text written;
  Text* const out = std::exchange(out_, &written);
  execute_scope(block);
  out_ = out;
  return written;
}

Value Evaluator::through_filters(const Expression& filters, Text captured) {
  const Value text = runtime_.text(std::move(captured));
  const Value* const outer = std::exchange(captured_, &text);
  Value value = evaluate(filters);
  captured_ = outer;
  return value;
}

void Evaluator::execute_call_block(const Statement& statement) {
  const Value caller = make_macro(*statement.macro);
  emit(evaluate_call(statement.value, &caller));
}

}  // namespace parkd::jinja
