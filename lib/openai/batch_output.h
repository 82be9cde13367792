// The lines of a batch's output and error file, in OpenAI's words, each made of its member's
// message alone: the same bytes whenever it is rendered.
//
// {"id": "batch_req_<job id>", "custom_id", "response": {"status_code", "request_id", "body"} |
// null,
//   "error": {"code", "message"} | null}. A completed member is a response of status 200, a refused
// one (is_refusal, wire.h) a response of 4xx with the error object as its body; all others have no
// response, and an error: batch_cancelled, batch_expired where the deadline came first, else the
// code that the job ended with. Pure functions, any thread.
#pragma once

#include <string>

#include "lib/job/file_batch.h"
#include "lib/job/job.h"

namespace parkd {

// Whether it stands in the output file; all others stand in the error file.
bool is_output_line(const Message& message);

// With its newline, and without another: line breaks between a stored body's tokens are left out,
// and U+0085, U+2028 and U+2029, which end a line for some readers, are written as escapes.
std::string render_batch_line(const Message& message);

// What a completed body says under "usage", in the words of its endpoint; of all others, and where
// it says nothing, 0.
BatchUsage usage_of(const Message& message);

}  // namespace parkd
