#include "tools/jobctl/json_fields.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace parkd::jobctl {

const boost::json::value* find(const boost::json::value& from, std::string_view path) {
  const boost::json::value* at = &from;
  while (at != nullptr && !path.empty()) {
    const size_t dot = path.find('.');
    const std::string_view key = path.substr(0, dot);
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
    const auto* object = at->if_object();
    at = object == nullptr ? nullptr : object->if_contains(key);
  }
  return at;
}

std::string text_at(const boost::json::value& from, std::string_view path) {
  const auto* value = find(from, path);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

int64_t number_at(const boost::json::value& from, std::string_view path) {
  const auto* value = find(from, path);
  if (value == nullptr) return 0;
  if (value->is_int64()) return value->get_int64();
  if (value->is_uint64()) return static_cast<int64_t>(value->get_uint64());
  return 0;
}

bool flag_at(const boost::json::value& from, std::string_view path) {
  const auto* value = find(from, path);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::vector<boost::json::value> list_at(const boost::json::value& from, std::string_view path) {
  const boost::json::value* list = find(from, path);
  if (list == nullptr || !list->is_array()) return {};
  return {list->get_array().begin(), list->get_array().end()};
}

namespace {

std::string choice_text(const boost::json::value& choice) {
  if (find(choice, "message") == nullptr) return text_at(choice, "text");
  const std::string content = text_at(choice, "message.content");
  const auto* calls = find(choice, "message.tool_calls");
  return content.empty() && calls != nullptr ? boost::json::serialize(*calls) : content;
}

// The message of a response: what it reasoned is left out, as of a chat.
std::string response_text(const std::vector<boost::json::value>& output) {
  std::string text;
  for (const boost::json::value& item : output) {
    if (text_at(item, "type") != "message") continue;
    for (const boost::json::value& part : list_at(item, "content")) text += text_at(part, "text");
  }
  return text;
}

// Where a result line has its error, or null.
const boost::json::value* error_of(const boost::json::value& line) {
  const auto* error = find(line, "error");
  if (error != nullptr && !error->is_null()) return error;
  return number_at(line, "response.status_code") == 200 ? nullptr
                                                        : find(line, "response.body.error");
}

}  // namespace

std::string answer_text(const boost::json::value& message) {
  const auto output = list_at(message, "response.body.output");
  if (!output.empty()) return response_text(output);
  const auto choices = list_at(message, "response.body.choices");
  if (choices.size() == 1) return choice_text(choices.front());
  std::string text;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) text += '\n';
    text += "choice " + std::to_string(i) + ":\n" + choice_text(choices[i]);
  }
  return text;
}

std::optional<std::string> failure_code(const boost::json::value& line) {
  const auto* error = find(line, "error");
  const bool is_error = error != nullptr && !error->is_null();
  if (!is_error && number_at(line, "response.status_code") == 200) return std::nullopt;
  const auto* why = error_of(line);
  const std::string code = why == nullptr ? std::string() : text_at(*why, "code");
  return code.empty() ? "unknown" : code;
}

std::string failure_message(const boost::json::value& line) {
  const auto* why = error_of(line);
  return why == nullptr ? std::string() : text_at(*why, "message");
}

std::string outcome_text(const boost::json::value& message) {
  std::string text = text_at(message, "outcome");
  for (const char* path : {"error", "response.body.error"}) {
    if (const std::string code = text_at(message, std::string(path) + ".code"); !code.empty()) {
      text += ": " + code;
    }
    if (const std::string why = text_at(message, std::string(path) + ".message"); !why.empty()) {
      return text + ": " + why;
    }
  }
  return text;
}

}  // namespace parkd::jobctl
