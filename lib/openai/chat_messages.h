// The messages of a chat request's body. Pure, any thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_message.h"

namespace parkd {

// Appends them to `out`. Errors: invalid, param = the field ("messages[2].content").
Status read_messages(const std::string& field, const boost::json::value& value,
                     std::vector<ChatMessage>& out);

}  // namespace parkd
