// Values as Python prints them: str(), repr(), json.dumps() and the shortest text of a float.
// Throws Fault. One thread.
#pragma once

#include <optional>
#include <string>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

// str(value); of an undefined value empty.
Text str_of(Runtime& runtime, const Value& value);
void append_repr(Runtime& runtime, const Value& value, std::string& out);
std::string repr_of(Runtime& runtime, const Value& value);

// repr(float): "0.1", "1e+16", "inf".
std::string real_text(double value);

// Of a bool, int or float.
std::string number_digits(const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of one level; none: on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
// json.dumps(value).
std::string json_of(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace parkd::jinja
