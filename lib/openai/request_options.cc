#include "lib/openai/request_options.h"

#include <algorithm>

#include "lib/job/ending_codes.h"
#include "lib/job/endpoints.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completions_request.h"
#include "lib/openai/responses_request.h"

namespace parkd {

Result<int32_t> resolve_max_new_tokens(std::optional<int32_t> asked, int32_t prompt_tokens,
                                       int32_t context_tokens) {
  if (prompt_tokens >= context_tokens) {
    return invalid("the prompt has " + std::to_string(prompt_tokens) +
                   " tokens; the model's context of " + std::to_string(context_tokens) +
                   " tokens must hold it and at least one more")
        .with_error_code(failure::kContextLengthExceeded);
  }
  const int32_t wanted = asked ? *asked : std::clamp(context_tokens / 5, 128, 16384);
  return std::min(wanted, context_tokens - prompt_tokens);
}

Result<RequestOptions> read_request_options(const std::string& path, const std::string& body) {
  const EndpointPath* known = find_endpoint(path);
  if (known == nullptr) return invalid_param("endpoint", unsupported_endpoint(path));
  // The model's own temperature is not known: where it may be 0, a top_p of 0 may stand.
  RequestDefaults defaults;
  defaults.sampling.temperature = 0;
  switch (known->endpoint) {
    case Endpoint::chat: {
      PARKD_ASSIGN_OR_RETURN(const ChatRequest request, parse_chat_request(body, defaults));
      return RequestOptions(request);
    }
    case Endpoint::completions: {
      PARKD_ASSIGN_OR_RETURN(const CompletionsRequest request,
                             parse_completions_request(body, defaults));
      return RequestOptions(request);
    }
    case Endpoint::responses: {
      PARKD_ASSIGN_OR_RETURN(const ResponsesRequest request,
                             parse_responses_request(body, defaults));
      return RequestOptions(request);
    }
  }
  return invalid_param("endpoint", unsupported_endpoint(path));
}

}  // namespace parkd
