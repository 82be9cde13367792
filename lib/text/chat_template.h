// ChatTemplate: the text that a conversation becomes for a model, as segments, so that the
// tokenizer knows which characters are the template's own and which are a user's.
//
// A model's Jinja template, read once (lib/jinja) and rendered as transformers' apply_chat_template
// does (tests/jinja, tools/golden/templates.py). Immutable; any thread.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/jinja/template.h"
#include "lib/text/chat_message.h"
#include "lib/text/prompt_segment.h"

namespace parkd {

struct ChatTemplateOptions {
  // Ends with the opening of the assistant's turn.
  bool add_generation_prompt = true;
  // The last message is left open, for the model to go on with it; without a generation prompt.
  bool continue_final_message = false;
  jinja::Value arguments;                     // a dict of more variables; undefined: none
  jinja::Value tools = jinja::Value::none();  // a list of them
  std::chrono::sys_seconds created_at{};      // what the template takes for now
};

class ChatTemplate {
 public:
  // `source`: a model's Jinja template. `specials`: variables that name special tokens
  // ("bos_token", "<s>"), which are the template's own text. Errors: invalid, with the line.
  static Result<ChatTemplate> from_jinja(
      std::string_view source, std::span<const std::pair<std::string, std::string>> specials);

  // Roles that OpenAI has are the template's own text, all else of a message is content. Errors:
  // invalid (param: messages), where the template refuses or cannot work with the messages.
  Result<std::vector<PromptSegment>> render(std::span<const ChatMessage> messages,
                                            const ChatTemplateOptions& options) const;

 private:
  ChatTemplate(jinja::Template made, std::vector<std::pair<std::string, jinja::Value>> specials)
      : template_(std::move(made)), specials_(std::move(specials)) {}

  jinja::Template template_;
  std::vector<std::pair<std::string, jinja::Value>> specials_;
};

}  // namespace parkd
