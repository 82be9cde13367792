// str.format and the % operator, as far as templates use them: without widths and precisions but
// those of floats.
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "lib/jinja/compare.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/operators.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/text_work.h"

namespace parkd::jinja {
namespace {

constexpr int kDecimalsMax = 100;

std::string fixed_text(double value, int decimals) {
  std::array<char, 512> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

// Of ".3f" or ".3" the 3; -1: there is none.
int decimals_of(std::string_view spec) {
  int decimals = -1;
  if (spec.size() < 2 || spec[0] != '.') return -1;
  std::from_chars(spec.data() + 1, spec.data() + spec.size(), decimals);
  return decimals < 0 || decimals > kDecimalsMax ? -1 : decimals;
}

Text with_spec(Runtime& runtime, const Value& value, std::string_view spec) {
  if (spec.empty() || (spec == "s" && value.is_text()) ||
      (spec == "d" && value.is_integral() && !value.is(Type::boolean))) {
    return str_of(runtime, value);
  }
  const int decimals = spec == "f" ? 6 : decimals_of(spec);
  if (spec.back() == 'f' && decimals >= 0 && value.is_number()) {
    return {fixed_text(value.as_real(), decimals), value.origin()};
  }
  fail("the format '" + std::string(spec.substr(0, 40)) + "' of a " +
       std::string(type_name(value)) + " is not supported");
}

class Formatter {
 public:
  Formatter(Runtime& runtime, const Text& format, const CallArguments& arguments)
      : runtime_(runtime), format_(format), arguments_(arguments) {}

  Text run() {
    const std::string& bytes = format_.bytes();
    size_t done = 0;
    for (size_t i = 0; i < bytes.size();) {
      const char c = bytes[i];
      if (c != '{' && c != '}') {
        ++i;
        continue;
      }
      out_.append(format_, done, i);
      if (i + 1 < bytes.size() && bytes[i + 1] == c) {
        out_.append(format_, i, i + 1);
        i += 2;
      } else if (c == '}') {
        fail("a single '}' stands in a format");
      } else {
        const size_t close = bytes.find('}', i);
        if (close == std::string::npos) fail("a single '{' stands in a format");
        put_field(std::string_view(bytes).substr(i + 1, close - i - 1));
        i = close + 1;
      }
      done = i;
    }
    out_.append(format_, done, bytes.size());
    return std::move(out_);
  }

 private:
  Value named(std::string_view name) {
    if (name.empty()) {
      if (is_numbered_) fail("a format counts its values or numbers them, not both");
      is_counted_ = true;
      if (next_ >= arguments_.positional.size()) fail("a format names more values than are given");
      return arguments_.positional[next_++];
    }
    size_t index = 0;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), index);
    if (read.ec == std::errc() && read.ptr == name.data() + name.size()) {
      if (is_counted_) fail("a format counts its values or numbers them, not both");
      is_numbered_ = true;
      if (index >= arguments_.positional.size()) fail("a format names more values than are given");
      return arguments_.positional[index];
    }
    for (const auto& [word, value] : arguments_.named) {
      if (word == name) return value;
    }
    fail("a format names '" + std::string(name.substr(0, 40)) + "', which is not given");
  }

  void put_field(std::string_view field) {
    if (field.find('{') != std::string_view::npos)
      fail("formats inside of formats are not supported");
    const size_t colon = field.find(':');
    const std::string_view spec =
        colon == std::string_view::npos ? std::string_view() : field.substr(colon + 1);
    std::string_view name = field.substr(0, colon);
    char conversion = 's';
    if (const size_t mark = name.find('!'); mark != std::string_view::npos) {
      conversion = mark + 1 < name.size() ? name[mark + 1] : '?';
      name = name.substr(0, mark);
    }
    const size_t dot = name.find('.');
    Value value = named(name.substr(0, dot));
    if (name.find('[') != std::string_view::npos) fail("[ in a format is not supported");
    if (dot != std::string_view::npos) value = get_path(runtime_, value, name.substr(dot + 1));
    if (conversion == 'r') {
      value = runtime_.text(repr_of(runtime_, value), value.origin());
    } else if (conversion != 's') {
      fail("a format's conversion must be !s or !r");
    }
    const Text text = with_spec(runtime_, value, spec);
    runtime_.budget.make(text.size());
    out_.append(text);
  }

  Runtime& runtime_;
  const Text& format_;
  const CallArguments& arguments_;
  Text out_;
  size_t next_ = 0;
  bool is_counted_ = false;
  bool is_numbered_ = false;
};

Text printf_one(Runtime& runtime, char kind, std::string_view spec, const Value& value) {
  if (kind == 's' && spec.empty()) return str_of(runtime, value);
  if (kind == 'r' && spec.empty()) return {repr_of(runtime, value), value.origin()};
  if ((kind == 'd' || kind == 'i') && spec.empty() && value.is_number()) {
    if (value.is_integral()) return {std::to_string(value.as_integer()), value.origin()};
    return {fixed_text(std::trunc(value.as_real()), 0), value.origin()};
  }
  const int decimals = spec.empty() ? 6 : decimals_of(spec);
  if (kind == 'f' && decimals >= 0 && value.is_number()) {
    return {fixed_text(value.as_real(), decimals), value.origin()};
  }
  fail("the format '%" + std::string(spec.substr(0, 20)) + kind + "' of a " +
       std::string(type_name(value)) + " is not supported");
}

}  // namespace

Text formatted(Runtime& runtime, const Text& format, const CallArguments& arguments) {
  runtime.budget.look_at(format.size() * 8);
  return Formatter(runtime, format, arguments).run();
}

Text printf_text(Runtime& runtime, const Text& format, const Value& values) {
  runtime.budget.look_at(format.size() * 8);
  const std::string& bytes = format.bytes();
  size_t next = 0;
  const auto take = [&]() -> Value {
    if (!values.is(Type::tuple)) {
      if (next++ > 0) fail("a format names more values than are given");
      return values;
    }
    const auto& items = values.as_sequence().items;
    if (next >= items.size()) fail("a format names more values than are given");
    return items[next++];
  };
  Text out;
  size_t done = 0;
  for (size_t i = bytes.find('%'); i != std::string::npos; i = bytes.find('%', done)) {
    out.append(format, done, i);
    size_t kind = i + 1;
    Value named;
    if (kind < bytes.size() && bytes[kind] == '(') {
      const size_t close = bytes.find(')', kind);
      if (close == std::string::npos || !values.is_dict()) fail("a format's %(name) has no dict");
      named = get_item(runtime, values, runtime.text(format.slice(kind + 1, close)));
      kind = close + 1;
      next = 1;
      if (named.is_undefined()) fail_undefined(named);
    }
    const size_t spec = kind;
    while (kind < bytes.size() &&
           (bytes[kind] == '.' || (bytes[kind] >= '0' && bytes[kind] <= '9'))) {
      ++kind;
    }
    if (kind >= bytes.size()) fail("a format ends behind '%'");
    if (bytes[kind] == '%') {
      out.append(format, kind, kind + 1);
    } else {
      const Value value = spec > i + 1 ? named : take();
      const Text text = printf_one(runtime, bytes[kind],
                                   std::string_view(bytes).substr(spec, kind - spec), value);
      runtime.budget.make(text.size());
      out.append(text);
    }
    done = kind + 1;
  }
  out.append(format, done, bytes.size());
  if (values.is(Type::tuple) ? next < values.as_sequence().items.size()
                             : next == 0 && !values.is_dict()) {
    fail("not all values of a format are used");
  }
  return out;
}

}  // namespace parkd::jinja
