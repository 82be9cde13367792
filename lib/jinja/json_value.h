// JSON as the Value that Python's json.loads makes of it. Pure function, any thread.
#pragma once

#include <optional>
#include <string_view>

#include "lib/jinja/value.h"

namespace parkd::jinja {

// Every text, number and key in it is of `origin`. Members keep their order; numbers keep their
// digits. Of text that a strict reader has accepted (lib/base/json_reader.h): nothing where it is
// no JSON, or nests deeper than 100.
std::optional<Value> json_value(std::string_view text, Origin origin);

}  // namespace parkd::jinja
