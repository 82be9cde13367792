// What `loop` knows of the turn of a for loop. One thread.
#pragma once

#include <optional>
#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

// Nothing where a loop has no such attribute.
std::optional<Value> loop_attribute(Runtime& runtime, const Value& loop, std::string_view name);

}  // namespace parkd::jinja
