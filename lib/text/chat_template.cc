#include "lib/text/chat_template.h"

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

// A model that would not see what it is given must not answer as if it did.
Status check_is_read(std::span<const ChatMessage> messages, bool has_tools,
                     const TemplateTraits& traits) {
  if (has_tools && !traits.takes_tools) {
    return invalid_param("tools",
                         "the model's chat template does not show tools, so the model would not "
                         "see them: leave them out, or give tool_choice \"none\"");
  }
  if (traits.call_arguments != CallArguments::none) return {};
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].tool_calls.is_sequence()) continue;
    const std::string field = "messages[" + std::to_string(i) + "].tool_calls";
    return invalid_param(field, field +
                                    ": the model's chat template does not show calls, so the model "
                                    "would not see them: write what they say into content, or "
                                    "leave the message out");
  }
  return {};
}

}  // namespace

std::string text_of(std::span<const PromptSegment> prompt) {
  std::string text;
  for (const PromptSegment& segment : prompt) text += segment.text;
  return text;
}

Result<ChatTemplate::Made> ChatTemplate::make(std::string_view source, const Values& specials) {
  auto made = jinja::Template::compile(source, jinja::Limits{});
  if (!made.ok()) return invalid("chat template: " + made.status().message());
  TemplateTraits traits = find_traits(*made, specials);
  return Made{std::string(source), std::move(made).value(), std::move(traits)};
}

bool ChatTemplate::mentions(std::string_view text) const {
  return text_.source.find(text) != std::string::npos ||
         (tool_use_ && tool_use_->source.find(text) != std::string::npos);
}

Result<ChatTemplate> ChatTemplate::from_sources(const TemplateSources& sources, Specials specials) {
  Values values;
  for (const auto& [name, token] : specials) {
    values.emplace_back(name, text_value(token, Origin::literal));
  }
  PARKD_ASSIGN_OR_RETURN(Made text, make(sources.text, values));
  std::optional<Made> tool_use;
  if (sources.tool_use) {
    PARKD_ASSIGN_OR_RETURN(tool_use, make(*sources.tool_use, values));
  }
  return ChatTemplate(std::move(text), std::move(tool_use), std::move(values));
}

Result<ChatTemplate> ChatTemplate::from_jinja(std::string_view source, Specials specials) {
  return from_sources({std::string(source), std::nullopt}, specials);
}

Result<std::vector<PromptSegment>> ChatTemplate::render(std::span<const ChatMessage> messages,
                                                        const ChatTemplateOptions& options) const {
  const bool has_tools = !options.tools.is_none();
  const Made& made = has_tools && tool_use_ ? *tool_use_ : text_;
  PARKD_RETURN_IF_ERROR(check_is_read(messages, has_tools, made.traits));
  std::vector<Value> values;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool goes_on = options.continue_final_message && i + 1 == messages.size();
    if (goes_on && !messages[i].has_content) {
      return invalid_param("continue_final_message",
                           "continue_final_message is true, but the last message has no content");
    }
    values.push_back(value_of(messages[i], made.traits, goes_on ? kTag : std::string_view()));
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
  auto text = made.jinja.render(variables, options.created_at);
  if (text.ok() && options.continue_final_message) text = cut_at_tag(*text);
  if (!text.ok()) return invalid("chat template: " + text.status().message());
  return segments_of(*text);
}

}  // namespace parkd
