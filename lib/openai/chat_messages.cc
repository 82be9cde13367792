#include "lib/openai/chat_messages.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <string_view>

#include "lib/openai/body_values.h"

namespace parkd {

namespace json = boost::json;

namespace {

Status read_content_part(const std::string& field, const json::value& value, std::string& out) {
  if (!value.is_object()) return wrong_value(field, value, "an object with type and text");
  const json::object& part = value.get_object();
  const json::value* type = part.if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return invalid_param(field + ".type", field + ".type is missing; it must be \"text\"");
  }
  if (type->get_string() != "text") {
    return invalid_param(field + ".type", field + ".type " + shown_value(*type) +
                                              " is not supported yet; only \"text\"");
  }
  for (const auto& member : part) {
    if (member.key() != "type" && member.key() != "text") {
      return unknown_member(field + ".", {member.key().data(), member.key().size()});
    }
  }
  const json::value* text = part.if_contains("text");
  if (text == nullptr || !text->is_string()) {
    return invalid_param(field + ".text", field + ".text is missing; it must be a string");
  }
  out.append(text->get_string().data(), text->get_string().size());
  return {};
}

Status read_content(const std::string& field, const json::value& value, std::string& out) {
  if (value.is_string()) {
    out = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) {
    return wrong_value(field, value, "a string or an array of text parts");
  }
  const json::array& parts = value.get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += '\n';
    PARKD_RETURN_IF_ERROR(read_content_part(field + "[" + std::to_string(i) + "]", parts[i], out));
  }
  return {};
}

Status read_role(const std::string& field, const json::value& value, std::string& out) {
  const std::string must = "system, user, assistant or developer";
  if (!value.is_string()) return wrong_value(field, value, must);
  const std::string role(value.get_string());
  if (role == "tool" || role == "function") {
    return invalid_param(field, field + " \"" + role + "\" is not supported yet");
  }
  if (role != "system" && role != "user" && role != "assistant" && role != "developer") {
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
  const std::string_view text = value.get_string();
  for (const auto& [known, given] : out.more) {
    if (known != name) continue;
    if (given == text) return {};
    return invalid_param(field, field + " is " + shown_value(value) +
                                    "; reasoning and reasoning_content differ; give one");
  }
  out.more.emplace_back(name, text);
  return {};
}

Status read_message(const std::string& field, const json::value& value, ChatMessage& out) {
  static constexpr std::array<std::string_view, 6> kUnsupported = {
      "tool_calls", "tool_call_id", "function_call", "audio", "refusal", "annotations"};
  if (!value.is_object()) return wrong_value(field, value, "an object with role and content");
  const json::object& message = value.get_object();
  // Before the content, which is null beside them.
  for (const std::string_view call : {"tool_calls", "function_call"}) {
    const json::value* calls = message.if_contains(call);
    if (calls != nullptr && !is_empty_or_null(*calls)) {
      const std::string name = field + "." + std::string(call);
      return invalid_param(name, name +
                                     " is not supported yet: no tools are; write what it says "
                                     "into content, or leave the message out");
    }
  }
  bool has_role = false;
  bool has_content = false;
  for (const auto& member : message) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string name = field + "." + std::string(key);
    if (key == "role") {
      has_role = true;
      PARKD_RETURN_IF_ERROR(read_role(name, member.value(), out.role));
    } else if (key == "content") {
      has_content = true;
      PARKD_RETURN_IF_ERROR(read_content(name, member.value(), out.content));
    } else if (key == "name") {
      PARKD_RETURN_IF_ERROR(read_more(name, member.value(), key, out));
    } else if (key == "reasoning" || key == "reasoning_content") {  // vLLM's two words
      PARKD_RETURN_IF_ERROR(read_more(name, member.value(), "reasoning_content", out));
    } else if (std::find(kUnsupported.begin(), kUnsupported.end(), key) != kUnsupported.end()) {
      if (!is_empty_or_null(member.value())) return unsupported_field(name);
    } else {
      return unknown_member(field + ".", key);
    }
  }
  if (!has_role) return invalid_param(field + ".role", field + ".role is missing");
  if (!has_content) return invalid_param(field + ".content", field + ".content is missing");
  return {};
}

}  // namespace

Status read_messages(const std::string& field, const json::value& value,
                     std::vector<ChatMessage>& out) {
  if (!value.is_array() || value.get_array().empty()) {
    return wrong_value(field, value, "an array of at least one message");
  }
  const json::array& messages = value.get_array();
  for (size_t i = 0; i < messages.size(); ++i) {  // one by one: "{}" is shorter than a ChatMessage
    ChatMessage message;
    PARKD_RETURN_IF_ERROR(
        read_message(field + "[" + std::to_string(i) + "]", messages[i], message));
    out.push_back(std::move(message));
  }
  return {};
}

}  // namespace parkd
