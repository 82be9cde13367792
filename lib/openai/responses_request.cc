#include "lib/openai/responses_request.h"

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/job/endpoints.h"
#include "lib/openai/body_reader.h"
#include "lib/openai/body_values.h"
#include "lib/openai/chat_tools.h"
#include "lib/openai/response_input.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr std::string_view kMaxTokensNames[] = {"max_output_tokens"};
// What the other endpoints share: it has another name here, or would be more than one text.
constexpr std::string_view kWithout[] = {"n", "best_of", "response_format"};

std::string word_here(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"messages", "it is input here; messages are for endpoint "},
      {"system", "it is instructions here"},
      {"max_tokens", "it is max_output_tokens here"},
      {"max_completion_tokens", "it is max_output_tokens here"},
      {"max_new_tokens", "it is max_output_tokens here"},
      {"response_format", "it is text.format here"},
      {"reasoning_effort", "it is reasoning.effort here"},
      {"verbosity", "it is text.verbosity here"},
      {"n", "an answer is one text here; several are for endpoint "},
      {"best_of", "an answer is one text here; several are for endpoint "},
      {"logprobs", "they are for endpoint "},
      {"chat_template_kwargs", "it is for endpoint "},
      {"enable_thinking", "it is for endpoint "},
      {"add_generation_prompt", "it is for endpoint "},
      {"continue_final_message", "it is for endpoint "},
      {"repeat_penalty", "it is repetition_penalty here"}};
  for (const auto& [word, here] : kWords) {
    if (word != name) continue;
    return "; " + std::string(here) + (here.ends_with(' ') ? path_of(Endpoint::chat) : "");
  }
  return {};
}

// What OpenAI has and this endpoint has not: the value that means "off" (null does, too), and what
// to do instead of any other.
struct OffField {
  enum class Off : uint8_t { nothing, is_false, empty, zero, disabled };
  std::string_view name;
  Off off;
  std::string_view instead;
};

constexpr OffField kOffFields[] = {
    {"stream", OffField::Off::is_false,
     "an answer comes as a whole here: leave it out (POST /v1/chat/completions streams)"},
    {"background", OffField::Off::is_false,
     "a job of POST /v1/jobs is answered in its mailbox: leave it out"},
    {"previous_response_id", OffField::Off::nothing,
     "responses are not kept for others: give the earlier messages in input"},
    {"conversation", OffField::Off::nothing,
     "there are no conversations: give the earlier messages in input"},
    {"prompt", OffField::Off::nothing, "there are no stored prompts: give instructions and input"},
    {"tools", OffField::Off::empty,
     "an answer is one text here: leave them out (endpoint /v1/chat/completions has tools)"},
    {"max_tool_calls", OffField::Off::nothing, "there are no tools here: leave it out"},
    {"include", OffField::Off::empty, "there is nothing to be included: leave it out"},
    {"top_logprobs", OffField::Off::zero,
     "it must be 0 (endpoint /v1/chat/completions has logprobs)"},
    {"truncation", OffField::Off::disabled,
     "it must be \"disabled\": what does not fit into the context is refused"},
    {"context_management", OffField::Off::empty,
     "what does not fit into the context is refused: leave it out"},
};

bool is_off(OffField::Off off, const json::value& value) {
  switch (off) {
    case OffField::Off::nothing:
      return false;
    case OffField::Off::is_false:
      return value.is_bool() && !value.get_bool();
    case OffField::Off::empty:
      return value.is_array() && value.get_array().empty();
    case OffField::Off::zero:
      return is_number(value, 0);
    case OffField::Off::disabled:
      return value == "disabled";
  }
  return false;
}

std::optional<Status> read_off_field(const std::string& field, const json::value& value) {
  for (const OffField& known : kOffFields) {
    if (known.name != field) continue;
    if (value.is_null() || is_off(known.off, value)) return Status();
    return invalid_param(field,
                         field + " is " + shown_value(value) + "; " + std::string(known.instead));
  }
  return std::nullopt;
}

// {"effort", "summary", ...}: how a model reasons, all of it left to the model.
Status read_reasoning(const std::string& field, const json::value& value) {
  if (!value.is_object()) return wrong_value(field, value, "an object");
  for (const auto& member : value.get_object()) {
    const std::string_view key(member.key().data(), member.key().size());
    if (key != "effort" && key != "summary" && key != "generate_summary" && key != "mode" &&
        key != "context") {
      return unknown_member(field + ".", key);
    }
    if (!member.value().is_null()) return unsupported_field(field + "." + std::string(key));
  }
  return {};
}

