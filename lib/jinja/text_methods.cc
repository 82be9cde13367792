// Methods of str.
#include <algorithm>
#include <array>

#include "lib/jinja/compare.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/methods.h"
#include "lib/jinja/text_work.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

const Text* text_or_none(const Bound& bound, size_t i) {
  return bound.find(i) == nullptr || bound.value(i).is_none() ? nullptr : &bound.text(i);
}

template <Sides sides>
Value strip(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("strip", arguments, {"chars"}, 0);
  const Text* characters = text_or_none(bound, 0);
  runtime.budget.look_at(self.as_text().size() *
                         (characters == nullptr ? 1 : 1 + characters->size()));
  return runtime.text(stripped(self.as_text(), sides, characters));
}

void push(Runtime& runtime, std::vector<Value>& out, const Text& text, size_t first, size_t last) {
  out.push_back(runtime.text(text.slice(first, last)));
}

std::vector<Value> split_at_blanks(Runtime& runtime, const Text& text, int64_t n_max) {
  std::vector<Value> out;
  const std::string& bytes = text.bytes();
  size_t at = 0;
  while (true) {
    at += begin_without_blanks(std::string_view(bytes).substr(at));
    if (at >= bytes.size()) return out;
    if (n_max >= 0 && static_cast<int64_t>(out.size()) >= n_max) {
      push(runtime, out, text, at, end_without_blanks(bytes));
      return out;
    }
    const size_t first = at;
    size_t end = at;
    while (at < bytes.size()) {
      size_t next = at;
      if (is_blank(next_code_point(bytes, next))) break;
      at = end = next;
    }
    push(runtime, out, text, first, end);
  }
}

std::vector<Value> split_at(Runtime& runtime, const Text& text, const Text& separator,
                            int64_t n_max) {
  if (separator.empty()) fail("split: the separator is empty");
  std::vector<Value> out;
  size_t done = 0;
  while (n_max < 0 || static_cast<int64_t>(out.size()) < n_max) {
    const size_t found = find_bytes(text.bytes(), separator.bytes(), done);
    if (found == std::string::npos) break;
    push(runtime, out, text, done, found);
    done = found + separator.size();
  }
  push(runtime, out, text, done, text.size());
  return out;
}

Value split(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("split", arguments, {"sep", "maxsplit"}, 0);
  const Text* separator = text_or_none(bound, 0);
  const int64_t n_max = bound.integer(1, -1);
  runtime.budget.look_at(self.as_text().size());
  return runtime.list(separator == nullptr ? split_at_blanks(runtime, self.as_text(), n_max)
                                           : split_at(runtime, self.as_text(), *separator, n_max));
}

Value rsplit(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("rsplit", arguments, {"sep", "maxsplit"}, 0);
  const Text* separator = text_or_none(bound, 0);
  const int64_t n_max = bound.integer(1, -1);
  const Text& text = self.as_text();
  if (n_max < 0) return split(runtime, self, arguments);
  if (separator == nullptr) fail("rsplit needs a separator where it has a maxsplit");
  if (separator->empty()) fail("rsplit: the separator is empty");
  runtime.budget.look_at(text.size() * (1 + separator->size()));
  std::vector<Value> out;
  size_t end = text.size();
  while (static_cast<int64_t>(out.size()) < n_max && end >= separator->size()) {
    const size_t found = text.bytes().rfind(separator->bytes(), end - separator->size());
    if (found == std::string::npos) break;
    push(runtime, out, text, found + separator->size(), end);
    end = found;
  }
  push(runtime, out, text, 0, end);
  std::reverse(out.begin(), out.end());
  return runtime.list(std::move(out));
}

Value splitlines(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("splitlines", arguments, {"keepends"}, 0);
  std::vector<Value> out;
  for (Text& line : lines_of(runtime, self.as_text(), bound.flag(0, false))) {
    out.push_back(runtime.text(std::move(line)));
  }
  return runtime.list(std::move(out));
}

