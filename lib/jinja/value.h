// Value: what a Jinja expression yields, with Python's types.
//
// Copies share what they point to. Texts, lists and dicts never change once made; only a namespace,
// a loop and what a generator has left do. Values of one render belong to its thread; those that
// hold no namespace, loop or generator may be shared between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/jinja/budget.h"
#include "lib/jinja/text.h"

namespace parkd::jinja {

enum class Type : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  list,
  tuple,
  range,
  view,       // dict.keys(), .values(), .items()
  generator,  // what map, selectattr and the like give: to be walked over once
  dict,
  space,     // namespace()
  function,  // a macro, a function, a method of a value
  loop,
};

class Value;
struct Object {};  // what a Value may point to; which one its type says
struct Sequence;
struct Dict;
struct Space;
struct Function;
struct Loop;

class Value {
 public:
  Value() = default;  // undefined, without a name
  // An undefined value, and what its use is refused with: "'x' is undefined".
  static Value undefined(std::string why);
  static Value none() { return Value(Type::none); }
  // A number is printed as text of its origin.
  static Value boolean(bool value, Origin origin = Origin::literal);
  static Value integer(int64_t value, Origin origin = Origin::literal);
  static Value real(double value, Origin origin = Origin::literal);
  // A whole number beyond int64: reckoned as `value`, printed as `digits`.
  static Value large_integer(double value, std::string digits, Origin origin);
  static Value text(Text text);
  static Value text(std::string bytes, Origin origin) {
    return text(Text(std::move(bytes), origin));
  }
  static Value list(std::vector<Value> items) { return sequence(Type::list, std::move(items)); }
  static Value sequence(Type type, std::vector<Value> items);
  // Keys are unlike each other.
  static Value dict(std::vector<std::pair<Value, Value>> entries);
  static Value object(Type type, std::shared_ptr<Object> object);

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_undefined() const { return type_ == Type::undefined; }
  bool is_none() const { return type_ == Type::none; }
  bool is_text() const { return type_ == Type::text; }
  bool is_dict() const { return type_ == Type::dict; }
  // bool counts as int, as in Python.
  bool is_integral() const { return type_ == Type::integer || type_ == Type::boolean; }
  bool is_number() const { return is_integral() || type_ == Type::real; }
  bool is_sequence() const { return type_ >= Type::list && type_ <= Type::generator; }

  // Each requires the type.
  bool as_bool() const { return integer_ != 0; }
  int64_t as_integer() const { return integer_; }
  double as_real() const { return type_ == Type::real ? real_ : static_cast<double>(integer_); }
  std::string_view exact_digits() const;  // of a large_integer, else empty
  const Text& as_text() const;
  const std::string& as_bytes() const { return as_text().bytes(); }
  const Sequence& as_sequence() const;
  const Dict& as_dict() const;
  Space& as_space() const;
  const Function& as_function() const;
  Loop& as_loop() const;
  std::string why_undefined() const;

  // Of what a number is printed as; of a list or dict, whether content is in it.
  Origin origin() const;
  const Object* identity() const { return object_.get(); }
  const std::shared_ptr<Object>& shared() const { return object_; }
  // How deep values stand inside of each other in it, those that a method or a loop holds too: 0
  // for none. A namespace ends it: what it holds is given back for itself.
  size_t depth() const;

 private:
  explicit Value(Type type) : type_(type) {}

  Type type_ = Type::undefined;
  Origin origin_ = Origin::literal;
  union {
    int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

struct TextObject : Object {
  Text text;
};

struct Sequence : Object {
  std::vector<Value> items;
  size_t depth = 1;
  Origin origin = Origin::literal;
  mutable bool is_consumed = false;  // of a generator
  std::string_view view_name{};      // dict_keys, dict_values, dict_items
};

struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  size_t depth = 1;
  Origin origin = Origin::literal;
};

// Its values are given back when the render ends: a namespace may hold itself.
struct Space : Object {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Loop : Object {
  std::shared_ptr<const Sequence> items;
  std::vector<Value> filtered;  // the items, where a filter left some out
  size_t depth = 1;
  size_t index0 = 0;
  std::optional<Value> last_checked;  // loop.changed
  bool is_over = false;
  const std::vector<Value>& all() const { return items ? items->items : filtered; }
};

bool is_true(const Value& value);
// Python's name: "str", "NoneType".
std::string_view type_name(const Value& value);

}  // namespace parkd::jinja
