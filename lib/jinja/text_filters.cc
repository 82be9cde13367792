// Filters whose subject is read as a text.
#include <algorithm>
#include <string>

#include "lib/jinja/compare.h"
#include "lib/jinja/filters.h"
#include "lib/jinja/operators.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/text_work.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

template <Text (*change)(Runtime&, const Text&)>
Value changed(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("the filter", arguments, {}, 0);
  return runtime.text(change(runtime, str_of(runtime, self)));
}

Text title(Runtime& runtime, const Text& text) {
  return titled(runtime, text, false);
}

Text as_string(Runtime&, const Text& text) {
  return text;
}

Text as_markup(Runtime&, const Text& text) {
  Text markup = text;
  markup.set_markup(true);
  return markup;
}

Text as_escaped(Runtime& runtime, const Text& text) {
  runtime.budget.make(text.size() * 5);
  return escaped(text);
}

Value trim(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("trim", arguments, {"chars"}, 0);
  const Text* characters =
      bound.find(0) == nullptr || bound.value(0).is_none() ? nullptr : &bound.text(0);
  const Text text = str_of(runtime, self);
  runtime.budget.look_at(text.size() * (characters == nullptr ? 1 : 1 + characters->size()));
  return runtime.text(stripped(text, Sides::both, characters));
}

Value replace(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return runtime.text(replaced(runtime, str_of(runtime, self), str_of(runtime, bound.value(0)),
                               str_of(runtime, bound.value(1)), bound.integer(2, -1)));
}

Value indent(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"}, 0);
  if (!self.is_text()) fail("indent: the value is " + std::string(type_name(self)) + ", not str");
  Text indent_text;
  if (bound.find(0) != nullptr && bound.value(0).is_text()) {
    indent_text = bound.text(0);
  } else {
    const int64_t width = std::max<int64_t>(bound.integer(0, 4), 0);
    if (width > 1000) fail_limit("indents by more than 1000 characters");
    indent_text = Text(std::string(static_cast<size_t>(width), ' '), Origin::literal);
  }
  const bool with_first = bound.flag(1, false);
  const bool with_blank = bound.flag(2, false);
  Text whole = self.as_text();
  whole.append("\n", Origin::literal);
  Text out;
  bool is_first = true;
  for (const Text& line : lines_of(runtime, whole, false)) {
    const bool indented = is_first ? with_first : with_blank || !line.empty();
    if (!is_first) out.append("\n", Origin::literal);
    runtime.budget.make(line.size() + indent_text.size() + 1);
    if (indented) out.append(indent_text);
    out.append(line);
    is_first = false;
  }
  return runtime.text(std::move(out));
}

Value format(Runtime& runtime, const Value& self, Arguments arguments) {
  const Text text = str_of(runtime, self);
  if (arguments.named.empty()) {
    return runtime.text(
        printf_text(runtime, text, runtime.sequence(Type::tuple, arguments.positional)));
  }
  if (!arguments.positional.empty()) fail("format takes values by place or by name, not both");
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [word, value] : arguments.named) {
    entries.emplace_back(runtime.text(std::string(word), arguments.names), value);
  }
  return runtime.text(printf_text(runtime, text, runtime.dict(std::move(entries))));
}

Value wordcount(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("wordcount", arguments, {}, 0);
  const Text text = str_of(runtime, self);
  runtime.budget.look_at(text.size());
  int64_t n = 0;
  bool in_word = false;
  for (const char c : text.bytes()) {  // letters beyond ASCII count as such
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' ||
                         static_cast<unsigned char>(c) >= 0x80;
    n += is_word && !in_word ? 1 : 0;
    in_word = is_word;
  }
  return Value::integer(n);
}

constexpr Filter kFilters[] = {
    {"capitalize", changed<capitalized>},
    {"e", changed<as_escaped>},
    {"escape", changed<as_escaped>},
    {"format", format},
    {"indent", indent},
    {"lower", changed<with_lower>},
    {"replace", replace},
    {"safe", changed<as_markup>},
    {"string", changed<as_string>},
    {"title", changed<title>},
    {"trim", trim},
    {"upper", changed<with_upper>},
    {"wordcount", wordcount},
};

}  // namespace

const Filter* find_text_filter(std::string_view name) {
  const auto found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                  [&](const Filter& filter) { return filter.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace parkd::jinja
