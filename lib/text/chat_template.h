// ChatTemplate: the text that a conversation becomes for a model, as segments, so that the
// tokenizer knows which characters are the template's own and which are a user's.
//
// Immutable; any thread. Jinja is not implemented: a model's template is recognised by its source,
// in the forms whose output is proven to be what Jinja renders (tests/golden), and refused
// otherwise. Content is put in exactly as it is: no trimming.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_message.h"

namespace parkd {

struct PromptSegment {
  enum class Kind {
    literal,  // the template's own text: special tokens in it count
    content,  // a role or a message: only letters
  };
  Kind kind = Kind::literal;
  std::string text;

  friend bool operator==(const PromptSegment&, const PromptSegment&) = default;
};

// The whole text of a rendered prompt.
std::string text_of(std::span<const PromptSegment> prompt);

class ChatTemplate {
 public:
  // `source`: a model's Jinja template. Errors: invalid, "chat template not supported yet".
  static Result<ChatTemplate> from_jinja(std::string_view source);

  // The prompt that asks the assistant to answer `messages`, that is with add_generation_prompt.
  std::vector<PromptSegment> render(std::span<const ChatMessage> messages) const;

  // What a conversation that does not start with a system message is told.
  const std::optional<std::string>& default_system() const { return default_system_; }

 private:
  ChatTemplate() = default;

  std::optional<std::string> default_system_;
};

}  // namespace parkd
