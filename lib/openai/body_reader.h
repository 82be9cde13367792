// What the bodies of all endpoints share: the fields of RequestOptions, those that are passed over,
// those that are known and refused by name; and the loop over a body's members. An endpoint adds
// the fields of its own.
//
// Whatever the bytes are, the answer is a value or a Status `invalid` whose param names the field;
// nothing is ignored silently. Pure, any thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "lib/openai/request_options.h"

namespace parkd {

// What an endpoint makes of a field of its own, which may be null; nothing: it has none of that
// name.
using ReadOwnField =
    std::function<std::optional<Status>(const std::string& field, const boost::json::value& value)>;

inline constexpr std::string_view kMaxTokens[] = {"max_tokens"};

struct EndpointFields {
  ReadOwnField read;
  // The names under which it takes a limit on generated tokens; two may be given, as one number.
  std::span<const std::string_view> max_tokens_names = kMaxTokens;
  // What the other endpoints share and this one does not know.
  std::span<const std::string_view> without{};
  // What a field that another API has is called here ("; it is stop here"); empty: not known.
  std::string (*word_here)(std::string_view name) = nullptr;
};

// Reads a body into `out`, which holds what a field means that is left out.
Status read_body(std::string_view body, const EndpointFields& endpoint, RequestOptions& out);

// Known to the endpoint, and not served yet: values that mean "off" are let through.
Status off_or_unsupported(const std::string& field, bool is_off);

}  // namespace parkd
