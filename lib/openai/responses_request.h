// ResponsesRequest: the body of /v1/responses (OpenAI's Responses), the part of it that is one text
// answer, read strictly as chat_request.h reads a chat's: it is the chat that it stands for.
// Pure, any thread.
#pragma once

#include <string_view>

#include "lib/base/status.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completion_response.h"

namespace parkd {

struct ResponsesRequest : ChatRequest {  // n = 1, without tools
  ResponseEcho echo;
};

// `instructions` are a system message before those of `input` (response_input.h). Errors: invalid,
// with param = the field ("input[2].content", "text.format").
Result<ResponsesRequest> parse_responses_request(std::string_view body,
                                                 const RequestDefaults& defaults);

}  // namespace parkd
