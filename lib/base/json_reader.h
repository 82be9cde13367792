// The one reader of JSON that others wrote: requests over HTTP, what jobctl is given, bodies that a
// store kept.
//
// Strict: a text of RFC 8259 in UTF-8 that means one thing. Refused are also a member that is given
// twice in one object, U+0000 and half of a surrogate pair (no text, and nothing that every store
// can hold), and a number too large for a double. A byte order mark before it is passed over. The
// words of a refusal are the same at every door: the place (line, byte of the line, both from 1),
// the cause, the way out.
// Pure functions, any thread; whatever the bytes are, the answer is a value or a Status.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/json_memory.h"
#include "lib/base/status.h"

namespace parkd {

// Whether strings may hold U+0000: only where no store will ever hold them (files of a model).
enum class JsonNul { refused, taken };

// The value of a text, in `memory`. `what` begins the message of a refusal ("the request").
// Errors: invalid (param: the member that is given twice, else empty), unavailable (what `memory`
// was refused, or the process has none left).
Result<boost::json::value> read_json(std::string_view text, std::string_view what, size_t depth_max,
                                     JsonMemory& memory, JsonNul nul = JsonNul::refused);

// `text` without a byte order mark.
std::string_view without_mark(std::string_view text);

// A number without a fraction, however it is written: 42, 42.0, 4.2e1. One that is written as a
// float counts up to 2^53, beyond which a double is no longer every integer.
std::optional<int64_t> whole_number(const boost::json::value& value);

// The value as JSON, cut to what a message can show of a peer's bytes.
std::string shown_json(const boost::json::value& value);
// The same of a name, without the dots that say that there was more.
std::string shown_name(std::string_view name);

}  // namespace parkd