Status read_format(const std::string& field, const json::value& value) {
  const json::object* format = value.if_object();
  const json::value* type = format == nullptr ? nullptr : format->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return wrong_value(field, value, "{\"type\": \"text\"}");
  }
  if (*type != "text") {
    return invalid_param(
        field, field + ".type is " + shown_value(*type) + "; only \"text\" is supported yet");
  }
  for (const auto& member : *format) {
    if (member.key() == "type") continue;
    return unknown_member(field + ".", {member.key().data(), member.key().size()});
  }
  return {};
}

// {"format": {"type": "text"}}
Status read_text(const std::string& field, const json::value& value) {
  if (!value.is_object()) return wrong_value(field, value, "an object");
  for (const auto& member : value.get_object()) {
    const std::string name = field + "." + std::string(member.key());
    if (member.key() == "format") {
      if (!member.value().is_null()) PARKD_RETURN_IF_ERROR(read_format(name, member.value()));
    } else if (member.key() == "verbosity") {
      PARKD_RETURN_IF_ERROR(off_or_unsupported(name, member.value().is_null()));
    } else {
      return unknown_member(field + ".", {member.key().data(), member.key().size()});
    }
  }
  return {};
}

struct Reading {
  ResponsesRequest request;
  std::string_view body;
  std::optional<ChatMessage> instructions;
  bool has_input = false;
};

Status read_instructions(const std::string& field, const json::value& value, Reading& reading) {
  if (!value.is_string()) return wrong_value(field, value, "a string");
  reading.instructions.emplace();
  reading.instructions->role = "system";
  reading.instructions->content = std::string(value.get_string());
  reading.request.echo.instructions = std::string(raw_member(reading.body, field));
  return {};
}

Status read_choice_of_tools(const std::string& field, const json::value& value,
                            ResponseEcho& echo) {
  ToolChoice choice = ToolChoice::not_said;
  PARKD_RETURN_IF_ERROR(read_tool_choice(field, value, choice));
  echo.tool_choice = choice == ToolChoice::none ? "none" : "auto";
  return {};
}

Status read_metadata(const std::string& field, const json::value& value, Reading& reading) {
  if (const std::string why = why_no_pairs(value); !why.empty()) {
    return invalid_param(field, field + " " + why);
  }
  reading.request.echo.metadata = std::string(raw_member(reading.body, field));
  return {};
}

std::optional<Status> read_own(const std::string& field, const json::value& value,
                               Reading& reading) {
  ResponseEcho& echo = reading.request.echo;
  if (auto answer = read_off_field(field, value)) return answer;
  const bool is_left_out = value.is_null();
  if (field == "input") {
    if (is_left_out) return Status();
    reading.has_input = true;
    return read_response_input(field, value, raw_member(reading.body, field).size(),
                               reading.request.messages);
  }
  if (field == "instructions") {
    return is_left_out ? Status() : read_instructions(field, value, reading);
  }
  if (field == "metadata") return is_left_out ? Status() : read_metadata(field, value, reading);
  if (field == "reasoning") return is_left_out ? Status() : read_reasoning(field, value);
  if (field == "text") return is_left_out ? Status() : read_text(field, value);
  if (field == "tool_choice") {
    return is_left_out ? Status() : read_choice_of_tools(field, value, echo);
  }
  if (field == "parallel_tool_calls") {
    return is_left_out ? Status() : read_bool(field, value, echo.parallel_tool_calls);
  }
  return std::nullopt;
}

}  // namespace

Result<ResponsesRequest> parse_responses_request(std::string_view body,
                                                 const RequestDefaults& defaults) {
  Reading reading;
  reading.body = without_mark(body);
  ResponsesRequest& request = reading.request;
  request.sampling = defaults.sampling;
  EndpointFields fields;
  fields.read = [&reading](const std::string& field, const json::value& value) {
    return read_own(field, value, reading);
  };
  fields.max_tokens_names = kMaxTokensNames;
  fields.without = kWithout;
  fields.word_here = word_here;
  PARKD_RETURN_IF_ERROR(read_body(body, fields, request));
  if (!reading.has_input) {
    return invalid_param("input", "input is missing; it must be a text or a list of messages");
  }
  request.echo.max_output_tokens = request.max_tokens;
  if (!request.max_tokens) request.max_tokens = defaults.max_tokens;
  if (reading.instructions) {
    request.messages.insert(request.messages.begin(), *std::move(reading.instructions));
  }
  return std::move(reading.request);
}

}  // namespace parkd
