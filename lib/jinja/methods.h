// The methods of Python's str, dict and list that a template may call. Tables, any thread.
#pragma once

#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

struct Method {
  std::string_view name;
  NativeFunction call;
};

// Null where the type has no such method, or none that is served.
const Method* find_method(Type type, std::string_view name);
const Method* find_text_method(std::string_view name);
const Method* find_container_method(Type type, std::string_view name);

// A method that Python has and that would change the value: kept out by the sandbox.
bool changes_value(Type type, std::string_view name);
// A method that Python has and we have not.
bool is_unsupported_method(Type type, std::string_view name);

}  // namespace parkd::jinja
