#include "lib/openai/answer_calls.h"

#include <algorithm>
#include <boost/json.hpp>

#include "lib/base/blanks.h"
#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"

namespace parkd {
namespace {

namespace json = boost::json;

Status check_name(std::string_view name, std::span<const std::string> tool_names) {
  if (std::find(tool_names.begin(), tool_names.end(), name) != tool_names.end()) return {};
  return invalid("\"" + shown_name(name) + "\" is none of the tools");
}

Result<AnswerCall> read_named(std::string_view name, std::string_view arguments,
                              std::span<const std::string> tool_names) {
  PARKD_RETURN_IF_ERROR(check_name(name, tool_names));
  JsonMemory memory(arguments.size());
  PARKD_ASSIGN_OR_RETURN(const json::value read,
                         read_json(arguments, "what the call is given", kChatJsonDepthMax, memory));
  if (!read.is_object()) return invalid("what the call is given is not a JSON object");
  return AnswerCall{std::string(name), std::string(arguments)};
}

// {"name": .., "arguments": {..}}; Llama says parameters.
Result<AnswerCall> read_object(const json::value& value, std::string_view written,
                               std::span<const std::string> tool_names) {
  const json::object* object = value.if_object();
  const json::value* name = object == nullptr ? nullptr : object->if_contains("name");
  if (name == nullptr || !name->is_string()) return invalid("the call has no name");
  PARKD_RETURN_IF_ERROR(
      check_name({name->get_string().data(), name->get_string().size()}, tool_names));
  for (const char* member : {"arguments", "parameters"}) {
    const json::value* arguments = object->if_contains(member);
    if (arguments == nullptr) continue;
    if (!arguments->is_object()) return invalid(std::string(member) + " is not a JSON object");
    return AnswerCall{std::string(name->get_string()), std::string(raw_member(written, member))};
  }
  return invalid("the call has no arguments");
}

// One object, or a list of them.
Status read_json_calls(std::string_view text, std::span<const std::string> tool_names,
                       std::vector<AnswerCall>& out) {
  text = without_mark(text);
  JsonMemory memory(text.size());
  PARKD_ASSIGN_OR_RETURN(const json::value read,
                         read_json(text, "the call", kChatJsonDepthMax, memory));
  if (!read.is_array()) {
    PARKD_ASSIGN_OR_RETURN(AnswerCall call, read_object(read, text, tool_names));
    out.push_back(std::move(call));
    return {};
  }
  const std::vector<std::string_view> written = raw_elements(text);
  for (size_t i = 0; i < written.size(); ++i) {
    PARKD_ASSIGN_OR_RETURN(AnswerCall call,
                           read_object(read.get_array()[i], written[i], tool_names));
    out.push_back(std::move(call));
  }
  return out.empty() ? invalid("the list of calls is empty") : Status();
}

// A list of calls; or a name, its id, if it has one, and its arguments; or name{..}.
Status read_mistral(std::span<const CallPart> parts, std::span<const std::string> tool_names,
                    std::vector<AnswerCall>& out) {
  std::string_view name = trimmed(parts.front().text);
  const bool is_list = !name.empty() && (name.front() == '[' || name.front() == '{');
  if (is_list && parts.size() == 1) return read_json_calls(name, tool_names, out);
  const bool has_id = parts.size() > 1 && parts[1].mark == Marker::call_id;
  const size_t n_before = has_id ? 2 : 1;  // parts before the arguments
  const bool has_arguments = parts.size() > n_before && parts[n_before].mark == Marker::call_args;
  if (is_list || parts.size() > n_before + (has_arguments ? 1 : 0)) {
    return invalid("a mark stands in the call where none can: behind a list, or twice");
  }
  std::string_view arguments;
  if (has_arguments) {
    arguments = parts[n_before].text;
  } else if (const size_t brace = name.find('{'); !has_id && brace != name.npos) {
    arguments = name.substr(brace);
    name = trimmed(name.substr(0, brace));
  }
  arguments = trimmed(without_mark(trimmed(arguments)));
  if (arguments.empty()) return invalid("the call has no arguments");
  PARKD_ASSIGN_OR_RETURN(AnswerCall call, read_named(name, arguments, tool_names));
  out.push_back(std::move(call));
  return {};
}

// Objects in a row, with a semicolon between them or nothing.
Status read_llama3(std::string_view text, std::span<const std::string> tool_names,
                   std::vector<AnswerCall>& out) {
  text = trimmed(text);
  while (!text.empty()) {
    const size_t end = text.front() == '{' ? raw_value_end(text) : text.size();
    PARKD_RETURN_IF_ERROR(read_json_calls(text.substr(0, end), tool_names, out));
    text = trimmed(text.substr(end));
    if (!text.empty() && text.front() == ';') text = trimmed(text.substr(1));
  }
  return out.empty() ? invalid("the call is empty") : Status();
}

}  // namespace

Result<std::vector<AnswerCall>> read_calls(CallForm form, std::span<const CallPart> parts,
                                           std::span<const std::string> tool_names) {
  std::vector<AnswerCall> calls;
  const std::string_view text = parts.front().text;
  switch (form) {
    case CallForm::none:
      return invalid("the model has no known form of calls");
    case CallForm::hermes:
      PARKD_RETURN_IF_ERROR(read_json_calls(trimmed(text), tool_names, calls));
      break;
    case CallForm::mistral:
      PARKD_RETURN_IF_ERROR(read_mistral(parts, tool_names, calls));
      break;
    case CallForm::llama3:
      PARKD_RETURN_IF_ERROR(read_llama3(text, tool_names, calls));
      break;
  }
  return calls;
}

bool looks_like_call(std::string_view text) {
  return text.find("\"name\"") != text.npos &&
         (text.find("\"parameters\"") != text.npos || text.find("\"arguments\"") != text.npos);
}

}  // namespace parkd
