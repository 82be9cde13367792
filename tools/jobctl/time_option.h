// Times and durations on the command line.
#pragma once

#include <chrono>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"

namespace parkd::jobctl {

// "90s", "15m", "8h", "2d": `option` ("--retention") is named in errors. Errors: invalid.
Result<std::chrono::seconds> parse_duration(const std::string& option, const std::string& text);

// RFC 3339 of "+8h" or "8h" (from now), "2026-12-01", "2026-12-01 18:00[:30]" or with T (this
// machine's time zone; a date alone is its first moment), or either with a zone: "Z", "+02:00".
// Empty stays empty. Errors: invalid.
Result<std::string> parse_instant(const std::string& option, const std::string& text, WallTime now);

// For CLI11's check() of an option for a time: why a word that is there and empty, as of a variable
// that is not set, is refused; else empty.
std::string refuse_empty(const std::string& text);

// Whether "+8h" is counted from now, so that it is another instant each time.
bool is_relative(const std::string& text);

}  // namespace parkd::jobctl
