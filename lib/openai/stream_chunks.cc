#include "lib/openai/stream_chunks.h"

#include <algorithm>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

JsonWriter begin_chunk(const ChunkHead& head) {
  const bool is_chat = head.endpoint == Endpoint::chat;
  JsonWriter json;
  json.begin_object();
  json.member("id", (is_chat ? "chatcmpl-" : "cmpl-") + std::to_string(head.job_id));
  json.member("object", is_chat ? "chat.completion.chunk" : "text_completion");
  json.member("created", head.created_s).member("model", head.model);
  json.member("system_fingerprint", TextOrNull{head.system_fingerprint});
  if (is_chat) json.member("service_tier", kServiceTier);
  return json;
}

void write_delta(JsonWriter& json, const ChunkDelta& delta) {
  json.begin_object("delta");
  if (delta.is_first) json.member("role", "assistant");
  if (!delta.reasoning.empty()) json.member("reasoning", delta.reasoning);
  if (delta.is_first || !delta.content.empty()) json.member("content", delta.content);
  if (!delta.tool_calls.empty()) json.member("tool_calls", RawJson{delta.tool_calls});
  json.end_object();
}

void write_chat_logprobs(JsonWriter& json, std::span<const LogprobJson> logprobs) {
  json.begin_object("logprobs").begin_array("content");
  for (const LogprobJson& each : logprobs) json.element(RawJson{each.token});
  json.end_array().member("refusal", nullptr).end_object();
}

void write_text_logprobs(JsonWriter& json, std::span<const LogprobJson> logprobs) {
  const auto list = [&](std::string_view name, std::string LogprobJson::*field) {
    json.begin_array(name);
    for (const LogprobJson& each : logprobs) json.element(RawJson{each.*field});
    json.end_array();
  };
  json.begin_object("logprobs");
  list("tokens", &LogprobJson::token);
  list("token_logprobs", &LogprobJson::logprob);
  if (std::all_of(logprobs.begin(), logprobs.end(),
                  [](const LogprobJson& each) { return each.top == "null"; })) {
    json.member("top_logprobs", nullptr);
  } else {
    list("top_logprobs", &LogprobJson::top);
  }
  list("text_offset", &LogprobJson::offset);
  json.end_object();
}

std::string end_chunk(JsonWriter& json, const ChunkHead& head) {
  if (head.include_usage) json.member("usage", nullptr);
  return json.end_object().take();
}

}  // namespace

std::string render_chunk(const ChunkHead& head, const ChunkDelta& delta) {
  const bool is_chat = head.endpoint == Endpoint::chat;
  JsonWriter json = begin_chunk(head);
  json.begin_array("choices").begin_object().member("index", delta.choice);
  if (is_chat) {
    write_delta(json, delta);
  } else {
    json.member("text", delta.content);
  }
  if (delta.logprobs.empty()) {
    json.member("logprobs", nullptr);
  } else {
    (is_chat ? write_chat_logprobs : write_text_logprobs)(json, delta.logprobs);
  }
  json.member("finish_reason", TextOrNull{delta.finish_reason}).end_object().end_array();
  return end_chunk(json, head);
}

std::string render_usage_chunk(const ChunkHead& head, std::string_view usage) {
  JsonWriter json = begin_chunk(head);
  json.begin_array("choices").end_array().member("usage", RawJson{usage});
  return json.end_object().take();
}

std::string render_restart_chunk(const ChunkHead& head) {
  JsonWriter json = begin_chunk(head);
  json.begin_array("choices").end_array();
  json.begin_object("parkd").member("restarted", true).end_object();
  return end_chunk(json, head);
}

std::string render_event(std::string_view data, std::string_view id, std::string_view name) {
  std::string event;
  event.reserve(data.size() + id.size() + name.size() + 24);
  if (!name.empty()) event.append("event: ").append(name).append("\n");
  if (!id.empty()) event.append("id: ").append(id).append("\n");
  return event.append("data: ").append(data).append("\n\n");
}

}  // namespace parkd
