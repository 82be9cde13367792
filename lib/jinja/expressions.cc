// What each expression yields.
#include <algorithm>

#include "lib/jinja/compare.h"
#include "lib/jinja/evaluator.h"
#include "lib/jinja/filters.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/methods.h"
#include "lib/jinja/operators.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/tests.h"

namespace parkd::jinja {

using Kind = Expression::Kind;

Value Evaluator::evaluate(const Expression& expression) {
  runtime_.budget.step();
  if (expression.kind == Kind::constant) return expression.constant;
  if (expression.kind == Kind::name) return evaluate_name(expression);
  const Budget::Level level(runtime_.budget);
  line_ = expression.line;
  switch (expression.kind) {
    case Kind::constant:
    case Kind::name:
    case Kind::space_attribute:
      return evaluate_name(expression);
    case Kind::captured:
      return *captured_;
    case Kind::list:
    case Kind::tuple:
      return evaluate_items(expression);
    case Kind::dict:
      return evaluate_dict(expression);
    case Kind::attribute:
      return get_attribute(runtime_, evaluate(expression.parts[0]), expression.text);
    case Kind::item: {
      const Value value = evaluate(expression.parts[0]);
      return get_item(runtime_, value, evaluate(expression.parts[1]));
    }
    case Kind::slice:
      return evaluate_slice(expression);
    case Kind::call:
      return evaluate_call(expression, nullptr);
    case Kind::filter:
      return evaluate_filter(expression);
    case Kind::test:
      return evaluate_test(expression);
    case Kind::logical_not:
      return Value::boolean(!is_true(evaluate(expression.parts[0])));
    case Kind::negative:
      return negate(evaluate(expression.parts[0]));
    case Kind::positive:
      return negate(negate(evaluate(expression.parts[0])));
    case Kind::arithmetic:
      return evaluate_arithmetic(expression);
    case Kind::compare:
      return evaluate_compare(expression);
    case Kind::concat:
      return evaluate_concat(expression);
    case Kind::logical_and:
      return evaluate_logical(expression, false);
    case Kind::logical_or:
      return evaluate_logical(expression, true);
    case Kind::conditional:
      return evaluate_conditional(expression);
  }
  return {};
}

Value Evaluator::evaluate_name(const Expression& expression) {
  for (const Scope* scope = current_; scope != nullptr; scope = scope->parent) {
    runtime_.budget.step(static_cast<int64_t>(scope->variables.size() / 32));
    for (const auto& [name, value] : scope->variables) {
      if (name == expression.name) return value;
    }
  }
  return Value::undefined("'" + program_.names[expression.name] + "' is undefined");
}

Value Evaluator::evaluate_items(const Expression& expression) {
  std::vector<Value> items;
  items.reserve(expression.parts.size());
  for (const Expression& part : expression.parts) items.push_back(evaluate(part));
  return runtime_.sequence(expression.kind == Kind::list ? Type::list : Type::tuple,
                           std::move(items));
}

Value Evaluator::evaluate_dict(const Expression& expression) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < expression.parts.size(); i += 2) {
    Value key = evaluate(expression.parts[i]);
    Value value = evaluate(expression.parts[i + 1]);
    if (key.is(Type::list) || key.is_dict()) {
      fail("unhashable type: '" + std::string(type_name(key)) + "'");
    }
    const auto known = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
      return is_equal(runtime_, entry.first, key);
    });
    if (known != entries.end()) {
      known->second = std::move(value);
    } else {
      entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return runtime_.dict(std::move(entries));
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value value = evaluate(expression.parts[0]);
  const Value first = evaluate(expression.parts[1]);
  const Value last = evaluate(expression.parts[2]);
  return get_slice(runtime_, value, first, last, evaluate(expression.parts[3]));
}

