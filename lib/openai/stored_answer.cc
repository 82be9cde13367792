#include "lib/openai/stored_answer.h"

#include <boost/json.hpp>

#include "lib/base/json_memory.h"
#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/job/bounds.h"

namespace parkd {
namespace {

namespace json = boost::json;

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return {};
  return std::string(value->get_string());
}

std::vector<LogprobJson> read_chat_logprobs(std::string_view raw) {
  std::vector<LogprobJson> logprobs;
  RawElements walk(raw_member(raw, "content"));
  while (const auto element = walk.next()) logprobs.push_back({.token = std::string(*element)});
  return logprobs;
}

std::vector<LogprobJson> read_text_logprobs(std::string_view raw) {
  std::vector<LogprobJson> logprobs;
  RawElements tokens(raw_member(raw, "tokens"));
  RawElements values(raw_member(raw, "token_logprobs"));
  RawElements tops(raw_member(raw, "top_logprobs"));
  RawElements offsets(raw_member(raw, "text_offset"));
  while (const auto token = tokens.next()) {
    logprobs.push_back({std::string(*token), std::string(values.next().value_or("null")),
                        std::string(tops.next().value_or("null")),
                        std::string(offsets.next().value_or("0"))});
  }
  return logprobs;
}

// A chunk's calls say which they are.
std::string with_indexes(std::string_view calls) {
  std::string out = "[";
  RawElements walk(calls);
  for (size_t i = 0; const auto call = walk.next(); ++i) {
    if (i > 0) out += ',';
    out += "{\"index\":" + std::to_string(i) + "," + std::string(call->substr(1));
  }
  return out + "]";
}

StoredChoice read_choice(Endpoint endpoint, const json::object& object, std::string_view raw) {
  StoredChoice choice;
  choice.finish_reason = text_of(object, "finish_reason");
  const std::string_view logprobs = raw_member(raw, "logprobs");
  if (endpoint == Endpoint::completions) {
    choice.content = text_of(object, "text");
    choice.logprobs = read_text_logprobs(logprobs);
    return choice;
  }
  choice.logprobs = read_chat_logprobs(logprobs);
  const json::value* message = object.if_contains("message");
  if (message == nullptr || !message->is_object()) return choice;
  choice.content = text_of(message->get_object(), "content");
  choice.reasoning = text_of(message->get_object(), "reasoning");
  const std::string_view calls = raw_member(raw_member(raw, "message"), "tool_calls");
  if (calls != "null") choice.tool_calls = with_indexes(calls);
  return choice;
}

}  // namespace

bool is_streamed_answer(std::string_view body) {
  return raw_member(body, "object") != "\"response\"";
}

Result<StoredAnswer> read_stored_answer(std::string_view body) {
  JsonMemory memory(body.size());
  auto value = read_json(body, "the stored answer", kChatJsonDepthMax, memory, JsonNul::taken);
  if (!value.ok()) return corrupt(value.status().message());
  const json::object* object = value->if_object();
  const json::value* choices = object == nullptr ? nullptr : object->if_contains("choices");
  if (choices == nullptr || !choices->is_array()) {
    return corrupt("the stored answer has no choices");
  }
  StoredAnswer answer;
  if (text_of(*object, "object") == "text_completion") answer.endpoint = Endpoint::completions;
  answer.created_s =
      whole_number(object->contains("created") ? object->at("created") : json::value(0))
          .value_or(0);
  answer.model = text_of(*object, "model");
  answer.system_fingerprint = text_of(*object, "system_fingerprint");
  answer.usage = std::string(raw_member(body, "usage"));
  RawElements walk(raw_member(body, "choices"));
  for (const json::value& choice : choices->get_array()) {
    const auto raw = walk.next();
    if (!raw || !choice.is_object())
      return corrupt("a choice of the stored answer is not an object");
    answer.choices.push_back(read_choice(answer.endpoint, choice.get_object(), *raw));
  }
  return answer;
}

}  // namespace parkd
