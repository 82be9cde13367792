// The header Range of a request for bytes (RFC 9110, 14.1.2). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

struct ByteRange {
  int64_t from = 0;
  int64_t size = 0;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// What of `bytes` is asked for. Nothing, and that means all of it: no header, another unit, several
// ranges, or what is not a range (a server may pass these over). Errors: invalid, when none of the
// bytes is in the range (416).
Result<std::optional<ByteRange>> read_range(std::string_view header, int64_t bytes);

}  // namespace parkd
