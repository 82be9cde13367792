#include "lib/jinja/lookup.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "lib/jinja/compare.h"
#include "lib/jinja/loop_attributes.h"
#include "lib/jinja/methods.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

std::string shown_type(const Value& value) {
  if (value.is_none()) return "'None'";
  return "'" + std::string(type_name(value)) + " object'";
}

Value missing_attribute(const Value& value, std::string_view name) {
  return Value::undefined(shown_type(value) + " has no attribute '" +
                          std::string(name.substr(0, 60)) + "'");
}

Value unsafe_attribute(const Value& value, std::string_view name) {
  return Value::undefined("access to attribute '" + std::string(name.substr(0, 60)) + "' of '" +
                          std::string(type_name(value)) + "' object is unsafe.");
}

// A method, or what must not be had; undefined without a reason where there is no such attribute.
std::optional<Value> native_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is(Type::loop)) return loop_attribute(runtime, value, name);
  if (value.is(Type::function) && name == "name") {
    return runtime.text(std::string(value.as_function().name), Origin::literal);
  }
  if (changes_value(value.type(), name)) return unsafe_attribute(value, name);
  if (const Method* method = find_method(value.type(), name)) {
    return native_function(method->name, method->call, value);
  }
  if (is_unsupported_method(value.type(), name)) {
    fail("the method '" + std::string(name) + "' of " + std::string(type_name(value)) +
         " is not supported");
  }
  return std::nullopt;
}

std::optional<Value> entry_of(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_dict()) {
    const Value* entry = find_entry(runtime, value.as_dict(), name);
    return entry == nullptr ? std::nullopt : std::optional(*entry);
  }
  if (value.is(Type::space)) {
    for (const auto& [known, of] : value.as_space().attributes) {
      if (known == name) return of;
    }
  }
  return std::nullopt;
}

