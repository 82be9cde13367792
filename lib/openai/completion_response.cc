#include "lib/openai/completion_response.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

constexpr float kNever = -9999.0F;  // OpenAI's way to write -inf, which JSON cannot

float shown_logprob(const ShownToken& token) {
  return std::isfinite(token.logprob) ? token.logprob : kNever;
}

void write_token(JsonWriter& json, const ShownToken& token) {
  json.member("token", token.bytes.empty() ? token.name : token.bytes);
  json.member("logprob", shown_logprob(token));
  if (token.bytes.empty()) {
    json.member("bytes", nullptr);
    return;
  }
  json.begin_array("bytes");
  for (const char byte : token.bytes) json.element(static_cast<uint8_t>(byte));
  json.end_array();
}

void write_logprob(JsonWriter& json, const ShownLogprob& shown) {
  json.begin_object();
  write_token(json, shown.chosen);
  json.begin_array("top_logprobs");
  for (const ShownToken& token : shown.top) {
    json.begin_object();
    write_token(json, token);
    json.end_object();
  }
  json.end_array().end_object();
}

void write_logprobs(JsonWriter& json, const std::vector<ShownLogprob>& logprobs) {
  json.begin_object("logprobs").begin_array("content");
  for (const ShownLogprob& shown : logprobs) write_logprob(json, shown);
  json.end_array().member("refusal", nullptr).end_object();
}

void write_calls(JsonWriter& json, const std::vector<ShownCall>& calls) {
  json.begin_array("tool_calls");
  for (const ShownCall& call : calls) {
    json.begin_object().member("id", call.id).member("type", "function");
    json.begin_object("function").member("name", call.name).member("arguments", call.arguments);
    json.end_object().end_object();
  }
  json.end_array();
}

void write_message(JsonWriter& json, const CompletionChoice& choice) {
  json.begin_object("message").member("role", "assistant");
  if (choice.content.empty() && !choice.tool_calls.empty()) {
    json.member("content", nullptr);
  } else {
    json.member("content", choice.content);
  }
  json.member("refusal", nullptr);
  if (choice.reasoning) json.member("reasoning", *choice.reasoning);
  if (!choice.tool_calls.empty()) write_calls(json, choice.tool_calls);
  json.end_object();
}

void write_chat_choice(JsonWriter& json, size_t index, const CompletionChoice& choice) {
  json.begin_object().member("index", index);
  write_message(json, choice);
  if (choice.logprobs) {
    write_logprobs(json, *choice.logprobs);
  } else {
    json.member("logprobs", nullptr);
  }
  json.member("finish_reason", choice.finish_reason);
  if (!choice.invalid_tool_calls.empty()) {
    json.begin_array("invalid_tool_calls");
    for (const std::string& why : choice.invalid_tool_calls) json.element(why);
    json.end_array();
  }
  json.end_object();
}

void write_figures(JsonWriter& json, const RunFigures& figures) {
  json.begin_object("parkd").member("units", figures.units);
  json.member("queue_ms", Thousandths{figures.queue_us});
  json.member("run_ms", Thousandths{figures.run_us});
  json.member("prefill_ms", Thousandths{figures.prefill_us});
  json.member("decode_ms", Thousandths{figures.decode_us});
  json.member("shared_tokens", figures.shared_tokens);
  json.member("attempts", figures.attempts);
  json.begin_object("sampling");
  for (const SamplingField& field : kSamplingFields) {
    json.member(field.name, figures.sampling.*field.member);
  }
  json.member("top_k", figures.sampling.top_k).end_object().end_object();
}

int64_t total_tokens_of(const CompletionResponse& response) {
  return int64_t{response.prompt_tokens} + response.completion_tokens;
}

// --- of a text_completion

