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

struct CompletionsRequest : RequestOptions {
  // A text, or token ids: >= 0, and maybe beyond the model's vocabulary.
  std::variant<std::string, std::vector<TokenId>> prompt;
};

// A prompt may be a text, token ids, or a list of one of them: a job runs one prompt. Errors:
// invalid, with param = the field.
Result<CompletionsRequest> parse_completions_request(std::string_view body,
                                                     const RequestDefaults& defaults);

}  // namespace parkd