// An index of Python: from the end where it is negative.
std::optional<size_t> place_in(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

bool is_ascii(const Text& text) {
  return std::all_of(text.bytes().begin(), text.bytes().end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Where each code point begins, and the end.
std::vector<size_t> places_of(Runtime& runtime, const Text& text) {
  runtime.budget.make(text.size() * sizeof(size_t));
  std::vector<size_t> places;
  for (size_t at = 0; at < text.size(); next_code_point(text.bytes(), at)) places.push_back(at);
  places.push_back(text.size());
  return places;
}

std::optional<Value> character_at(Runtime& runtime, const Text& text, int64_t index) {
  runtime.budget.look_at(text.size());
  const auto place = place_in(index, count_code_points(text.bytes()));
  if (!place) return std::nullopt;
  const size_t first = place_of(text.bytes(), *place);
  size_t last = first;
  next_code_point(text.bytes(), last);
  return runtime.text(text.slice(first, last));
}

struct Range {
  int64_t first, last, step;
};

// Python's slice.indices().
Range range_of(size_t length, const Value& first, const Value& last, const Value& step) {
  const auto number = [](const Value& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    if (value.is_undefined()) fail_undefined(value);
    if (!value.is_integral()) fail("the borders of a slice must be integers or None");
    return value.as_integer();
  };
  const auto size = static_cast<int64_t>(length);
  Range range{0, 0, number(step, 1)};
  if (range.step == 0) fail("the step of a slice is 0");
  const bool is_back = range.step < 0;
  const auto border = [&](const Value& value, int64_t otherwise) {
    int64_t at = number(value, otherwise);
    if (value.is_none()) return at;
    if (at < 0) return std::max<int64_t>(at + size, is_back ? -1 : 0);
    return std::min(at, is_back ? size - 1 : size);
  };
  range.first = border(first, is_back ? size - 1 : 0);
  range.last = border(last, is_back ? -1 : size);
  return range;
}

std::vector<size_t> indices_of(Runtime& runtime, const Range& range) {
  std::vector<size_t> indices;
  // A step beyond the length takes one item at most, and must not overflow.
  for (int64_t at = range.first; range.step > 0 ? at < range.last : at > range.last;) {
    runtime.budget.step();
    indices.push_back(static_cast<size_t>(at));
    if (__builtin_add_overflow(at, range.step, &at)) break;
  }
  return indices;
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  runtime.budget.step();
  if (value.is_undefined()) fail_undefined(value);
  if (value.is(Type::space)) {
    if (auto entry = entry_of(runtime, value, name)) return *std::move(entry);
    return missing_attribute(value, name);
  }
  if (!name.empty() && name[0] == '_') {
    if (auto entry = entry_of(runtime, value, name)) return *std::move(entry);
    return missing_attribute(value, name);
  }
  if (auto native = native_attribute(runtime, value, name)) return *std::move(native);
  if (auto entry = entry_of(runtime, value, name)) return *std::move(entry);
  return missing_attribute(value, name);
}

Value get_item(Runtime& runtime, const Value& value, const Value& key) {
  runtime.budget.step();
  if (value.is_undefined()) fail_undefined(value);
  if (key.is_text()) {
    const std::string& name = key.as_bytes();
    if (auto entry = entry_of(runtime, value, name)) return *std::move(entry);
    if (!name.empty() && name[0] == '_') return missing_attribute(value, name);
    if (auto native = native_attribute(runtime, value, name)) return *std::move(native);
    return missing_attribute(value, name);
  }
  if (value.is_dict()) {
    if (const Value* entry = find_entry(runtime, value.as_dict(), key)) return *entry;
  } else if (key.is_integral()) {
    if (value.is_text()) {
      if (auto found = character_at(runtime, value.as_text(), key.as_integer())) {
        return *std::move(found);
      }
    } else if (value.is(Type::list) || value.is(Type::tuple) || value.is(Type::range)) {
      const auto& items = value.as_sequence().items;
      if (const auto place = place_in(key.as_integer(), items.size())) return items[*place];
    }
  }
  const std::string shown = key.is_undefined() ? "Undefined" : repr_of(runtime, key).substr(0, 60);
  return Value::undefined(shown_type(value).substr(1, shown_type(value).size() - 2) +
                          " has no element " + shown);
}

Value get_slice(Runtime& runtime, const Value& value, const Value& first, const Value& last,
                const Value& step) {
  runtime.budget.step();
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_text()) {
    const Text& text = value.as_text();
    const bool plain = is_ascii(text);
    runtime.budget.look_at(text.size());
    const std::vector<size_t> places = plain ? std::vector<size_t>() : places_of(runtime, text);
    const auto place = [&](int64_t i) {
      return plain ? static_cast<size_t>(i) : places[static_cast<size_t>(i)];
    };
    const Range range = range_of(plain ? text.size() : places.size() - 1, first, last, step);
    if (range.step == 1) {
      if (range.first >= range.last) return runtime.text(Text());
      return runtime.text(text.slice(place(range.first), place(range.last)));
    }
    Text out;
    for (const size_t i : indices_of(runtime, range)) {
      out.append(text, place(static_cast<int64_t>(i)), place(static_cast<int64_t>(i) + 1));
    }
    return runtime.text(std::move(out));
  }
  if (value.is(Type::list) || value.is(Type::tuple) || value.is(Type::range)) {
    const auto& items = value.as_sequence().items;
    std::vector<Value> out;
    for (const size_t i : indices_of(runtime, range_of(items.size(), first, last, step))) {
      out.push_back(items[i]);
    }
    return runtime.sequence(value.type(), std::move(out));
  }
  return missing_attribute(value, "slice");
}

std::shared_ptr<const Sequence> items_of(Runtime& runtime, const Value& value) {
  if (value.is_sequence()) {
    const Sequence& sequence = value.as_sequence();
    if (value.is(Type::generator)) {
      if (sequence.is_consumed) return std::make_shared<Sequence>();
      sequence.is_consumed = true;
    }
    return std::static_pointer_cast<const Sequence>(value.shared());
  }
  auto items = std::make_shared<Sequence>();
  if (value.is_undefined()) return items;
  if (value.is_dict()) {
    const auto& entries = value.as_dict().entries;
    runtime.charge_items(entries.size());
    for (const auto& [key, of] : entries) items->items.push_back(key);
    return items;
  }
  if (value.is_text()) {
    const Text& text = value.as_text();
    runtime.charge_items(count_code_points(text.bytes()));
    for (size_t at = 0; at < text.size();) {
      const size_t first = at;
      next_code_point(text.bytes(), at);
      items->items.push_back(runtime.text(text.slice(first, at)));
    }
    return items;
  }
  fail("'" + std::string(type_name(value)) + "' object is not iterable");
}

Value get_path(Runtime& runtime, const Value& value, std::string_view path,
               const Value* otherwise) {
  Value at = value;
  while (true) {
    const size_t dot = path.find('.');
    const std::string_view word = path.substr(0, dot);
    int64_t index = 0;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), index);
    const bool is_index = !word.empty() && word[0] != '-' && read.ec == std::errc() &&
                          read.ptr == word.data() + word.size();
    at = get_item(
        runtime, at,
        is_index ? Value::integer(index) : Value::text(std::string(word), Origin::literal));
    if (otherwise != nullptr && at.is_undefined()) at = *otherwise;
    if (dot == std::string_view::npos) return at;
    path.remove_prefix(dot + 1);
  }
}

Value get_path(Runtime& runtime, const Value& value, const Value& path, const Value* otherwise) {
  if (path.is_text()) return get_path(runtime, value, path.as_bytes(), otherwise);
  Value found = get_item(runtime, value, path);
  return otherwise != nullptr && found.is_undefined() ? *otherwise : found;
}

size_t length_of(Runtime& runtime, const Value& value) {
  switch (value.type()) {
    case Type::undefined:
      return 0;
    case Type::text:
      runtime.budget.look_at(value.as_text().size());
      return count_code_points(value.as_bytes());
    case Type::list:
    case Type::tuple:
    case Type::range:
    case Type::view:
      return value.as_sequence().items.size();
    case Type::dict:
      return value.as_dict().entries.size();
    case Type::loop:
      return value.as_loop().all().size();
    default:
      fail("object of type '" + std::string(type_name(value)) + "' has no len()");
  }
}

}  // namespace parkd::jinja
