// Times on the command line: "+8h" from now, or RFC 3339.
#pragma once

#include <chrono>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"

namespace parkd::jobctl {

// "90s", "15m", "8h", "2d" or a bare number of seconds. Errors: invalid.
Result<std::chrono::seconds> parse_duration(const std::string& text);

// "+8h" becomes now + 8 h in RFC 3339; anything else is passed on for the daemon to read.
Result<std::string> parse_instant(const std::string& text, WallTime now);

}  // namespace parkd::jobctl
