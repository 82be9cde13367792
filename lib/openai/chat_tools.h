// The tools of a chat request's body, what it says of calling them, and the calls that an earlier
// answer made. Pure, any thread. Errors: invalid, param = the field.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/jinja/value.h"

namespace parkd {

struct ChatTools {
  jinja::Value list = jinja::Value::none();  // as they were given; none: there are none
  std::vector<std::string> names;
};

// `written`: the field as it stands in the body, whose order and digits are kept.
Status read_tools(const std::string& field, const boost::json::value& value,
                  std::string_view written, ChatTools& out);

enum class ToolChoice : uint8_t { not_said, none, by_model };

// A call that is forced, or a choice of tools, is refused by name.
Status read_tool_choice(const std::string& field, const boost::json::value& value, ToolChoice& out);

// The calls of one message; `n_bytes` counts those of all.
Status read_tool_calls(const std::string& field, const boost::json::value& value,
                       std::string_view written, size_t& n_bytes, jinja::Value& out);

}  // namespace parkd
