// ChatRequest: the body of /v1/chat/completions, read strictly.
//
// One parser for every door (HTTP, jobctl, JSONL, rows claimed from a store), so that a body means
// the same everywhere (body_reader.h). Pure, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/openai/request_options.h"
#include "lib/text/chat_message.h"
#include "lib/text/chat_template.h"

namespace parkd {

struct ChatRequest : RequestOptions {
  std::vector<ChatMessage> messages;
  // add_generation_prompt, continue_final_message, tools unless tool_choice is none, and as its
  // arguments chat_template_kwargs and enable_thinking.
  ChatTemplateOptions template_options;
  std::vector<std::string> tool_names;  // of the tools that may be called
  bool parallel_tool_calls = true;      // an answer may have several calls
};

// Errors: invalid, with param = the field ("messages[2].content").
Result<ChatRequest> parse_chat_request(std::string_view body, const RequestDefaults& defaults);

}  // namespace parkd
