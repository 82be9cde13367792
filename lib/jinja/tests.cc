#include "lib/jinja/tests.h"

#include <algorithm>
#include <iterator>

#include "lib/jinja/compare.h"
#include "lib/jinja/filters.h"
#include "lib/jinja/operators.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/text_work.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

template <bool (*holds)(const Value&)>
bool plain(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("the test", arguments, {}, 0);
  return holds(self);
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_boolean(const Value& value) {
  return value.is(Type::boolean);
}
bool is_exactly_true(const Value& value) {
  return value.is(Type::boolean) && value.as_bool();
}
bool is_exactly_false(const Value& value) {
  return value.is(Type::boolean) && !value.as_bool();
}
bool is_integer(const Value& value) {
  return value.is(Type::integer) || !value.exact_digits().empty();
}
bool is_float(const Value& value) {
  return value.is(Type::real) && value.exact_digits().empty();
}
bool is_number(const Value& value) {
  return value.is_number();
}
bool is_string(const Value& value) {
  return value.is_text();
}
bool is_mapping(const Value& value) {
  return value.is_dict();
}
bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_sequence() || value.is_dict() ||
         value.is(Type::loop);
}
bool is_sequence(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_dict() || value.is(Type::list) ||
         value.is(Type::tuple) || value.is(Type::range);
}
bool is_callable(const Value& value) {
  return value.is(Type::function) || value.is(Type::loop) || value.is_undefined();
}
bool is_escaped(const Value& value) {
  return value.is_text() && value.as_text().is_markup();
}

template <Operator op>
bool compares(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("the test", arguments, {"other"}, 1);
  return compare(runtime, op, self, bound.value(0));
}

template <int rest>
bool has_rest(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("the test", arguments, {}, 0);
  return is_equal(runtime, apply(runtime, Operator::modulo, self, Value::integer(2)),
                  Value::integer(rest));
}

bool is_divisible_by(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("divisibleby", arguments, {"num"}, 1);
  return is_equal(runtime, apply(runtime, Operator::modulo, self, bound.value(0)),
                  Value::integer(0));
}

bool is_same_as(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("sameas", arguments, {"other"}, 1);
  const Value& other = bound.value(0);
  if (self.type() != other.type()) return false;
  if (self.identity() != nullptr && self.identity() == other.identity()) return true;
  const bool is_shared = self.is_sequence() || self.is_dict() || self.is(Type::space);
  return !is_shared && is_equal(runtime, self, other);
}

template <bool upper>
bool has_case(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("the test", arguments, {}, 0);
  const Text text = str_of(runtime, self);
  const Text other = upper ? with_upper(runtime, text) : with_lower(runtime, text);
  bool any_cased = false;
  for (size_t at = 0; at < text.size();) any_cased |= is_cased(next_code_point(text.bytes(), at));
  return any_cased && other.bytes() == text.bytes();
}

bool is_filter(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("filter", arguments, {}, 0);
  return self.is_text() && find_filter(self.as_bytes()) != nullptr;
}

bool is_test(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("test", arguments, {}, 0);
  return self.is_text() && find_test(self.as_bytes()) != nullptr;
}

constexpr Test kTests[] = {
    {"defined", plain<is_defined>},
    {"string", plain<is_string>},
    {"none", plain<is_none>},
    {"mapping", plain<is_mapping>},
    {"iterable", plain<is_iterable>},
    {"sequence", plain<is_sequence>},
    {"undefined", plain<is_undefined>},
    {"true", plain<is_exactly_true>},
    {"false", plain<is_exactly_false>},
    {"boolean", plain<is_boolean>},
    {"integer", plain<is_integer>},
    {"float", plain<is_float>},
    {"number", plain<is_number>},
    {"callable", plain<is_callable>},
    {"escaped", plain<is_escaped>},
    {"==", compares<Operator::equal>},
    {"eq", compares<Operator::equal>},
    {"equalto", compares<Operator::equal>},
    {"!=", compares<Operator::not_equal>},
    {"ne", compares<Operator::not_equal>},
    {"<", compares<Operator::less>},
    {"lt", compares<Operator::less>},
    {"lessthan", compares<Operator::less>},
    {"<=", compares<Operator::less_equal>},
    {"le", compares<Operator::less_equal>},
    {">", compares<Operator::greater>},
    {"gt", compares<Operator::greater>},
    {"greaterthan", compares<Operator::greater>},
    {">=", compares<Operator::greater_equal>},
    {"ge", compares<Operator::greater_equal>},
    {"in", compares<Operator::in>},
    {"odd", has_rest<1>},
    {"even", has_rest<0>},
    {"divisibleby", is_divisible_by},
    {"sameas", is_same_as},
    {"lower", has_case<false>},
    {"upper", has_case<true>},
    {"filter", is_filter},
    {"test", is_test},
};

}  // namespace

const Test* find_test(std::string_view name) {
  const auto found = std::find_if(std::begin(kTests), std::end(kTests),
                                  [&](const Test& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace parkd::jinja