std::string text_of(const ShownToken& token) {
  if (token.bytes.empty()) return token.name;
  if (is_valid_utf8(token.bytes)) return token.bytes;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : token.bytes) {
    const auto byte = static_cast<uint8_t>(c);
    text += "\\x";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// The likeliest tokens as members; of two that are written alike the likelier stays.
void write_top(JsonWriter& json, const std::vector<ShownToken>& top) {
  json.begin_object();
  std::set<std::string> written;
  for (const ShownToken& token : top) {
    std::string text = text_of(token);
    if (const auto [at, is_new] = written.insert(std::move(text)); is_new) {
      json.member(*at, shown_logprob(token));
    }
  }
  json.end_object();
}

void write_text_logprobs(JsonWriter& json, const std::vector<ShownLogprob>& logprobs) {
  json.begin_object("logprobs").begin_array("tokens");
  for (const ShownLogprob& shown : logprobs) json.element(text_of(shown.chosen));
  json.end_array().begin_array("token_logprobs");
  for (const ShownLogprob& shown : logprobs) json.element(shown_logprob(shown.chosen));
  json.end_array();
  const bool has_top = std::any_of(logprobs.begin(), logprobs.end(),
                                   [](const ShownLogprob& shown) { return !shown.top.empty(); });
  if (has_top) {
    json.begin_array("top_logprobs");
    for (const ShownLogprob& shown : logprobs) write_top(json, shown.top);
    json.end_array();
  } else {
    json.member("top_logprobs", nullptr);
  }
  json.begin_array("text_offset");
  int64_t offset = 0;
  for (const ShownLogprob& shown : logprobs) {
    json.element(offset);
    offset += static_cast<int64_t>(characters_in(shown.chosen.bytes));
  }
  json.end_array().end_object();
}

void write_text_choice(JsonWriter& json, size_t index, const CompletionChoice& choice) {
  json.begin_object().member("index", index).member("text", choice.content);
  if (choice.logprobs) {
    write_text_logprobs(json, *choice.logprobs);
  } else {
    json.member("logprobs", nullptr);
  }
  json.member("finish_reason", choice.finish_reason).end_object();
}

// --- of a response

// What ended the answer, in the words of a response and of its items.
struct ResponseEnd {
  std::string_view status;
  std::string_view item_status;
  std::string_view why_incomplete{};
};

ResponseEnd end_of(const CompletionChoice& choice) {
  if (choice.finish_reason == "length") return {"incomplete", "incomplete", "max_output_tokens"};
  if (choice.finish_reason == "cancelled") return {"cancelled", "incomplete"};
  return {"completed", "completed"};
}

void write_item_content(JsonWriter& json, std::string_view type, std::string_view text) {
  json.begin_array("content").begin_object().member("type", type).member("text", text);
  if (type == "output_text") json.begin_array("annotations").end_array();
  json.end_object().end_array();
}

void write_output(JsonWriter& json, const std::string& job, const CompletionChoice& choice) {
  const std::string_view status = end_of(choice).item_status;
  json.begin_array("output");
  if (choice.reasoning) {
    json.begin_object().member("type", "reasoning").member("id", "rs_" + job);
    json.member("status", status).begin_array("summary").end_array();
    write_item_content(json, "reasoning_text", *choice.reasoning);
    json.end_object();
  }
  json.begin_object().member("type", "message").member("id", "msg_" + job);
  json.member("status", status).member("role", "assistant");
  write_item_content(json, "output_text", choice.content);
  json.end_object().end_array();
}

void write_response_usage(JsonWriter& json, const CompletionResponse& response) {
  json.begin_object("usage").member("input_tokens", response.prompt_tokens);
  json.member("output_tokens", response.completion_tokens);
  json.begin_object("output_tokens_details");
  json.member("reasoning_tokens", response.reasoning_tokens.value_or(0)).end_object();
  json.member("total_tokens", total_tokens_of(response));
  json.begin_object("input_tokens_details");  // last: what is before is promised (I7)
  json.member("cached_tokens", response.cached_tokens);
  json.member("cache_write_tokens", response.prompt_tokens - response.cached_tokens);
  json.end_object().end_object();
}

// --- of chats and completions

constexpr std::string_view kChatObject = "chat.completion";

// The object around the choices.
std::string render(const CompletionResponse& response, std::string_view id, std::string_view object,
                   void (*write_choice)(JsonWriter&, size_t, const CompletionChoice&)) {
  JsonWriter json;
  json.begin_object().member("id", std::string(id) + std::to_string(response.job_id));
  json.member("object", object);
  json.member("created", unix_seconds(response.created_at));
  json.member("model", response.model);
  json.member("system_fingerprint", TextOrNull{response.system_fingerprint});
  if (object == kChatObject) json.member("service_tier", kServiceTier);
  json.begin_array("choices");
  for (size_t i = 0; i < response.choices.size(); ++i) write_choice(json, i, response.choices[i]);
  json.end_array().begin_object("usage").member("prompt_tokens", response.prompt_tokens);
  json.member("completion_tokens", response.completion_tokens);
  json.member("total_tokens", total_tokens_of(response));
  if (response.reasoning_tokens) {
    json.begin_object("completion_tokens_details");
    json.member("reasoning_tokens", *response.reasoning_tokens).end_object();
  }
  json.begin_object("prompt_tokens_details");  // last: what is before is promised (I7)
  json.member("cached_tokens", response.cached_tokens).end_object();
  json.end_object();
  write_figures(json, response.figures);
  return json.end_object().take();
}

}  // namespace

