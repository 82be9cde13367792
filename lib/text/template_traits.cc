#include "lib/text/template_traits.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/jinja/json_value.h"

namespace parkd {
namespace {

using jinja::Origin;
using jinja::Value;

using Entries = std::vector<std::pair<Value, Value>>;

Value literal(std::string_view text) {
  return Value::text(std::string(text), Origin::literal);
}

Value content(std::string text) {
  return Value::text(std::move(text), Origin::content);
}

bool is_known_role(std::string_view role) {
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant", "tool",
                                                             "developer"};
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

const Value* find(const Value& dict, std::string_view key) {
  if (!dict.is_dict()) return nullptr;
  for (const auto& [name, value] : dict.as_dict().entries) {
    if (name.is_text() && name.as_bytes() == key) return &value;
  }
  return nullptr;
}

// The dict with another value under a key that it has.
Value with(const Value& dict, std::string_view key, const Value& value) {
  Entries entries = dict.as_dict().entries;
  for (auto& [name, old] : entries) {
    if (name.is_text() && name.as_bytes() == key) old = value;
  }
  return Value::dict(std::move(entries));
}

// The calls with their arguments as dicts, where they are texts of JSON objects.
Value with_mappings(const Value& calls) {
  std::vector<Value> made;
  for (const Value& call : calls.as_sequence().items) {
    const Value* function = find(call, "function");
    const Value* arguments = function == nullptr ? nullptr : find(*function, "arguments");
    if (arguments == nullptr || !arguments->is_text()) {
      made.push_back(call);
      continue;
    }
    const std::string& text = arguments->as_bytes();
    const auto read = jinja::json_value(text.empty() ? "{}" : text, Origin::content);
    made.push_back(read ? with(call, "function", with(*function, "arguments", *read)) : call);
  }
  return Value::list(std::move(made));
}

Value part(std::string text) {
  return Value::dict({{literal("type"), literal("text")}, {literal("text"), content(text)}});
}

Value content_of(const ChatMessage& message, const TemplateTraits& traits, std::string_view tag) {
  const bool came_in_parts = !message.parts.empty();
  if (traits.takes_text && !(came_in_parts && traits.takes_parts)) {
    return content(message.content + std::string(tag));
  }
  std::vector<std::string> texts = message.parts;
  if (!came_in_parts) texts = {message.content};
  texts.back() += tag;
  std::vector<Value> parts;
  for (std::string& text : texts) parts.push_back(part(std::move(text)));
  return Value::list(std::move(parts));
}

// --- asking a template

constexpr jinja::Limits kProbeLimits = {.steps_max = 200'000,
                                        .depth_max = 200,
                                        .items_max = 20'000,
                                        .made_bytes_max = 16u << 20,
                                        .output_bytes_max = 1u << 20};
constexpr std::string_view kProbeText = "parkd_probe_text";
constexpr std::string_view kProbeArgument = "parkd_probe_argument";
constexpr std::string_view kProbeTool = "parkd_probe_tool";

class Probe {
 public:
  Probe(const jinja::Template& made, std::span<const std::pair<std::string, Value>> specials)
      : made_(made.bounded(kProbeLimits)), specials_(specials) {}

  // Empty where it refuses.
  std::string render(std::span<const ChatMessage> messages, const TemplateTraits& traits,
                     const Value& tools) const {
    std::vector<Value> values;
    for (const ChatMessage& message : messages) values.push_back(value_of(message, traits, {}));
    std::vector<jinja::Variable> variables(specials_.begin(), specials_.end());
    variables.emplace_back("messages", Value::list(std::move(values)));
    variables.emplace_back("tools", tools);
    variables.emplace_back("documents", Value::none());
    variables.emplace_back("add_generation_prompt", Value::boolean(true));
    const auto text = made_.render(variables, std::chrono::sys_seconds());
    return text.ok() ? text->bytes() : std::string();
  }