// Whether `fits` holds for the word given, or for one of a tuple of words.
template <class Fits>
bool any_word(const Bound& bound, Fits fits) {
  if (!bound.value(0).is(Type::tuple)) return fits(bound.text(0).bytes());
  for (const Value& word : bound.value(0).as_sequence().items) {
    if (!word.is_text()) fail("startswith and endswith take str, or a tuple of it");
    if (fits(word.as_bytes())) return true;
  }
  return false;
}

Value startswith(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("startswith", arguments, {"prefix"}, 1);
  return Value::boolean(any_word(bound, [&](const std::string& word) {
    runtime.budget.look_at(word.size());
    return self.as_bytes().compare(0, word.size(), word) == 0;
  }));
}

Value endswith(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("endswith", arguments, {"suffix"}, 1);
  const std::string& bytes = self.as_bytes();
  return Value::boolean(any_word(bound, [&](const std::string& word) {
    runtime.budget.look_at(word.size());
    return bytes.size() >= word.size() &&
           bytes.compare(bytes.size() - word.size(), word.size(), word) == 0;
  }));
}

Value replace(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return runtime.text(
      replaced(runtime, self.as_text(), bound.text(0), bound.text(1), bound.integer(2, -1)));
}

template <Text (*change)(Runtime&, const Text&)>
Value changed(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("a method of str", arguments, {}, 0);
  return runtime.text(change(runtime, self.as_text()));
}

Text title_method(Runtime& runtime, const Text& text) {
  return titled(runtime, text, true);
}

Value join(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("join", arguments, {"iterable"}, 1);
  const auto items = items_of(runtime, bound.value(0));
  for (const Value& item : items->items) {
    if (!item.is_text()) fail("join: an item is " + std::string(type_name(item)) + ", not str");
  }
  return runtime.text(joined(runtime, self.as_text(), items->items));
}

// Where a word is found, in code points; -1: nowhere.
int64_t place(Runtime& runtime, const Value& self, const Bound& bound, bool from_right) {
  const std::string& bytes = self.as_bytes();
  const std::string& word = bound.text(0).bytes();
  runtime.budget.look_at(from_right ? bytes.size() * (1 + word.size()) : bytes.size());
  int64_t start = bound.integer(1, 0);
  if (start < 0) start += static_cast<int64_t>(count_code_points(bytes));
  const size_t from = place_of(bytes, static_cast<size_t>(std::max<int64_t>(start, 0)));
  const size_t found = from_right ? bytes.rfind(word) : find_bytes(bytes, word, from);
  if (found == std::string::npos || found < from) return -1;
  return static_cast<int64_t>(count_code_points(std::string_view(bytes).substr(0, found)));
}

Value find(Runtime& runtime, const Value& self, Arguments arguments) {
  return Value::integer(place(runtime, self, {"find", arguments, {"sub", "start"}, 1}, false));
}

Value rfind(Runtime& runtime, const Value& self, Arguments arguments) {
  return Value::integer(place(runtime, self, {"rfind", arguments, {"sub", "start"}, 1}, true));
}

Value index(Runtime& runtime, const Value& self, Arguments arguments) {
  const int64_t found = place(runtime, self, {"index", arguments, {"sub", "start"}, 1}, false);
  if (found < 0) fail("substring not found");
  return Value::integer(found);
}

Value count(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("count", arguments, {"sub"}, 1);
  const std::string& word = bound.text(0).bytes();
  runtime.budget.look_at(self.as_bytes().size());
  if (word.empty()) return Value::integer(static_cast<int64_t>(length_of(runtime, self)) + 1);
  int64_t n = 0;
  for (size_t at = find_bytes(self.as_bytes(), word, 0); at != std::string::npos;
       at = find_bytes(self.as_bytes(), word, at + word.size())) {
    ++n;
  }
  return Value::integer(n);
}

Value format(Runtime& runtime, const Value& self, Arguments arguments) {
  return runtime.text(formatted(runtime, self.as_text(), arguments));
}

