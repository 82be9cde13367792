// StoredAnswer: the body of a completed job's message, read back for a stream that ends with it.
// Values, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/endpoints.h"
#include "lib/openai/completion_response.h"

namespace parkd {

struct StoredChoice {
  std::string reasoning;
  std::string content;
  std::vector<LogprobJson> logprobs;  // empty: not asked for
  std::string tool_calls;             // as a chunk has them: each with its index; empty: none
  std::string finish_reason;
};

struct StoredAnswer {
  Endpoint endpoint = Endpoint::chat;
  int64_t created_s = 0;
  std::string model;
  std::string system_fingerprint;
  std::string usage;  // JSON
  std::vector<StoredChoice> choices;
};

// Whether a completed body is one whose endpoint streams (endpoints.h).
bool is_streamed_answer(std::string_view body);

// Of a body that completion_response.h has written and whose endpoint streams. Errors: corrupt,
// where it is none.
Result<StoredAnswer> read_stored_answer(std::string_view body);

}  // namespace parkd
