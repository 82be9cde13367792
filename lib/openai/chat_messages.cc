#include "lib/openai/chat_messages.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <string_view>

#include "lib/base/raw_json.h"
#include "lib/openai/body_values.h"
#include "lib/openai/chat_tools.h"

namespace parkd {

namespace json = boost::json;

namespace {

constexpr std::string_view kPartTypes[] = {"text"};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// "\"a\" or \"b\""
std::string quoted(std::span<const std::string_view> types) {
  std::string text;
  for (const std::string_view type : types) {
    text.append(text.empty() ? "\"" : " or \"").append(type).append("\"");
  }
  return text;
}

Status read_content_part(const std::string& field, const json::value& value,
                         const TextPartForm& form, std::string& out) {
  if (!value.is_object()) return wrong_value(field, value, "an object with type and text");
  const json::object& part = value.get_object();
  const json::value* type = part.if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return invalid_param(field + ".type",
                         field + ".type is missing; it must be " + quoted(form.types));
  }
  if (!is_one_of(form.types, {type->get_string().data(), type->get_string().size()})) {
    return invalid_param(field + ".type", field + ".type " + shown_value(*type) +
                                              " is not supported yet; only " + quoted(form.types));
  }
  for (const auto& member : part) {
    const std::string_view key(member.key().data(), member.key().size());
    if (key == "type" || key == "text") continue;
    if (!is_one_of(form.empty_members, key)) return unknown_member(field + ".", key);
    if (!is_empty_or_null(member.value())) return unsupported_field(field + "." + std::string(key));
  }
  const json::value* text = part.if_contains("text");
  if (text == nullptr || !text->is_string()) {
    return invalid_param(field + ".text", field + ".text is missing; it must be a string");
  }
  out.append(text->get_string().data(), text->get_string().size());
  return {};
}

}  // namespace

Status read_content(const std::string& field, const json::value& value, const TextPartForm& form,
                    ChatMessage& out) {
  if (value.is_string()) {
    out.content = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) {
    return wrong_value(field, value, "a string or an array of text parts");
  }
  const json::array& parts = value.get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string text;
    PARKD_RETURN_IF_ERROR(
        read_content_part(field + "[" + std::to_string(i) + "]", parts[i], form, text));
    if (i > 0) out.content += '\n';
    out.content += text;
    out.parts.push_back(std::move(text));
  }
  return {};
}

