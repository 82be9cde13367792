// How a caller wants its answer: OpenAI's `stream` and `stream_options`. The door takes them out of
// the body, so that the job behind it is the same job, whoever reads it how.
// Pure, any thread.
#pragma once

#include <functional>
#include <string>

#include "lib/base/status.h"

namespace parkd {

struct StreamRequest {
  bool stream = false;
  bool include_usage = false;  // a last chunk with the usage; null in the others
};

// Takes both members out of the body; of one that is not a JSON object, nothing: who reads it says
// what is the matter. `grow` is asked for the memory that reading takes. Errors: invalid (param),
// and those of `grow`.
Result<StreamRequest> take_stream_request(std::string& body,
                                          const std::function<Status(size_t)>& grow);

}  // namespace parkd
