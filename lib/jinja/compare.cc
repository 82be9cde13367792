#include "lib/jinja/compare.h"

#include <algorithm>

#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

bool is_equal_all(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!is_equal(runtime, a[i], b[i])) return false;
  }
  return true;
}

bool is_equal_dict(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = find_entry(runtime, b, key);
    if (other == nullptr || !is_equal(runtime, value, *other)) return false;
  }
  return true;
}

[[noreturn]] void fail_order(const Value& a, const Value& b) {
  fail("'<' is not supported between '" + std::string(type_name(a)) + "' and '" +
       std::string(type_name(b)) + "'");
}

}  // namespace

void fail_undefined(const Value& value) {
  fail(value.why_undefined());
}

bool is_equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.budget.step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
    if (!a.exact_digits().empty() || !b.exact_digits().empty()) {
      return a.exact_digits() == b.exact_digits();
    }
    return a.as_real() == b.as_real();
  }
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::undefined:
    case Type::none:
      return true;
    case Type::text:
      if (a.as_text().size() != b.as_text().size()) return false;
      runtime.budget.look_at(a.as_text().size());
      return a.as_bytes() == b.as_bytes();
    case Type::list:
    case Type::tuple:
    case Type::range:
      return is_equal_all(runtime, a.as_sequence().items, b.as_sequence().items);
    case Type::dict:
      return is_equal_dict(runtime, a.as_dict(), b.as_dict());
    default:
      return a.identity() == b.identity();
  }
}

bool is_less(Runtime& runtime, const Value& a, const Value& b) {
  runtime.budget.step();
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_integral() && b.is_integral()) return a.as_integer() < b.as_integer();
  if (a.is_number() && b.is_number()) return a.as_real() < b.as_real();
  if (a.type() != b.type()) fail_order(a, b);
  if (a.is_text()) {
    runtime.budget.look_at(std::min(a.as_text().size(), b.as_text().size()));
    return a.as_bytes() < b.as_bytes();  // the order of UTF-8 is that of code points
  }
  if (a.is(Type::list) || a.is(Type::tuple)) {
    const auto& left = a.as_sequence().items;
    const auto& right = b.as_sequence().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!is_equal(runtime, left[i], right[i])) return is_less(runtime, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  fail_order(a, b);
}

const Value* find_entry(Runtime& runtime, const Dict& dict, std::string_view key) {
  runtime.budget.step(1 + static_cast<int64_t>(dict.entries.size() / 8));
  for (const auto& [known, value] : dict.entries) {
    if (known.is_text() && known.as_bytes() == key) return &value;
  }
  return nullptr;
}

const Value* find_entry(Runtime& runtime, const Dict& dict, const Value& key) {
  if (key.is_text()) return find_entry(runtime, dict, std::string_view(key.as_bytes()));
  for (const auto& [known, value] : dict.entries) {
    if (is_equal(runtime, known, key)) return &value;
  }
  return nullptr;
}

bool is_in(Runtime& runtime, const Value& item, const Value& container) {
  switch (container.type()) {
    case Type::undefined:
      return false;
    case Type::text:
      if (item.is_undefined()) fail_undefined(item);
      if (!item.is_text()) {
        fail("'in <string>' needs a string on its left, not " + std::string(type_name(item)));
      }
      runtime.budget.look_at(container.as_text().size());
      return find_bytes(container.as_bytes(), item.as_bytes(), 0) != std::string_view::npos;
    case Type::list:
    case Type::tuple:
    case Type::range:
    case Type::view:
    case Type::generator: {
      const Sequence& sequence = container.as_sequence();
      if (sequence.is_consumed) return false;
      if (container.is(Type::generator)) sequence.is_consumed = true;
      return std::any_of(sequence.items.begin(), sequence.items.end(),
                         [&](const Value& other) { return is_equal(runtime, other, item); });
    }
    case Type::dict:
      return find_entry(runtime, container.as_dict(), item) != nullptr;
    default:
      fail("argument of type '" + std::string(type_name(container)) + "' is not iterable");
  }
}

}  // namespace parkd::jinja
