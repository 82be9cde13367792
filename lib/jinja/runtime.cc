#include "lib/jinja/runtime.h"

#include <algorithm>

namespace parkd::jinja {

Value Runtime::text(Text text) {
  budget.make(text.footprint() + sizeof(TextObject));
  return Value::text(std::move(text));
}

void Runtime::charge_items(size_t n_items) {
  budget.check_items(n_items);
  budget.make(n_items * sizeof(Value));
}

Value Runtime::sequence(Type type, std::vector<Value> items) {
  charge_items(items.size());
  Value made = Value::sequence(type, std::move(items));
  budget.check_values_depth(made.depth());
  return made;
}

Value Runtime::dict(std::vector<std::pair<Value, Value>> entries) {
  charge_items(entries.size() * 2);
  Value made = Value::dict(std::move(entries));
  budget.check_values_depth(made.depth());
  return made;
}

Value Runtime::space() {
  budget.make(sizeof(Space));
  spaces_.push_back(std::make_shared<Space>());
  return Value::object(Type::space, spaces_.back());
}

const Function& Value::as_function() const {
  return *static_cast<const Function*>(object_.get());
}

size_t Value::depth() const {
  if (is_sequence()) return as_sequence().depth;
  if (is_dict()) return as_dict().depth;
  if (is(Type::loop)) return as_loop().depth;
  if (is(Type::function)) return as_function().self.depth() + 1;
  return 0;
}

Value native_function(std::string_view name, NativeFunction native, Value self) {
  auto function = std::make_shared<Function>();
  function->name = name;
  function->native = native;
  function->self = std::move(self);
  return Value::object(Type::function, std::move(function));
}

Bound::Bound(std::string_view callee, const CallArguments& arguments,
             std::initializer_list<std::string_view> parameters, size_t n_required)
    : callee_(callee) {
  const std::string name(callee);
  std::copy(parameters.begin(), parameters.end(), words_);
  if (arguments.positional.size() > parameters.size()) {
    fail(name + " takes at most " + std::to_string(parameters.size()) + " arguments (" +
         std::to_string(arguments.positional.size()) + " given)");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) given_[i] = &arguments.positional[i];
  for (const auto& [word, value] : arguments.named) {
    const auto known = std::find(parameters.begin(), parameters.end(), word);
    if (known == parameters.end()) {
      fail(name + " has no argument '" + std::string(word.substr(0, 40)) + "'");
    }
    const auto i = static_cast<size_t>(known - parameters.begin());
    if (given_[i] != nullptr) fail(name + " got two values for '" + std::string(word) + "'");
    given_[i] = &value;
  }
  for (size_t i = 0; i < n_required; ++i) {
    if (given_[i] == nullptr) fail(name + " needs the argument '" + std::string(words_[i]) + "'");
  }
}

void Bound::fail_type(size_t i, std::string_view must) const {
  fail(std::string(callee_) + ": the argument '" + std::string(words_[i]) + "' is " +
       std::string(type_name(value(i))) + "; it must be " + std::string(must));
}

bool Bound::flag(size_t i, bool otherwise) const {
  return given_[i] == nullptr ? otherwise : is_true(value(i));
}

int64_t Bound::integer(size_t i, int64_t otherwise) const {
  if (given_[i] == nullptr || value(i).is_none()) return otherwise;
  if (!value(i).is_integral()) fail_type(i, "int");
  return value(i).as_integer();
}

const Text& Bound::text(size_t i) const {
  if (!value(i).is_text()) fail_type(i, "str");
  return value(i).as_text();
}

}  // namespace parkd::jinja
