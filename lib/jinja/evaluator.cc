#include "lib/jinja/evaluator.h"

#include <algorithm>

#include "lib/jinja/functions.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/python_text.h"

namespace parkd::jinja {

Evaluator::Evaluator(const Program& program, Runtime& runtime)
    : program_(program), runtime_(runtime) {
  scopes_.emplace_back();
  root_ = current_ = &scopes_.back();
  for (size_t i = 0; i < program.names.size(); ++i) {
    const std::string& name = program.names[i];
    const auto id = static_cast<NameId>(i);
    if (name == "loop") loop_name_ = id;
    if (name == "caller") caller_name_ = id;
    for (const NamedFunction& function : functions()) {
      if (function.name == name) {
        root_->variables.emplace_back(id, native_function(function.name, function.call, Value()));
      }
    }
  }
}

Text Evaluator::run() {
  Scope* scope = enter(root_);
  current_ = scope;
  execute(program_.body);
  return std::move(root_out_);
}

Scope* Evaluator::enter(Scope* parent) {
  if (free_scopes_.empty()) {
    runtime_.budget.make(sizeof(Scope));
    scopes_.emplace_back();
    free_scopes_.push_back(&scopes_.back());
  }
  Scope* scope = free_scopes_.back();
  free_scopes_.pop_back();
  scope->parent = parent;
  return scope;
}

void Evaluator::leave(Scope* scope) {
  if (scope->is_kept) return;
  scope->variables.clear();
  free_scopes_.push_back(scope);
}

void Evaluator::put(Scope& scope, NameId name, Value value) {
  for (auto& [known, old] : scope.variables) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  scope.variables.emplace_back(name, std::move(value));
}

Value Evaluator::make_macro(const Macro& macro) {
  for (Scope* scope = current_; scope != nullptr && !scope->is_kept; scope = scope->parent) {
    scope->is_kept = true;
  }
  auto function = std::make_shared<Function>();
  function->name = macro.word;
  function->macro = &macro;
  function->scope = current_;
  return Value::object(Type::function, std::move(function));
}

Value Evaluator::call_macro(const Function& function, const CallArguments& arguments) {
  const Macro& macro = *function.macro;
  const auto& parameters = macro.parameters;
  const Budget::Level level(runtime_.budget);
  if (arguments.positional.size() > parameters.size()) {
    fail("the macro '" + macro.word + "' takes at most " + std::to_string(parameters.size()) +
         " arguments (" + std::to_string(arguments.positional.size()) + " given)");
  }
  Scope* const scope = enter(function.scope);
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    put(*scope, parameters[i].name, arguments.positional[i]);
  }
  for (const auto& argument : arguments.named) {
    const std::string_view word = argument.first;
    const Value& value = argument.second;
    const auto known = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const Parameter& of) { return of.word == word; });
    if (known == parameters.end()) {
      if (word == "caller" && caller_name_) {
        put(*scope, *caller_name_, value);
        continue;
      }
      fail("the macro '" + macro.word + "' has no argument '" + std::string(word.substr(0, 40)) +
           "'");
    }
    if (known - parameters.begin() < static_cast<ptrdiff_t>(arguments.positional.size())) {
      fail("the macro '" + macro.word + "' got two values for '" + std::string(word) + "'");
    }
    put(*scope, known->name, value);
  }
  Scope* const outer = std::exchange(current_, scope);
  const int line = line_;
  for (size_t i = arguments.positional.size(); i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    if (std::any_of(arguments.named.begin(), arguments.named.end(),
                    [&](const auto& given) { return given.first == parameter.word; })) {
      continue;
    }
    put(*scope, parameter.name,
        parameter.otherwise
            ? evaluate(*parameter.otherwise)
            : Value::undefined("parameter '" + parameter.word + "' was not provided"));
  }
  Text written;
  Text* const out = std::exchange(out_, &written);
  execute(macro.body);
  out_ = out;
  current_ = outer;
  line_ = line;
  leave(scope);
  return runtime_.text(std::move(written));
}

void Evaluator::emit(const Text& text) {
  runtime_.budget.make(text.footprint());
  out_->append(text);
  if (out_ == &root_out_ && out_->size() > runtime_.budget.limits().output_bytes_max) {
    fail_limit("writes more than " + std::to_string(runtime_.budget.limits().output_bytes_max) +
               " bytes");
  }
}

void Evaluator::emit(const Value& value) {
  if (value.is_text()) {
    emit(value.as_text());
  } else {
    emit(str_of(runtime_, value));
  }
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == Expression::Kind::name) {
    put(*current_, target.name, value);
    return;
  }
  if (target.kind == Expression::Kind::space_attribute) {
    const Value space = evaluate_name(target);
    if (!space.is(Type::space)) fail("cannot assign an attribute of what is not a namespace");
    if (target.text[0] == '_') fail("a namespace has no attributes that begin with _");
    auto& attributes = space.as_space().attributes;
    const auto known = std::find_if(attributes.begin(), attributes.end(),
                                    [&](const auto& of) { return of.first == target.text; });
    if (known != attributes.end()) {
      known->second = value;
    } else {
      attributes.emplace_back(target.text, value);
    }
    return;
  }
  const auto items = items_of(runtime_, value);
  if (items->items.size() != target.parts.size()) {
    fail("cannot unpack " + std::to_string(items->items.size()) + " values into " +
         std::to_string(target.parts.size()) + " names");
  }
  for (size_t i = 0; i < target.parts.size(); ++i) assign(target.parts[i], items->items[i]);
}

}  // namespace parkd::jinja
