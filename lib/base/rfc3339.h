// Times as clients write them (RFC 3339); to_rfc3339, the other way, is in clock.h. Pure, any
// thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"

namespace parkd {

// "2026-11-23T12:00:00Z", fractions and offsets allowed.
std::optional<WallTime> parse_rfc3339(std::string_view text);
// Why a field of that text is refused, behind the field's name.
std::string not_a_time(std::string_view text);

}  // namespace parkd
