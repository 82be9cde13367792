// ChatMessage: one message of a conversation, as a chat template reads it. A value.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/jinja/value.h"

namespace parkd {

struct ChatMessage {
  std::string role;     // system, user, assistant or tool (developer is read as system)
  std::string content;  // valid UTF-8; text parts are joined by newlines, as vLLM does
  // Name and text of what a template may read besides: name, tool_call_id, and reasoning_content
  // (and reasoning) of an earlier answer. A template that does not read them ignores them.
  std::vector<std::pair<std::string, std::string>> more{};
  bool has_content = true;           // false: there is none, beside calls
  std::vector<std::string> parts{};  // of the content, where it came in parts
  // The calls of an earlier answer, a list as it was given: what each has as its arguments is the
  // text of a JSON object (or empty). Undefined: none.
  jinja::Value tool_calls{};
};

}  // namespace parkd
