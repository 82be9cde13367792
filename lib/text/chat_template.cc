#include "lib/text/chat_template.h"

namespace parkd {
namespace {

// The two forms of ChatML that are recognised, around the default system prompt of the first. Line
// breaks inside Jinja's string literals stand here as such.
constexpr std::string_view kLoop = "{% for message in messages %}";
constexpr std::string_view kDefaultSystemBegin =
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n";
constexpr std::string_view kDefaultSystemEnd = "<|im_end|>\n' }}{% endif %}";
constexpr std::string_view kTurns =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Jinja reads backslash-n in a string literal as a line break. None of the forms has one outside
// of a literal, so a template that has one there still matches nothing.
std::string with_line_breaks(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source.substr(i, 2) == "\\n") {
      text += '\n';
      ++i;
    } else {
      text += source[i];
    }
  }
  return text;
}

bool take(std::string_view& rest, std::string_view expected) {
  if (rest.substr(0, expected.size()) != expected) return false;
  rest.remove_prefix(expected.size());
  return true;
}

}  // namespace

std::string text_of(std::span<const PromptSegment> prompt) {
  std::string text;
  for (const PromptSegment& segment : prompt) text += segment.text;
  return text;
}

Result<ChatTemplate> ChatTemplate::from_jinja(std::string_view source) {
  const Status unsupported = invalid(
      "chat template not supported yet: it is not one of the ChatML forms that are known to be "
      "rendered exactly");
  const std::string text = with_line_breaks(source);
  std::string_view rest = text;
  ChatTemplate made;
  if (!take(rest, kLoop)) return unsupported;
  if (take(rest, kDefaultSystemBegin)) {
    const size_t end = rest.find(kDefaultSystemEnd);
    if (end == std::string_view::npos) return unsupported;
    const std::string_view system = rest.substr(0, end);
    // A quote would end the literal, another escape would mean another character, and Jinja turns
    // \r\n into \n.
    if (system.find_first_of("'\\\r") != std::string_view::npos) return unsupported;
    made.default_system_ = std::string(system);
    rest.remove_prefix(end + kDefaultSystemEnd.size());
  }
  if (rest != kTurns) return unsupported;
  return made;
}

std::vector<PromptSegment> ChatTemplate::render(std::span<const ChatMessage> messages) const {
  using Kind = PromptSegment::Kind;
  std::vector<PromptSegment> prompt;
  if (default_system_ && !messages.empty() && messages.front().role != "system") {
    prompt.push_back({Kind::literal, "<|im_start|>system\n" + *default_system_ + "<|im_end|>\n"});
  }
  for (const ChatMessage& message : messages) {
    prompt.push_back({Kind::literal, "<|im_start|>"});
    prompt.push_back({Kind::content, message.role});
    prompt.push_back({Kind::literal, "\n"});
    prompt.push_back({Kind::content, message.content});
    prompt.push_back({Kind::literal, "<|im_end|>\n"});
  }
  prompt.push_back({Kind::literal, "<|im_start|>assistant\n"});
  return prompt;
}

}  // namespace parkd