Value removeprefix(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("removeprefix", arguments, {"prefix"}, 1);
  const std::string& word = bound.text(0).bytes();
  if (self.as_bytes().compare(0, word.size(), word) != 0) return self;
  return runtime.text(self.as_text().slice(word.size(), self.as_text().size()));
}

Value removesuffix(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("removesuffix", arguments, {"suffix"}, 1);
  const std::string& word = bound.text(0).bytes();
  const std::string& bytes = self.as_bytes();
  if (word.empty() || bytes.size() < word.size() ||
      bytes.compare(bytes.size() - word.size(), word.size(), word) != 0) {
    return self;
  }
  return runtime.text(self.as_text().slice(0, bytes.size() - word.size()));
}

template <bool from_right>
Value partition(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("partition", arguments, {"sep"}, 1);
  const Text& text = self.as_text();
  const std::string& word = bound.text(0).bytes();
  if (word.empty()) fail("partition: the separator is empty");
  runtime.budget.look_at(text.size() * (from_right ? 1 + word.size() : 1));
  const size_t found = from_right ? text.bytes().rfind(word) : find_bytes(text.bytes(), word, 0);
  const Value empty = Value::text(Text());
  if (found == std::string::npos) {
    return from_right ? runtime.sequence(Type::tuple, {empty, empty, self})
                      : runtime.sequence(Type::tuple, {self, empty, empty});
  }
  return runtime.sequence(
      Type::tuple,
      {runtime.text(text.slice(0, found)), runtime.text(text.slice(found, found + word.size())),
       runtime.text(text.slice(found + word.size(), text.size()))});
}

// Whether the text is not empty and `fits` holds for each of its code points.
template <bool (*fits)(char32_t)>
Value all_are(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("a method of str", arguments, {}, 0);
  const std::string& bytes = self.as_bytes();
  runtime.budget.look_at(bytes.size() * 8);
  for (size_t at = 0; at < bytes.size();) {
    if (!fits(next_code_point(bytes, at))) return Value::boolean(false);
  }
  return Value::boolean(!bytes.empty());
}

bool is_ascii_digit(char32_t c) {
  return c >= '0' && c <= '9';
}

template <bool upper>
Value is_case(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("a method of str", arguments, {}, 0);
  const Text& text = self.as_text();
  const Text other = upper ? with_upper(runtime, text) : with_lower(runtime, text);
  bool any_cased = false;
  for (size_t at = 0; at < text.size();) any_cased |= is_cased(next_code_point(text.bytes(), at));
  return Value::boolean(any_cased && other.bytes() == text.bytes());
}

constexpr Method kMethods[] = {
    {"capitalize", changed<capitalized>},
    {"count", count},
    {"endswith", endswith},
    {"find", find},
    {"format", format},
    {"index", index},
    {"isdecimal", all_are<is_ascii_digit>},
    {"isdigit", all_are<is_ascii_digit>},
    {"islower", is_case<false>},
    {"isnumeric", all_are<is_ascii_digit>},
    {"isspace", all_are<is_blank>},
    {"isupper", is_case<true>},
    {"join", join},
    {"lower", changed<with_lower>},
    {"lstrip", strip<Sides::left>},
    {"partition", partition<false>},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"replace", replace},
    {"rfind", rfind},
    {"rpartition", partition<true>},
    {"rsplit", rsplit},
    {"rstrip", strip<Sides::right>},
    {"split", split},
    {"splitlines", splitlines},
    {"startswith", startswith},
    {"strip", strip<Sides::both>},
    {"title", changed<title_method>},
    {"upper", changed<with_upper>},
};

}  // namespace

const Method* find_text_method(std::string_view name) {
  const auto found = std::lower_bound(
      std::begin(kMethods), std::end(kMethods), name,
      [](const Method& method, std::string_view wanted) { return method.name < wanted; });
  return found != std::end(kMethods) && found->name == name ? found : nullptr;
}

}  // namespace parkd::jinja
