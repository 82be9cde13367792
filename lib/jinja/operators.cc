#include "lib/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/jinja/compare.h"
#include "lib/jinja/python_text.h"

namespace parkd::jinja {
namespace {

std::string_view sign_of(Operator op) {
  switch (op) {
    case Operator::add:
      return "+";
    case Operator::subtract:
      return "-";
    case Operator::multiply:
      return "*";
    case Operator::divide:
      return "/";
    case Operator::floor_divide:
      return "//";
    case Operator::modulo:
      return "%";
    case Operator::power:
      return "**";
    default:
      return "?";
  }
}

[[noreturn]] void fail_types(Operator op, const Value& a, const Value& b) {
  fail("unsupported operand types for " + std::string(sign_of(op)) + ": '" +
       std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

[[noreturn]] void fail_overflow() {
  fail_limit("reckons beyond the range of a 64-bit integer");
}

int64_t floor_divided(int64_t a, int64_t b) {
  if (a == std::numeric_limits<int64_t>::min() && b == -1) fail_overflow();
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (;; base *= base) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    int64_t square = 0;
    if (__builtin_mul_overflow(base, base, &square)) fail_overflow();
  }
}

Value integers(Operator op, int64_t a, int64_t b, Origin origin) {
  int64_t result = 0;
  switch (op) {
    case Operator::add:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow();
      break;
    case Operator::subtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
      break;
    case Operator::multiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
      break;
    case Operator::divide:
      if (b == 0) fail("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b), origin);
    case Operator::floor_divide:
      if (b == 0) fail("division by zero");
      result = floor_divided(a, b);
      break;
    case Operator::modulo:
      if (b == 0) fail("division by zero");
      result = b == -1 ? 0 : a - floor_divided(a, b) * b;
      break;
    case Operator::power:
      if (b < 0) {
        if (a == 0) fail("0 cannot be raised to a negative power");
        return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)), origin);
      }
      result = power(a, b);
      break;
    default:
      break;
  }
  return Value::integer(result, origin);
}

double real_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Value reals(Operator op, double a, double b, Origin origin) {
  const bool divides =
      op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if (divides && b == 0) fail("division by zero");
  switch (op) {
    case Operator::add:
      return Value::real(a + b, origin);
    case Operator::subtract:
      return Value::real(a - b, origin);
    case Operator::multiply:
      return Value::real(a * b, origin);
    case Operator::divide:
      return Value::real(a / b, origin);
    case Operator::floor_divide:
      return Value::real(std::floor((a - real_modulo(a, b)) / b + 0.5), origin);
    case Operator::modulo:
      return Value::real(real_modulo(a, b), origin);
    default:
      return Value::real(std::pow(a, b), origin);
  }
}

Value repeated(Runtime& runtime, const Value& value, int64_t times) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.is_text()) {
    const Text& text = value.as_text();
    if (text.empty() || n == 0) return runtime.text(Text());
    if (n > runtime.budget.limits().made_bytes_max / text.footprint()) {
      fail_limit("makes more than " + std::to_string(runtime.budget.limits().made_bytes_max) +
                 " bytes of values");
    }
    runtime.budget.make(text.footprint() * n);
    Text out;
    for (size_t i = 0; i < n; ++i) out.append(text);
    return Value::text(std::move(out));
  }
  const auto& items = value.as_sequence().items;
  std::vector<Value> out;
  if (!items.empty()) {
    runtime.budget.check_items(n > runtime.budget.limits().items_max ? n : items.size() * n);
    runtime.charge_items(items.size() * n);
    for (size_t i = 0; i < n; ++i) out.insert(out.end(), items.begin(), items.end());
  }
  return runtime.sequence(value.type(), std::move(out));
}

Text joined(const Text& a, const Text& b) {
  Text out = b.is_markup() && !a.is_markup() ? escaped(a) : a;
  out.append(a.is_markup() && !b.is_markup() ? escaped(b) : b);
  out.set_markup(a.is_markup() || b.is_markup());
  return out;
}

Value added(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) return runtime.text(joined(a.as_text(), b.as_text()));
  const bool both_lists = a.is(Type::list) && b.is(Type::list);
  if (both_lists || (a.is(Type::tuple) && b.is(Type::tuple))) {
    std::vector<Value> items = a.as_sequence().items;
    const auto& more = b.as_sequence().items;
    items.insert(items.end(), more.begin(), more.end());
    return runtime.sequence(a.type(), std::move(items));
  }
  if (a.is_text() || b.is_text()) {
    const Value& other = a.is_text() ? b : a;
    fail("can only join a str to a str by +, not " + std::string(type_name(other)));
  }
  fail_types(Operator::add, a, b);
}

bool can_repeat(const Value& value) {
  return value.is_text() || value.is(Type::list) || value.is(Type::tuple);
}

}  // namespace

Text escaped(const Text& text) {
  if (text.is_markup()) return text;
  Text out;
  OriginCursor origins(text);
  for (size_t i = 0; i < text.size(); ++i) {
    const Origin origin = origins.at(i);
    switch (text.bytes()[i]) {
      case '&':
        out.append("&amp;", origin);
        break;
      case '<':
        out.append("&lt;", origin);
        break;
      case '>':
        out.append("&gt;", origin);
        break;
      case '\'':
        out.append("&#39;", origin);
        break;
      case '"':
        out.append("&#34;", origin);
        break;
      default:
        out.append(std::string_view(text.bytes()).substr(i, 1), origin);
    }
  }
  out.set_markup(true);
  return out;
}

Value apply(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  runtime.budget.step();
  if (a.is_undefined()) fail_undefined(a);
  if (op == Operator::modulo && a.is_text()) {
    return runtime.text(printf_text(runtime, a.as_text(), b));
  }
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_number() && b.is_number()) {
    const Origin origin = both(a.origin(), b.origin());
    if (a.is_integral() && b.is_integral()) {
      return integers(op, a.as_integer(), b.as_integer(), origin);
    }
    return reals(op, a.as_real(), b.as_real(), origin);
  }
  if (op == Operator::add) return added(runtime, a, b);
  if (op == Operator::multiply) {
    if (can_repeat(a) && b.is_integral()) return repeated(runtime, a, b.as_integer());
    if (can_repeat(b) && a.is_integral()) return repeated(runtime, b, a.as_integer());
  }
  fail_types(op, a, b);
}

bool compare(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::equal:
      return is_equal(runtime, a, b);
    case Operator::not_equal:
      return !is_equal(runtime, a, b);
    case Operator::less:
      return is_less(runtime, a, b);
    case Operator::greater:
      return is_less(runtime, b, a);
    case Operator::less_equal:
      return is_less(runtime, a, b) || is_equal(runtime, a, b);
    case Operator::greater_equal:
      return is_less(runtime, b, a) || is_equal(runtime, a, b);
    case Operator::in:
      return is_in(runtime, a, b);
    case Operator::not_in:
      return !is_in(runtime, a, b);
    default:
      return false;
  }
}

Value negate(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_integral()) {
    if (value.as_integer() == std::numeric_limits<int64_t>::min()) fail_overflow();
    return Value::integer(-value.as_integer(), value.origin());
  }
  if (value.is(Type::real)) return Value::real(-value.as_real(), value.origin());
  fail("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

}  // namespace parkd::jinja
