#include "lib/jinja/value.h"

#include <algorithm>

namespace parkd::jinja {

namespace {

struct WhyObject : Object {
  std::string why;
};

}  // namespace

Value Value::undefined(std::string why) {
  Value made(Type::undefined);
  auto object = std::make_shared<WhyObject>();
  object->why = std::move(why);
  made.object_ = std::move(object);
  return made;
}

Value Value::boolean(bool value, Origin origin) {
  Value made(Type::boolean);
  made.integer_ = value ? 1 : 0;
  made.origin_ = origin;
  return made;
}

Value Value::integer(int64_t value, Origin origin) {
  Value made(Type::integer);
  made.integer_ = value;
  made.origin_ = origin;
  return made;
}

Value Value::real(double value, Origin origin) {
  Value made(Type::real);
  made.real_ = value;
  made.origin_ = origin;
  return made;
}

Value Value::large_integer(double value, std::string digits, Origin origin) {
  Value made = real(value, origin);
  auto object = std::make_shared<TextObject>();
  object->text = Text(std::move(digits), origin);
  made.object_ = std::move(object);
  return made;
}

std::string_view Value::exact_digits() const {
  if (type_ != Type::real || object_ == nullptr) return {};
  return static_cast<const TextObject*>(object_.get())->text.bytes();
}

Value Value::text(Text text) {
  Value made(Type::text);
  auto object = std::make_shared<TextObject>();
  object->text = std::move(text);
  made.object_ = std::move(object);
  return made;
}

Value Value::sequence(Type type, std::vector<Value> items) {
  Value made(type);
  auto object = std::make_shared<Sequence>();
  for (const Value& item : items) {
    object->depth = std::max(object->depth, item.depth() + 1);
    object->origin = both(object->origin, item.origin());
  }
  object->items = std::move(items);
  made.object_ = std::move(object);
  return made;
}

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  Value made(Type::dict);
  auto object = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) {
    object->depth = std::max({object->depth, key.depth() + 1, value.depth() + 1});
    object->origin = both(object->origin, both(key.origin(), value.origin()));
  }
  object->entries = std::move(entries);
  made.object_ = std::move(object);
  return made;
}

Value Value::object(Type type, std::shared_ptr<Object> object) {
  Value made(type);
  made.object_ = std::move(object);
  return made;
}

const Text& Value::as_text() const {
  return static_cast<const TextObject*>(object_.get())->text;
}

const Sequence& Value::as_sequence() const {
  return *static_cast<const Sequence*>(object_.get());
}

const Dict& Value::as_dict() const {
  return *static_cast<const Dict*>(object_.get());
}

Space& Value::as_space() const {
  return *static_cast<Space*>(object_.get());
}

Loop& Value::as_loop() const {
  return *static_cast<Loop*>(object_.get());
}

std::string Value::why_undefined() const {
  if (object_ == nullptr) return "the value is undefined";
  return static_cast<const WhyObject*>(object_.get())->why;
}

Origin Value::origin() const {
  if (is_text()) return as_text().origin();
  if (is_sequence()) return as_sequence().origin;
  if (is_dict()) return as_dict().origin;
  return origin_;
}

bool is_true(const Value& value) {
  switch (value.type()) {
    case Type::undefined:
    case Type::none:
      return false;
    case Type::boolean:
    case Type::integer:
      return value.as_integer() != 0;
    case Type::real:
      return value.as_real() != 0;
    case Type::text:
      return !value.as_text().empty();
    case Type::list:
    case Type::tuple:
    case Type::range:
    case Type::view:
      return !value.as_sequence().items.empty();
    case Type::dict:
      return !value.as_dict().entries.empty();
    case Type::generator:
    case Type::space:
    case Type::function:
    case Type::loop:
      return true;
  }
  return false;
}

std::string_view type_name(const Value& value) {
  switch (value.type()) {
    case Type::undefined:
      return "Undefined";
    case Type::none:
      return "NoneType";
    case Type::boolean:
      return "bool";
    case Type::integer:
      return "int";
    case Type::real:
      return "float";
    case Type::text:
      return "str";
    case Type::list:
      return "list";
    case Type::tuple:
      return "tuple";
    case Type::range:
      return "range";
    case Type::view:
      return value.as_sequence().view_name;
    case Type::generator:
      return "generator";
    case Type::dict:
      return "dict";
    case Type::space:
      return "Namespace";
    case Type::function:
      return "function";
    case Type::loop:
      return "LoopContext";
  }
  return "object";
}

}  // namespace parkd::jinja