LogprobJson chat_logprob_json(const ShownLogprob& shown) {
  JsonWriter json;
  write_logprob(json, shown);
  return {.token = json.take()};
}

LogprobJson text_logprob_json(const ShownLogprob& shown, int64_t& offset) {
  LogprobJson texts{.token = json_string(text_of(shown.chosen)), .top = "null"};
  texts.logprob = JsonWriter().element(shown_logprob(shown.chosen)).take();
  texts.offset = std::to_string(offset);
  if (!shown.top.empty()) {
    JsonWriter top;
    write_top(top, shown.top);
    texts.top = top.take();
  }
  offset += static_cast<int64_t>(characters_in(shown.chosen.bytes));
  return texts;
}

std::string render_chat_completion(const CompletionResponse& response) {
  return render(response, "chatcmpl-", kChatObject, write_chat_choice);
}

std::string render_text_completion(const CompletionResponse& response) {
  return render(response, "cmpl-", "text_completion", write_text_choice);
}

std::string render_response(const CompletionResponse& response, const ResponseEcho& echo) {
  const std::string job = std::to_string(response.job_id);
  CompletionChoice choice;
  choice.finish_reason = "cancelled";
  if (!response.choices.empty()) choice = response.choices.front();
  const ResponseEnd end = end_of(choice);
  const SamplingParams& sampling = response.figures.sampling;
  JsonWriter json;
  json.begin_object().member("id", "resp_" + job).member("object", "response");
  json.member("created_at", unix_seconds(response.created_at)).member("status", end.status);
  json.member("background", false).member("error", nullptr);
  if (end.why_incomplete.empty()) {
    json.member("incomplete_details", nullptr);
  } else {
    json.begin_object("incomplete_details").member("reason", end.why_incomplete).end_object();
  }
  json.member("model", response.model);
  json.member("system_fingerprint", TextOrNull{response.system_fingerprint});
  json.member("service_tier", kServiceTier);
  json.member("instructions", RawJson{echo.instructions});
  const auto& limit = echo.max_output_tokens;
  json.member("max_output_tokens", RawJson{limit ? std::to_string(*limit) : "null"});
  json.member("metadata", RawJson{echo.metadata}).member("previous_response_id", nullptr);
  json.member("parallel_tool_calls", echo.parallel_tool_calls);
  json.member("tool_choice", echo.tool_choice).begin_array("tools").end_array();
  json.begin_object("reasoning").member("effort", nullptr).member("summary", nullptr).end_object();
  json.member("temperature", sampling.temperature).member("top_p", sampling.top_p);
  json.begin_object("text").begin_object("format").member("type", "text").end_object().end_object();
  json.member("truncation", "disabled");
  write_output(json, job, choice);
  write_response_usage(json, response);
  write_figures(json, response.figures);
  return json.end_object().take();
}

}  // namespace parkd
