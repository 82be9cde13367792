// The `input` of a /v1/responses body, as the messages of a chat: a text, or a list of messages and
// of what an earlier answer had in its `output`. Pure, any thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_message.h"

namespace parkd {

// Appends them to `out`. A reasoning item becomes the reasoning of the assistant's message behind
// it, which must be there. `written_bytes`: of the field as it stands in the body. Errors: invalid,
// param = the field ("input[2].content").
Status read_response_input(const std::string& field, const boost::json::value& value,
                           size_t written_bytes, std::vector<ChatMessage>& out);

}  // namespace parkd
