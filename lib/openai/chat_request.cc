#include "lib/openai/chat_request.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/jinja/json_value.h"
#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"
#include "lib/openai/body_reader.h"
#include "lib/openai/body_values.h"
#include "lib/openai/chat_messages.h"
#include "lib/openai/chat_tools.h"

namespace parkd {
namespace {

namespace json = boost::json;

std::string word_here(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"system", "a system prompt is a message of role system"},
      {"stop_sequences", "it is stop here"},
      {"prompt", "a prompt is a message of role user in messages"},
      {"input", "a prompt is a message of role user in messages; input is for endpoint "},
      {"instructions", "instructions are a message of role system"},
      {"max_output_tokens", "it is max_tokens here"},
      {"max_new_tokens", "it is max_tokens here"},
      {"n_predict", "it is max_tokens here"},
      {"repeat_penalty", "it is repetition_penalty here"},
      {"generation_config", "its fields stand in the body itself here"},
      {"options", "its fields stand in the body itself here"}};
  for (const auto& [word, here] : kWords) {
    if (word != name) continue;
    std::string other;
    if (name == "prompt") other = ", or a body of endpoint " + path_of(Endpoint::completions);
    if (name == "input") other = path_of(Endpoint::responses);
    return "; " + std::string(here) + other;
  }
  return {};
}

// Known, and not served yet.
std::optional<Status> read_unsupported(const std::string& field, const json::value& value) {
  static constexpr std::array<std::string_view, 10> kUnsupported = {
      "functions", "function_call",      "audio", "prediction", "reasoning_effort",
      "verbosity", "web_search_options", "echo",  "suffix",     "chat_template"};
  if (field == "modalities") {
    const json::array* list = value.if_array();
    return off_or_unsupported(field, value.is_null() || (list != nullptr && list->size() == 1 &&
                                                         list->front() == "text"));
  }
  if (std::find(kUnsupported.begin(), kUnsupported.end(), field) == kUnsupported.end()) {
    return std::nullopt;
  }
  const bool none = field == "function_call" && value == "none";
  return off_or_unsupported(field, none || is_empty_or_null(value));
}

struct Reading {
  ChatRequest request;
  std::string_view body;
  std::optional<bool> add_generation_prompt;
  std::optional<bool> enable_thinking;
  ChatTools tools;
  ToolChoice tool_choice = ToolChoice::not_said;
};

Status read_choice(const std::string& field, const json::value& value, std::optional<bool>& out) {
  bool choice = false;
  PARKD_RETURN_IF_ERROR(read_bool(field, value, choice));
  out = choice;
  return {};
}

// Variables of the template, as they stand in the body: their order and digits are kept.
Status read_template_arguments(const std::string& field, const json::value& value, Reading& out) {
  static constexpr std::array<std::string_view, 8> kOwn = {
      "messages",  "tools",         "documents", "add_generation_prompt",
      "bos_token", "chat_template", "tokenize",  "continue_final_message"};
  if (!value.is_object()) return wrong_value(field, value, "an object");
  for (const auto& member : value.get_object()) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::find(kOwn.begin(), kOwn.end(), name) == kOwn.end()) continue;
    const std::string whole = field + "." + std::string(name);
    return invalid_param(whole, whole +
                                    " is not the template's to be given: it has its own field "
                                    "in the body, or none");
  }
  const std::string_view written = raw_member(out.body, field);
  if (written.size() > kTemplateArgumentsBytesMax) {
    return invalid_param(field, field + " has " + std::to_string(written.size()) +
                                    " bytes; the limit is " +
                                    std::to_string(kTemplateArgumentsBytesMax));
  }
  auto arguments = jinja::json_value(written, jinja::Origin::content);
  if (!arguments) return wrong_value(field, value, "an object");
  out.request.template_options.arguments = *std::move(arguments);
  return {};
}

std::optional<Status> read_template_field(const std::string& field, const json::value& value,
                                          Reading& out) {
  const bool is_left_out = value.is_null();
  if (field == "chat_template_kwargs") {
    return is_left_out ? Status() : read_template_arguments(field, value, out);
  }
  if (field == "enable_thinking") {
    return is_left_out ? Status() : read_choice(field, value, out.enable_thinking);
  }
  if (field == "add_generation_prompt") {
    return is_left_out ? Status() : read_choice(field, value, out.add_generation_prompt);
  }
  if (field == "continue_final_message") {
    bool& goes_on = out.request.template_options.continue_final_message;
    return is_left_out ? Status() : read_bool(field, value, goes_on);
  }
  return std::nullopt;
}

