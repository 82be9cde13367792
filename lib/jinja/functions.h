// The functions that every template has: range, dict, namespace, raise_exception, strftime_now.
// A table, any thread.
#pragma once

#include <span>
#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

struct NamedFunction {
  std::string_view name;
  NativeFunction call;
};

std::span<const NamedFunction> functions();

}  // namespace parkd::jinja
