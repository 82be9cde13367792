// Filters of one value: default, tojson, numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "lib/jinja/compare.h"
#include "lib/jinja/filters.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/text_work.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

Value default_value(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"}, 0);
  if (!self.is_undefined() && !(bound.flag(1, false) && !is_true(self))) return self;
  return bound.find(0) == nullptr ? Value::text(Text()) : bound.value(0);
}

Value length(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("length", arguments, {}, 0);
  return Value::integer(static_cast<int64_t>(length_of(runtime, self)));
}

Value items(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("items", arguments, {}, 0);
  std::vector<Value> pairs;
  if (!self.is_undefined()) {
    if (!self.is_dict()) fail("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : self.as_dict().entries) {
      pairs.push_back(runtime.sequence(Type::tuple, {key, value}));
    }
  }
  return runtime.sequence(Type::generator, std::move(pairs));
}

// As transformers replaces Jinja's own: json.dumps, nothing escaped for HTML.
Value tojson(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  Origin origin = self.origin();  // and of what its style writes
  style.ensure_ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  if (bound.find(1) != nullptr && bound.value(1).is_text()) {
    style.indent = bound.text(1).bytes();
    origin = both(origin, bound.value(1).origin());
  } else if (bound.find(1) != nullptr && !bound.value(1).is_none()) {
    const int64_t width = std::max<int64_t>(bound.integer(1, 0), 0);
    if (width > 1000) fail_limit("indents by more than 1000 characters");
    style.indent = std::string(static_cast<size_t>(width), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (bound.find(2) != nullptr && !bound.value(2).is_none()) {
    const auto pair = items_of(runtime, bound.value(2));
    if (pair->items.size() != 2 || !pair->items[0].is_text() || !pair->items[1].is_text()) {
      fail("tojson: 'separators' must be two texts");
    }
    origin = both(origin, bound.value(2).origin());
    style.item_separator = pair->items[0].as_bytes();
    style.key_separator = pair->items[1].as_bytes();
  }
  return runtime.text(json_of(runtime, self, style), origin);
}

std::optional<double> real_of(const Value& value) {
  if (value.is_number()) return value.as_real();
  if (!value.is_text()) return std::nullopt;
  const std::string text = stripped(value.as_text(), Sides::both, nullptr).bytes();
  const char* first = text.data();
  const char* last = first + text.size();
  if (first != last && *first == '+') ++first;
  double number = 0;
  const auto read = std::from_chars(first, last, number);
  if (first == last || read.ptr != last || read.ec != std::errc()) return std::nullopt;
  return number;
}

std::optional<int64_t> whole_of(double number) {
  if (!(number >= -9.2e18 && number <= 9.2e18)) return std::nullopt;
  return static_cast<int64_t>(std::trunc(number));
}

Value to_integer(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("int", arguments, {"default", "base"}, 0);
  const auto base = static_cast<int>(std::clamp<int64_t>(bound.integer(1, 10), 0, 99));
  if (base < 2 || base > 36) fail("int: the base must be from 2 to 36");
  if (self.is_undefined()) fail_undefined(self);
  if (self.is_integral()) return Value::integer(self.as_integer(), self.origin());
  if (self.is_text()) {
    const std::string text = stripped(self.as_text(), Sides::both, nullptr).bytes();
    const size_t skipped = !text.empty() && text[0] == '+' ? 1 : 0;
    int64_t number = 0;
    const auto read =
        std::from_chars(text.data() + skipped, text.data() + text.size(), number, base);
    if (read.ec == std::errc() && read.ptr == text.data() + text.size()) {
      return Value::integer(number, self.origin());
    }
  }
  const auto real = real_of(self);
  const auto whole = real ? whole_of(*real) : std::nullopt;
  if (whole) return Value::integer(*whole, self.origin());
  return bound.find(0) == nullptr ? Value::integer(0) : bound.value(0);
}

Value to_real(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("float", arguments, {"default"}, 0);
  if (self.is_undefined()) fail_undefined(self);
  if (const auto real = real_of(self)) return Value::real(*real, self.origin());
  return bound.find(0) == nullptr ? Value::real(0) : bound.value(0);
}

Value absolute(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("abs", arguments, {}, 0);
  if (self.is(Type::real)) return Value::real(std::fabs(self.as_real()), self.origin());
  if (!self.is_integral()) fail("abs: the value is " + std::string(type_name(self)));
  if (self.as_integer() == INT64_MIN) fail_limit("reckons beyond the range of a 64-bit integer");
  return Value::integer(std::abs(self.as_integer()), self.origin());
}

Value round(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("round", arguments, {"precision", "method"}, 0);
  if (!self.is_number()) fail("round: the value is " + std::string(type_name(self)));
  const int64_t precision = bound.integer(0, 0);
  if (precision < -15 || precision > 15) fail("round: the precision must be from -15 to 15");
  const std::string method = bound.find(1) == nullptr ? "common" : bound.text(1).bytes();
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil" || method == "floor") {
    const double scaled = self.as_real() * scale;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale,
                       self.origin());
  }
  if (method != "common") fail("round: the method must be common, ceil or floor");
  if (self.is_integral() && precision >= 0) return Value::integer(self.as_integer(), self.origin());
  if (precision < 0 || !std::isfinite(self.as_real())) {
    return Value::real(std::nearbyint(self.as_real() * scale) / scale, self.origin());
  }
  // Python rounds the exact binary value, to even: what printf does.
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), self.as_real());
  double rounded = 0;
  std::from_chars(text, text + std::char_traits<char>::length(text), rounded);
  return Value::real(rounded, self.origin());
}

Value attribute(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  if (self.is_dict()) return Value::undefined("attr reads no entries of a dict");
  return get_attribute(runtime, self, bound.text(0).bytes());
}

constexpr Filter kFilters[] = {
    {"abs", absolute},          {"attr", attribute}, {"count", length},   {"d", default_value},
    {"default", default_value}, {"float", to_real},  {"int", to_integer}, {"items", items},
    {"length", length},         {"round", round},    {"tojson", tojson},
};

}  // namespace

const Filter* find_value_filter(std::string_view name) {
  const auto found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                  [&](const Filter& filter) { return filter.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace parkd::jinja
