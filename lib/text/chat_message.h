// ChatMessage: one message of a conversation, as a chat template reads it. A value.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace parkd {

struct ChatMessage {
  std::string role;     // system, user or assistant (developer is read as system)
  std::string content;  // valid UTF-8; text parts are joined by newlines, as vLLM does
  // Name and text of what a template may read besides: name, and reasoning_content of an earlier
  // answer. A template that does not read them ignores them.
  std::vector<std::pair<std::string, std::string>> more{};
};

}  // namespace parkd
