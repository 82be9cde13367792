// ChatTemplate: the text that a conversation becomes for a model, as segments, so that the
// tokenizer knows which characters are the template's own and which are a user's.
//
// A model's Jinja template, read once (lib/jinja) and rendered as transformers' apply_chat_template
// does (tests/jinja, tools/golden/templates.py). Immutable; any thread.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/jinja/template.h"
#include "lib/text/chat_message.h"
#include "lib/text/prompt_segment.h"
#include "lib/text/template_traits.h"

namespace parkd {

struct ChatTemplateOptions {
  // Ends with the opening of the assistant's turn.
  bool add_generation_prompt = true;
  // The last message is left open, for the model to go on with it; without a generation prompt.
  bool continue_final_message = false;
  jinja::Value arguments;  // a dict of more variables; undefined: none
  // A list of them, not empty. Where a model has a template of its own for them it is taken.
  jinja::Value tools = jinja::Value::none();
  std::chrono::sys_seconds created_at{};  // what the template takes for now
};

// The Jinja templates of a model.
struct TemplateSources {
  std::string text;
  std::optional<std::string> tool_use;  // where tools are given
};

class ChatTemplate {
 public:
  // `specials`: variables that name special tokens ("bos_token", "<s>"), which are the template's
  // own text. Errors: invalid, with the line.
  using Specials = std::span<const std::pair<std::string, std::string>>;
  static Result<ChatTemplate> from_sources(const TemplateSources& sources, Specials specials);
  static Result<ChatTemplate> from_jinja(std::string_view source, Specials specials);

  // Roles that OpenAI has are the template's own text, all else of a message and of tools is
  // content. Errors: invalid, where the template refuses or cannot work with what it is given
  // (without a param: it is the messages, whatever they are called), and where it would leave out
  // tools or calls (param: which).
  Result<std::vector<PromptSegment>> render(std::span<const ChatMessage> messages,
                                            const ChatTemplateOptions& options) const;

  // Whether that stands in one of the templates.
  bool mentions(std::string_view text) const;
  // Of the template that tools are given to.
  const TemplateTraits& tool_traits() const { return (tool_use_ ? *tool_use_ : text_).traits; }

 private:
  struct Made {
    std::string source;
    jinja::Template jinja;
    TemplateTraits traits;
  };
  using Values = std::vector<std::pair<std::string, jinja::Value>>;
  static Result<Made> make(std::string_view source, const Values& specials);

  ChatTemplate(Made text, std::optional<Made> tool_use, Values specials)
      : text_(std::move(text)), tool_use_(std::move(tool_use)), specials_(std::move(specials)) {}

  Made text_;
  std::optional<Made> tool_use_;
  Values specials_;
};

}  // namespace parkd