namespace {

Status read_role(const std::string& field, const json::value& value, std::string& out) {
  const std::string must = "system, user, assistant, tool or developer";
  if (!value.is_string()) return wrong_value(field, value, must);
  const std::string role(value.get_string());
  if (role == "function") {
    return invalid_param(field, field + " \"function\" is OpenAI's old word; it is tool here");
  }
  if (role != "system" && role != "user" && role != "assistant" && role != "tool" &&
      role != "developer") {
    return wrong_value(field, value, must);
  }
  out = role == "developer" ? "system" : role;
  return {};
}

// Keeps what a template may read as `name`, once.
Status read_more(const std::string& field, const json::value& value, std::string_view name,
                 ChatMessage& out) {
  if (value.is_null()) return {};
  if (!value.is_string()) return wrong_value(field, value, "a string");
  const std::string_view text(value.get_string().data(), value.get_string().size());
  for (const auto& [known, given] : out.more) {
    if (known != name) continue;
    if (given == text) return {};
    return invalid_param(field, field + " is " + shown_value(value) +
                                    "; reasoning and reasoning_content differ; give one");
  }
  out.more.emplace_back(name, text);
  return {};
}

// vLLM's two words for it. As transformers, a template finds it under the one that was given and
// under the older.
Status read_reasoning(const std::string& field, const json::value& value, std::string_view name,
                      ChatMessage& out) {
  PARKD_RETURN_IF_ERROR(read_more(field, value, "reasoning_content", out));
  return name == "reasoning" ? read_more(field, value, name, out) : Status();
}

// What the fields of a message are read into.
struct Reading {
  ChatMessage& out;
  std::string_view written;  // the message as it stands in the body
  size_t& n_call_bytes;      // of all messages
  bool has_role = false;
  bool has_call_id = false;
  const json::value* content = nullptr;
};

Status read_member(const std::string& field, std::string_view key, const json::value& value,
                   Reading& reading) {
  static constexpr std::array<std::string_view, 4> kUnsupported = {"function_call", "audio",
                                                                   "refusal", "annotations"};
  const std::string name = field + "." + std::string(key);
  ChatMessage& out = reading.out;
  if (key == "role") {
    reading.has_role = true;
    return read_role(name, value, out.role);
  }
  if (key == "content") {
    reading.content = &value;
    return {};
  }
  if (key == "name") return read_more(name, value, key, out);
  if (key == "tool_call_id") {
    reading.has_call_id = !value.is_null();
    return read_more(name, value, key, out);
  }
  if (key == "reasoning" || key == "reasoning_content") {
    return read_reasoning(name, value, key, out);
  }
  if (key == "tool_calls") {
    if (is_empty_or_null(value)) return {};
    return read_tool_calls(name, value, raw_member(reading.written, key), reading.n_call_bytes,
                           out.tool_calls);
  }
  if (std::find(kUnsupported.begin(), kUnsupported.end(), key) != kUnsupported.end()) {
    return is_empty_or_null(value) ? Status() : unsupported_field(name);
  }
  return unknown_member(field + ".", key);
}

// What depends on more than one member.
Status check_whole(const std::string& field, const Reading& reading) {
  const ChatMessage& message = reading.out;
  if (!reading.has_role) return invalid_param(field + ".role", field + ".role is missing");
  const bool has_calls = message.tool_calls.is_sequence();
  if (has_calls && message.role != "assistant") {
    return invalid_param(field + ".tool_calls", field +
                                                    ".tool_calls is given in a message of role " +
                                                    message.role + "; only an assistant calls");
  }
  if (reading.has_call_id != (message.role == "tool")) {
    const std::string name = field + ".tool_call_id";
    return invalid_param(name, reading.has_call_id
                                   ? name + " is given in a message of role " + message.role +
                                         "; only one of role tool answers a call"
                                   : name +
                                         " is missing; it must be the id of the call that this "
                                         "message answers");
  }
  return {};
}

Status read_message(const std::string& field, const json::value& value, std::string_view written,
                    size_t& n_call_bytes, ChatMessage& out) {
  if (!value.is_object()) return wrong_value(field, value, "an object with role and content");
  Reading reading{out, written, n_call_bytes};
  for (const auto& member : value.get_object()) {
    const std::string_view key(member.key().data(), member.key().size());
    PARKD_RETURN_IF_ERROR(read_member(field, key, member.value(), reading));
  }
  PARKD_RETURN_IF_ERROR(check_whole(field, reading));
  const json::value* content = reading.content;
  const bool has_calls = out.tool_calls.is_sequence();
  out.has_content = content != nullptr && !(has_calls && content->is_null());
  if (out.has_content) return read_content(field + ".content", *content, {kPartTypes}, out);
  return has_calls ? Status() : invalid_param(field + ".content", field + ".content is missing");
}

}  // namespace

Status read_messages(const std::string& field, const json::value& value, std::string_view written,
                     std::vector<ChatMessage>& out) {
  if (!value.is_array() || value.get_array().empty()) {
    return wrong_value(field, value, "an array of at least one message");
  }
  const json::array& messages = value.get_array();
  RawElements raw(written);
  // A vector that grows is there twice, and "{}" is shorter than a ChatMessage.
  out.reserve(std::min(messages.size(), written.size() / kShortestMessageBytes + 1));
  size_t n_call_bytes = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    ChatMessage message;
    PARKD_RETURN_IF_ERROR(read_message(field + "[" + std::to_string(i) + "]", messages[i],
                                       raw.next().value_or("null"), n_call_bytes, message));
    out.push_back(std::move(message));
  }
  return {};
}

}  // namespace parkd