// How the template is to be rendered, of several fields.
Status resolve_template_options(Reading& reading) {
  ChatTemplateOptions& options = reading.request.template_options;
  if (options.continue_final_message && reading.add_generation_prompt.value_or(false)) {
    return invalid_param("continue_final_message",
                         "continue_final_message and add_generation_prompt are both true; a turn "
                         "goes on or a new one begins: leave one out");
  }
  options.add_generation_prompt =
      reading.add_generation_prompt.value_or(!options.continue_final_message);
  if (!reading.enable_thinking) return {};
  std::vector<std::pair<jinja::Value, jinja::Value>> entries;
  if (options.arguments.is_dict()) entries = options.arguments.as_dict().entries;
  for (const auto& entry : entries) {
    if (entry.first.as_bytes() != "enable_thinking") continue;
    return invalid_param("enable_thinking",
                         "enable_thinking is given twice: here and in chat_template_kwargs");
  }
  entries.emplace_back(jinja::Value::text("enable_thinking", jinja::Origin::literal),
                       jinja::Value::boolean(*reading.enable_thinking));
  options.arguments = jinja::Value::dict(std::move(entries));
  return {};
}

// Which tools the template is given: none that must not be called.
Status resolve_tools(Reading& reading) {
  ChatTools& tools = reading.tools;
  if (tools.names.empty() && reading.tool_choice == ToolChoice::by_model) {
    return invalid_param("tool_choice", "tool_choice is \"auto\", but there are no tools");
  }
  if (reading.tool_choice == ToolChoice::none) return {};
  reading.request.template_options.tools = std::move(tools.list);
  reading.request.tool_names = std::move(tools.names);
  return {};
}

std::optional<Status> read_own(const std::string& field, const json::value& value,
                               Reading& reading) {
  ChatRequest& out = reading.request;
  const bool is_left_out = value.is_null();
  if (field == "messages") {
    if (is_left_out) return Status();
    return read_messages(field, value, raw_member(reading.body, field), out.messages);
  }
  if (field == "tools") {
    if (is_left_out) return Status();
    return read_tools(field, value, raw_member(reading.body, field), reading.tools);
  }
  if (field == "tool_choice") {
    return is_left_out ? Status() : read_tool_choice(field, value, reading.tool_choice);
  }
  if (field == "parallel_tool_calls") {
    return is_left_out ? Status() : read_bool(field, value, out.parallel_tool_calls);
  }
  if (field == "logprobs") {
    return is_left_out ? Status() : read_bool(field, value, out.sampling.logprobs);
  }
  if (field == "top_logprobs") {
    return is_left_out ? Status()
                       : read_int(field, value, 0, kTopLogprobsMax, out.sampling.top_logprobs);
  }
  if (auto answer = read_template_field(field, value, reading)) return answer;
  return read_unsupported(field, value);
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body, const RequestDefaults& defaults) {
  Reading reading;
  reading.body = without_mark(body);
  ChatRequest& request = reading.request;
  request.max_tokens = defaults.max_tokens;
  request.sampling = defaults.sampling;
  EndpointFields fields;
  fields.read = [&reading](const std::string& field, const json::value& value) {
    return read_own(field, value, reading);
  };
  static constexpr std::string_view kMaxTokensNames[] = {"max_tokens", "max_completion_tokens"};
  fields.max_tokens_names = kMaxTokensNames;
  fields.word_here = word_here;
  PARKD_RETURN_IF_ERROR(read_body(body, fields, request));
  if (request.messages.empty()) {
    return invalid_param("messages", "messages is missing; at least one message is needed");
  }
  if (request.sampling.top_logprobs > 0 && !request.sampling.logprobs) {
    return invalid_param("top_logprobs", "top_logprobs is " +
                                             std::to_string(request.sampling.top_logprobs) +
                                             "; it needs logprobs to be true");
  }
  PARKD_RETURN_IF_ERROR(resolve_template_options(reading));
  PARKD_RETURN_IF_ERROR(resolve_tools(reading));
  return std::move(reading.request);
}

}  // namespace parkd
