#include "lib/openai/chat_tools.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/jinja/json_value.h"
#include "lib/job/bounds.h"
#include "lib/openai/body_values.h"

namespace parkd {
namespace {

namespace json = boost::json;

// A member by name: nullptr where it is missing or null.
const json::value* given(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

Status missing(const std::string& field, const std::string& must) {
  return invalid_param(field, field + " is missing; it must be " + must);
}

Status check_members(const std::string& field, const json::object& object,
                     std::initializer_list<std::string_view> known) {
  for (const auto& member : object) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return unknown_member(field + ".", name);
    }
  }
  return {};
}

Status check_type(const std::string& field, const json::object& object) {
  const json::value* type = given(object, "type");
  const std::string name = field + ".type";
  if (type == nullptr) return missing(name, "\"function\"");
  if (*type == "function") return {};
  return invalid_param(
      name, name + " " + shown_value(*type) + " is not supported yet; only \"function\"");
}

Result<const json::object*> function_of(const std::string& field, const json::object& object) {
  const json::value* function = given(object, "function");
  const std::string name = field + ".function";
  if (function == nullptr) return missing(name, "an object with a name");
  if (!function->is_object()) return wrong_value(name, *function, "an object with a name");
  return &function->get_object();
}

Status check_name(const std::string& field, const json::object& function, std::string& out) {
  static const std::string kMust =
      "1 to " + std::to_string(kToolNameBytesMax) + " of the characters a-z, A-Z, 0-9, _ and -";
  const json::value* name = given(function, "name");
  if (name == nullptr) return missing(field, kMust);
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  if (!name->is_string()) return wrong_value(field, *name, kMust);
  const std::string_view text(name->get_string().data(), name->get_string().size());
  if (text.empty() || text.size() > kToolNameBytesMax ||
      !std::all_of(text.begin(), text.end(), fits)) {
    return wrong_value(field, *name, kMust);
  }
  out = std::string(text);
  return {};
}

Status check_tool(const std::string& field, const json::value& value, std::string& name) {
  const json::object* tool = value.if_object();
  if (tool == nullptr) return wrong_value(field, value, "an object with type and function");
  PARKD_RETURN_IF_ERROR(check_type(field, *tool));
  PARKD_RETURN_IF_ERROR(check_members(field, *tool, {"type", "function"}));
  PARKD_ASSIGN_OR_RETURN(const json::object* function, function_of(field, *tool));
  const std::string within = field + ".function";
  PARKD_RETURN_IF_ERROR(
      check_members(within, *function,
                    {"name", "description", "parameters", "strict", "return"}));  // transformers'
  PARKD_RETURN_IF_ERROR(check_name(within + ".name", *function, name));
  const json::value* description = given(*function, "description");
  if (description != nullptr && !description->is_string()) {
    return wrong_value(within + ".description", *description, "a string");
  }
  const json::value* parameters = given(*function, "parameters");
  if (parameters != nullptr && !parameters->is_object()) {
    return wrong_value(within + ".parameters", *parameters, "a JSON schema (an object)");
  }
  const json::value* strict = given(*function, "strict");
  if (strict == nullptr || *strict == false) return {};
  return invalid_param(within + ".strict",
                       within +
                           ".strict is not supported yet: a call is not held to its schema; leave "
                           "it out");
}

// What is left of a call's members, by what a client sends back of an answer.
Status check_call(const std::string& field, const json::value& value) {
  const json::object* call = value.if_object();
  if (call == nullptr) return wrong_value(field, value, "an object with id, type and function");
  PARKD_RETURN_IF_ERROR(check_type(field, *call));
  PARKD_RETURN_IF_ERROR(check_members(field, *call, {"id", "type", "function", "index"}));
  const json::value* id = given(*call, "id");
  if (id == nullptr || !id->is_string() || id->get_string().empty()) {
    const std::string name = field + ".id";
    return id == nullptr ? missing(name, "a string") : wrong_value(name, *id, "a string");
  }
  PARKD_ASSIGN_OR_RETURN(const json::object* function, function_of(field, *call));
  const std::string within = field + ".function";
  PARKD_RETURN_IF_ERROR(check_members(within, *function, {"name", "arguments"}));
  std::string called;
  PARKD_RETURN_IF_ERROR(check_name(within + ".name", *function, called));
  const std::string name = within + ".arguments";
  const json::value* arguments = given(*function, "arguments");
  const std::string must = "a string that holds a JSON object";
  if (arguments == nullptr) return missing(name, must);
  if (!arguments->is_string()) return wrong_value(name, *arguments, must);
  const std::string_view text(arguments->get_string().data(), arguments->get_string().size());
  if (text.empty()) return {};
  JsonMemory memory(text.size());
  const auto read = read_json(text, name, kChatJsonDepthMax, memory);
  if (!read.ok()) return Status(read.status()).with_param(name);
  return read->is_object() ? Status() : wrong_value(name, *arguments, must);
}

}  // namespace

