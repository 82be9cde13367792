// The messages of a chat request's body. Pure, any thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_message.h"

namespace parkd {

// Appends them to `out`. `written`: the field as it stands in the body. Errors: invalid, param =
// the field ("messages[2].content").
Status read_messages(const std::string& field, const boost::json::value& value,
                     std::string_view written, std::vector<ChatMessage>& out);

}  // namespace parkd