Value Evaluator::evaluate_arithmetic(const Expression& expression) {
  Value value = evaluate(expression.parts[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    const Value right = evaluate(expression.parts[i + 1]);
    line_ = expression.line;
    value = apply(runtime_, expression.operators[i], value, right);
  }
  return value;
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(expression.parts[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(expression.parts[i + 1]);
    if (!compare(runtime_, expression.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::evaluate_concat(const Expression& expression) {
  Text out;
  for (const Expression& part : expression.parts) {
    const Value value = evaluate(part);
    if (value.is_text()) {
      runtime_.budget.make(value.as_text().footprint());
      out.append(value.as_text());
    } else {
      out.append(str_of(runtime_, value));
    }
  }
  return runtime_.text(std::move(out));
}

Value Evaluator::evaluate_logical(const Expression& expression, bool stops_at) {
  Value value;
  for (const Expression& part : expression.parts) {
    value = evaluate(part);
    if (is_true(value) == stops_at) break;
  }
  return value;
}

Value Evaluator::evaluate_conditional(const Expression& expression) {
  if (is_true(evaluate(expression.parts[1]))) return evaluate(expression.parts[0]);
  if (expression.parts.size() > 2) return evaluate(expression.parts[2]);
  return Value::undefined("the inline if-expression on line " + std::to_string(expression.line) +
                          " evaluated to false and no else section was defined.");
}

Value Evaluator::evaluate_filter(const Expression& expression) {
  const Value subject = evaluate(expression.parts[0]);
  if (expression.filter == nullptr) fail("no filter is named '" + expression.text + "'");
  const CallArguments arguments = evaluate_arguments(expression.arguments.get());
  line_ = expression.line;
  return expression.filter->call(runtime_, subject, arguments);
}

Value Evaluator::evaluate_test(const Expression& expression) {
  const Value subject = evaluate(expression.parts[0]);
  if (expression.test == nullptr) fail("no test is named '" + expression.text + "'");
  const CallArguments arguments = evaluate_arguments(expression.arguments.get());
  line_ = expression.line;
  return Value::boolean(expression.test->call(runtime_, subject, arguments));
}

void Evaluator::unpack_arguments(const Arguments& arguments, CallArguments& out) {
  for (const Expression& unpacked : arguments.unpacked) {
    const auto items = items_of(runtime_, evaluate(unpacked));
    runtime_.charge_items(items->items.size());
    out.positional.insert(out.positional.end(), items->items.begin(), items->items.end());
  }
  for (const Expression& unpacked : arguments.unpacked_named) {
    const Value dict = evaluate(unpacked);
    if (!dict.is_dict()) fail("what stands behind ** is " + std::string(type_name(dict)));
    for (const auto& [key, value] : dict.as_dict().entries) {
      if (!key.is_text()) fail("the names of arguments are texts");
      runtime_.charge_items(1);
      out.names = both(out.names, key.origin());
      words_.push_back(key.as_bytes());
      out.named.emplace_back(words_.back(), value);
    }
  }
}

CallArguments Evaluator::evaluate_arguments(const Arguments* arguments) {
  CallArguments out;
  if (arguments == nullptr) return out;
  out.positional.reserve(arguments->positional.size());
  for (const Expression& argument : arguments->positional) {
    out.positional.push_back(evaluate(argument));
  }
  for (const auto& [word, argument] : arguments->named) {
    out.named.emplace_back(word, evaluate(argument));
  }
  if (!arguments->unpacked.empty() || !arguments->unpacked_named.empty()) {
    unpack_arguments(*arguments, out);
  }
  return out;
}

Value Evaluator::evaluate_call(const Expression& expression, const Value* caller) {
  const Expression& callee = expression.parts[0];
  Value function;
  const Method* method = nullptr;
  if (callee.kind == Kind::attribute) {  // a method of a value, without a Value for it
    function = evaluate(callee.parts[0]);
    method = find_method(function.type(), callee.text);
    if (method == nullptr) function = get_attribute(runtime_, function, callee.text);
  } else {
    function = evaluate(callee);
  }
  CallArguments arguments = evaluate_arguments(expression.arguments.get());
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  line_ = expression.line;
  if (method != nullptr) return method->call(runtime_, function, arguments);
  if (function.is_undefined()) fail_undefined(function);
  if (!function.is(Type::function)) {
    fail("'" + std::string(type_name(function)) + "' object is not callable");
  }
  const Function& called = function.as_function();
  if (called.native != nullptr) return called.native(runtime_, called.self, arguments);
  return call_macro(called, arguments);
}

}  // namespace parkd::jinja
