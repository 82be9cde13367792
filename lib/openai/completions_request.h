// CompletionsRequest: the body of /v1/completions (OpenAI's legacy completions), read strictly, as
// chat_request.h reads a chat's. Pure, any thread.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/openai/request_options.h"

namespace parkd {

// OpenAI's, where neither the request nor the model's configuration says.
inline constexpr int32_t kCompletionTokensDefault = 16;

// A text, or token ids: >= 0, and maybe beyond the model's vocabulary. Neither is empty.
using CompletionPrompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionsRequest : RequestOptions {
  std::vector<CompletionPrompt> prompts;  // at least one
  bool prompt_is_list = false;            // of prompts, maybe of one: they are prompt[0], prompt[1]
};

// A prompt is a text, token ids, or a list of such. Errors: invalid, with param = the field.
Result<CompletionsRequest> parse_completions_request(std::string_view body,
                                                     const RequestDefaults& defaults);

}  // namespace parkd
