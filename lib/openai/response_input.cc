#include "lib/openai/response_input.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/openai/body_values.h"
#include "lib/openai/chat_messages.h"

namespace parkd {

namespace json = boost::json;

namespace {

constexpr std::string_view kTextTypes[] = {"input_text", "output_text"};
constexpr std::string_view kTextEmpties[] = {"annotations", "logprobs"};  // as answers have them
constexpr TextPartForm kTextParts{kTextTypes, kTextEmpties};
constexpr std::string_view kReasoningTypes[] = {"reasoning_text"};
constexpr TextPartForm kReasoningParts{kReasoningTypes};

Status read_role(const std::string& field, const json::value& value, std::string& out) {
  if (value == "system" || value == "user" || value == "assistant") {
    out = std::string(value.get_string());
  } else if (value == "developer") {
    out = "system";
  } else {
    return wrong_value(field, value, "system, user, assistant or developer");
  }
  return {};
}

// What an answer says of its items beside their text: passed over.
Status read_label(const std::string& field, const json::value& value) {
  return value.is_null() || value.is_string() ? Status() : wrong_value(field, value, "a string");
}

Status read_message(const std::string& field, const json::object& item, ChatMessage& out) {
  const json::value* role = nullptr;
  const json::value* content = nullptr;
  for (const auto& member : item) {
    const std::string_view key(member.key().data(), member.key().size());
    if (key == "role") {
      role = &member.value();
    } else if (key == "content") {
      content = &member.value();
    } else if (key == "id" || key == "status" || key == "phase") {
      PARKD_RETURN_IF_ERROR(read_label(field + "." + std::string(key), member.value()));
    } else if (key != "type") {
      return unknown_member(field + ".", key);
    }
  }
  if (role == nullptr) return invalid_param(field + ".role", field + ".role is missing");
  if (content == nullptr) return invalid_param(field + ".content", field + ".content is missing");
  PARKD_RETURN_IF_ERROR(read_role(field + ".role", *role, out.role));
  return read_content(field + ".content", *content, kTextParts, out);
}

Status read_reasoning(const std::string& field, const json::object& item, std::string& out) {
  for (const auto& member : item) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string name = field + "." + std::string(key);
    if (key == "content") {
      if (is_empty_or_null(member.value())) continue;
      ChatMessage read;
      PARKD_RETURN_IF_ERROR(read_content(name, member.value(), kReasoningParts, read));
      out = std::move(read.content);
    } else if (key == "summary" || key == "encrypted_content") {
      if (!is_empty_or_null(member.value())) return unsupported_field(name);
    } else if (key == "id" || key == "status") {
      PARKD_RETURN_IF_ERROR(read_label(name, member.value()));
    } else if (key != "type") {
      return unknown_member(field + ".", key);
    }
  }
  return {};
}

// A list of items, one after the other.
class InputReader {
 public:
  explicit InputReader(std::vector<ChatMessage>& out) : out_(out) {}

  Status read(const std::string& field, const json::value& value) {
    const json::object* item = value.if_object();
    if (item == nullptr) return wrong_value(field, value, "an object with role and content");
    const json::value* type = item->if_contains("type");
    if (type != nullptr && *type == "reasoning") {
      PARKD_RETURN_IF_ERROR(finish());
      reasoning_field_ = field;
      return read_reasoning(field, *item, reasoning_.emplace());
    }
    if (type != nullptr && !type->is_null() && *type != "message") {
      return invalid_param(field + ".type", field + ".type " + shown_value(*type) +
                                                " is not supported yet; only \"message\" and "
                                                "\"reasoning\"");
    }
    ChatMessage message;
    PARKD_RETURN_IF_ERROR(read_message(field, *item, message));
    if (reasoning_ && message.role != "assistant") return finish();
    if (reasoning_) {  // under both names that templates know (chat_messages.cc)
      message.more.emplace_back("reasoning_content", *reasoning_);
      message.more.emplace_back("reasoning", *std::move(reasoning_));
      reasoning_.reset();
    }
    out_.push_back(std::move(message));
    return {};
  }

  Status finish() const {
    if (!reasoning_) return {};
    return invalid_param(reasoning_field_, reasoning_field_ +
                                               " is of type reasoning; the message of role "
                                               "assistant must follow it that it led to");
  }

 private:
  std::vector<ChatMessage>& out_;
  std::optional<std::string> reasoning_;  // of the message that must come next
  std::string reasoning_field_;
};

}  // namespace

Status read_response_input(const std::string& field, const json::value& value, size_t written_bytes,
                           std::vector<ChatMessage>& out) {
  if (value.is_string()) {
    ChatMessage& message = out.emplace_back();
    message.role = "user";
    message.content = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) {
    return wrong_value(field, value, "a text or a list of at least one message");
  }
  const json::array& items = value.get_array();
  out.reserve(std::min(items.size(), written_bytes / kShortestMessageBytes + 2));
  InputReader reader(out);
  for (size_t i = 0; i < items.size(); ++i) {
    PARKD_RETURN_IF_ERROR(reader.read(field + "[" + std::to_string(i) + "]", items[i]));
  }
  return reader.finish();
}

}  // namespace parkd