Status read_tools(const std::string& field, const json::value& value, std::string_view written,
                  ChatTools& out) {
  const json::array* list = value.if_array();
  if (list == nullptr) return wrong_value(field, value, "an array of tools");
  if (list->size() > kToolsMax) {
    return invalid_param(field, field + " has " + std::to_string(list->size()) +
                                    " entries; the limit is " + std::to_string(kToolsMax));
  }
  if (written.size() > kToolsBytesMax) {
    return invalid_param(field, field + " has " + std::to_string(written.size()) +
                                    " bytes; the limit is " + std::to_string(kToolsBytesMax));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string name = field + "[" + std::to_string(i) + "]";
    std::string called;
    PARKD_RETURN_IF_ERROR(check_tool(name, (*list)[i], called));
    if (!names.insert(called).second) {
      return invalid_param(name + ".function.name",
                           name + ".function.name \"" + called + "\" stands there twice");
    }
    out.names.push_back(std::move(called));
  }
  if (list->empty()) return {};
  auto read = jinja::json_value(written, jinja::Origin::content);
  if (!read) return wrong_value(field, value, "an array of tools");
  out.list = *std::move(read);
  return {};
}

Status read_tool_choice(const std::string& field, const json::value& value, ToolChoice& out) {
  if (value == "none") {
    out = ToolChoice::none;
  } else if (value == "auto") {
    out = ToolChoice::by_model;
  } else if (value == "required" || value.is_object()) {
    const json::value* type = value.is_object() ? value.get_object().if_contains("type") : nullptr;
    return invalid_param(field, field + " " + shown_value(type != nullptr ? *type : value) +
                                    " is not supported yet: a call cannot be forced; it may be "
                                    "\"auto\" or \"none\"");
  } else {
    return wrong_value(field, value, "\"auto\" or \"none\"");
  }
  return {};
}

Status read_tool_calls(const std::string& field, const json::value& value, std::string_view written,
                       size_t& n_bytes, jinja::Value& out) {
  const json::array* list = value.if_array();
  if (list == nullptr) return wrong_value(field, value, "an array of calls");
  n_bytes += written.size();
  if (n_bytes > kToolCallsBytesMax) {
    return invalid_param(field, "tool_calls of the messages up to " + field + " have " +
                                    std::to_string(n_bytes) + " bytes; the limit is " +
                                    std::to_string(kToolCallsBytesMax));
  }
  for (size_t i = 0; i < list->size(); ++i) {
    PARKD_RETURN_IF_ERROR(check_call(field + "[" + std::to_string(i) + "]", (*list)[i]));
  }
  if (list->empty()) return {};
  auto read = jinja::json_value(written, jinja::Origin::content);
  if (!read) return wrong_value(field, value, "an array of calls");
  out = *std::move(read);
  return {};
}

}  // namespace parkd
