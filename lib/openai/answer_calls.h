// The text of a call, as a model wrote it, read as calls of a request's tools. Pure, any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/openai/answer_form.h"

namespace parkd {

struct AnswerCall {
  std::string name;
  std::string arguments;  // a JSON object, as the model wrote it
};

// A call's text as its marks part it: what stands behind each.
struct CallPart {
  Marker mark = Marker::call_open;
  std::string text;
};

// `parts` begin with call_open. Errors: invalid, whose message says what is wrong with the call;
// then nothing of it is one.
Result<std::vector<AnswerCall>> read_calls(CallForm form, std::span<const CallPart> parts,
                                           std::span<const std::string> tool_names);

// Whether an answer of Llama's form that begins with a brace is meant as a call.
bool looks_like_call(std::string_view text);

}  // namespace parkd
