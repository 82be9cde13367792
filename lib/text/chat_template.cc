#include "lib/text/chat_template.h"

#include <algorithm>
#include <array>

#include "lib/jinja/unicode.h"

namespace parkd {
namespace {

using jinja::Origin;
using jinja::Text;
using jinja::Value;

// What transformers puts behind the message that is to go on, to find its end.
constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG ";

Value text_value(std::string text, Origin origin) {
  return Value::text(std::move(text), origin);
}

bool is_known_role(std::string_view role) {
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant", "tool",
                                                             "developer"};
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

Value value_of(const ChatMessage& message, std::string_view tag) {
  const auto literal = [](const char* text) { return text_value(text, Origin::literal); };
  std::vector<std::pair<Value, Value>> entries;
  entries.emplace_back(
      literal("role"),
      text_value(message.role, is_known_role(message.role) ? Origin::literal : Origin::content));
  entries.emplace_back(literal("content"),
                       text_value(message.content + std::string(tag), Origin::content));
  for (const auto& [name, text] : message.more) {
    entries.emplace_back(text_value(name, Origin::literal), text_value(text, Origin::content));
    if (name == "reasoning_content") {  // gpt-oss reads it by this name
      entries.emplace_back(literal("thinking"), text_value(text, Origin::content));
    }
  }
  return Value::dict(std::move(entries));
}

// The text up to the end of the message that is to go on.
Result<Text> cut_at_tag(const Text& text) {
  const std::string_view word = kTag.substr(0, kTag.size() - 1);
  const size_t tag = text.bytes().rfind(word);
  if (tag == std::string::npos) {
    return invalid("continue_final_message: the chat template does not show the last message");
  }
  const Text head = text.slice(0, tag);
  if (text.bytes().compare(tag, kTag.size(), kTag) == 0) return head;
  return head.slice(0, jinja::end_without_blanks(head.bytes()));  // it trims its messages
}

std::vector<PromptSegment> segments_of(const Text& text) {
  std::vector<PromptSegment> segments;
  size_t first = 0;
  for (const Text::Run& run : text.runs()) {
    segments.push_back({run.origin == Origin::content ? PromptSegment::Kind::content
                                                      : PromptSegment::Kind::literal,
                        text.bytes().substr(first, run.end - first)});
    first = run.end;
  }
  return segments;
}

}  // namespace

std::string text_of(std::span<const PromptSegment> prompt) {
  std::string text;
  for (const PromptSegment& segment : prompt) text += segment.text;
  return text;
}

Result<ChatTemplate> ChatTemplate::from_jinja(
    std::string_view source, std::span<const std::pair<std::string, std::string>> specials) {
  auto made = jinja::Template::compile(source, jinja::Limits{});
  if (!made.ok()) return invalid("chat template: " + made.status().message());
  std::vector<std::pair<std::string, Value>> values;
  for (const auto& [name, token] : specials) {
    values.emplace_back(name, text_value(token, Origin::literal));
  }
  return ChatTemplate(std::move(made).value(), std::move(values));
}

Result<std::vector<PromptSegment>> ChatTemplate::render(std::span<const ChatMessage> messages,
                                                        const ChatTemplateOptions& options) const {
  std::vector<Value> values;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool goes_on = options.continue_final_message && i + 1 == messages.size();
    values.push_back(value_of(messages[i], goes_on ? kTag : std::string_view()));
  }
  std::vector<jinja::Variable> variables(specials_.begin(), specials_.end());
  if (options.arguments.is_dict()) {
    for (const auto& [name, value] : options.arguments.as_dict().entries) {
      variables.emplace_back(name.as_bytes(), value);
    }
  }
  variables.emplace_back("messages", Value::list(std::move(values)));
  variables.emplace_back("tools", options.tools);
  variables.emplace_back("documents", Value::none());
  variables.emplace_back("add_generation_prompt", Value::boolean(options.add_generation_prompt &&
                                                                 !options.continue_final_message));
  auto text = template_.render(variables, options.created_at);
  if (text.ok() && options.continue_final_message) text = cut_at_tag(*text);
  if (!text.ok()) return invalid_param("messages", "chat template: " + text.status().message());
  return segments_of(*text);
}

}  // namespace parkd
