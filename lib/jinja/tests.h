// Jinja's tests ("is defined", "is string"), also as selectattr and reject name them. A table, any
// thread.
#pragma once

#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

struct Test {
  std::string_view name;
  bool (*call)(Runtime& runtime, const Value& self, const CallArguments& arguments);
};

// Null where there is none of that name.
const Test* find_test(std::string_view name);

}  // namespace parkd::jinja