 private:
  const jinja::Template made_;
  const std::span<const std::pair<std::string, Value>> specials_;
};

bool has(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

void find_content_traits(const Probe& probe, TemplateTraits& traits) {
  const std::string needle(kProbeText);
  ChatMessage message{"user", needle};
  const bool takes_text = has(probe.render({&message, 1}, traits, Value::none()), needle);
  message.parts = {needle};
  TemplateTraits by_parts = traits;
  by_parts.takes_parts = true;
  const std::string text = probe.render({&message, 1}, by_parts, Value::none());
  // Written as Python or JSON writes a list, it was not read.
  traits.takes_parts =
      has(text, needle) && !has(text, "'text': '" + needle) && !has(text, "\"text\": \"" + needle);
  traits.takes_text = takes_text || !traits.takes_parts;
}

Value probe_tools() {
  const std::string tools = R"([{"type":"function","function":{"name":")" +
                            std::string(kProbeTool) +
                            R"(","description":"Tells.","parameters":{"type":"object",)"
                            R"("properties":{"a":{"type":"string","description":"b"}},)"
                            R"("required":["a"]}}}])";
  return jinja::json_value(tools, Origin::literal).value_or(Value::none());
}

bool shows_tools(const Probe& probe, const TemplateTraits& traits) {
  const std::array<ChatMessage, 2> messages = {ChatMessage{"system", "Be."},
                                               ChatMessage{"user", "Do."}};
  const std::span<const ChatMessage> all(messages);
  return has(probe.render(all.subspan(1), traits, probe_tools()), kProbeTool) ||
         has(probe.render(all, traits, probe_tools()), kProbeTool);
}

std::array<ChatMessage, 3> probe_calls() {
  const std::string call = R"([{"id":"parkd0000","type":"function","function":{"name":")" +
                           std::string(kProbeCall) + R"(","arguments":"{\")" +
                           std::string(kProbeArgument) + R"(\": \"b\"}"}}])";
  ChatMessage answer{"assistant", ""};
  answer.has_content = false;
  answer.tool_calls = jinja::json_value(call, Origin::literal).value_or(Value());
  ChatMessage result{"tool", "done", {{"tool_call_id", "parkd0000"}}};
  result.more.emplace_back("name", kProbeCall);
  return {ChatMessage{"user", "Do."}, std::move(answer), std::move(result)};
}

void find_call_traits(const Probe& probe, TemplateTraits& traits) {
  const std::array<ChatMessage, 3> messages = probe_calls();
  const Value tools = traits.takes_tools ? probe_tools() : Value::none();
  const std::string argument(kProbeArgument);
  std::optional<TemplateTraits> doubtful;
  for (const CallArguments arguments : {CallArguments::mapping, CallArguments::text}) {
    for (const bool empty_for_none : {false, true}) {
      TemplateTraits tried = traits;
      tried.call_arguments = arguments;
      tried.empty_for_none = empty_for_none;
      tried.written_call = probe.render(messages, tried, tools);
      const std::string& text = tried.written_call;
      if (!has(text, kProbeCall) || !has(text, argument)) continue;
      // As Python writes a dict, or a text inside of a text: it expects the other.
      if (!has(text, "'" + argument + "'") && !has(text, "\\\"" + argument)) {
        traits = std::move(tried);
        return;
      }
      if (!doubtful) doubtful = std::move(tried);
    }
  }
  if (doubtful) traits = *std::move(doubtful);
}

}  // namespace

Value value_of(const ChatMessage& message, const TemplateTraits& traits, std::string_view tag) {
  Entries entries;
  entries.emplace_back(literal("role"),
                       is_known_role(message.role) ? literal(message.role) : content(message.role));
  if (message.has_content || traits.empty_for_none || !tag.empty()) {
    entries.emplace_back(literal("content"), content_of(message, traits, tag));
  }
  for (const auto& [name, text] : message.more) {
    entries.emplace_back(literal(name), content(text));
    if (name == "reasoning_content") {  // gpt-oss reads it by this name
      entries.emplace_back(literal("thinking"), content(text));
    }
  }
  if (message.tool_calls.is_sequence()) {
    entries.emplace_back(literal("tool_calls"), traits.call_arguments == CallArguments::text
                                                    ? message.tool_calls
                                                    : with_mappings(message.tool_calls));
  }
  return Value::dict(std::move(entries));
}

TemplateTraits find_traits(const jinja::Template& made,
                           std::span<const std::pair<std::string, Value>> specials) {
  const Probe probe(made, specials);
  TemplateTraits traits;
  find_content_traits(probe, traits);
  traits.takes_tools = shows_tools(probe, traits);
  find_call_traits(probe, traits);
  return traits;
}

}  // namespace parkd
