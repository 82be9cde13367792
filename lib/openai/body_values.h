// Values in the body of a request: how they are read, and the words in which they are refused.
// Pure, any thread. Every Status is invalid, with param = the field.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

// The value as people write it, shortened for a message. (Boost.JSON writes 9.0 as 9E0.)
std::string shown_value(const boost::json::value& value);
// "temperature is 9; it must be ..."
Status wrong_value(const std::string& field, const boost::json::value& value,
                   const std::string& must);
// A name the sender made up, shortened like a value. `parent`: "messages[0].", or nothing.
Status unknown_member(const std::string& parent, std::string_view name);
Status unsupported_field(const std::string& field);

std::optional<double> number_of(const boost::json::value& value);
bool is_number(const boost::json::value& value, double expected);
// Null, or an array or object of nothing: how clients write that they do not want a thing.
bool is_empty_or_null(const boost::json::value& value);
// 64 and 64.0 are the same JSON number (whole_number).
Status read_int(const std::string& field, const boost::json::value& value, int32_t min, int32_t max,
                int32_t& out);
Status read_bool(const std::string& field, const boost::json::value& value, bool& out);
// What the value is not that OpenAI's metadata must be, at most 16 pairs of texts of 64 and 512
// characters; empty: it is.
std::string why_no_pairs(const boost::json::value& value);

}  // namespace parkd
