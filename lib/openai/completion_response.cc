#include "lib/openai/completion_response.h"

#include <cmath>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

void write_token(JsonWriter& json, const ShownToken& token) {
  constexpr float kNever = -9999.0F;  // OpenAI's way to write -inf, which JSON cannot
  json.member("token", token.bytes.empty() ? token.name : token.bytes);
  json.member("logprob", std::isfinite(token.logprob) ? token.logprob : kNever);
  if (token.bytes.empty()) {
    json.member("bytes", nullptr);
    return;
  }
  json.begin_array("bytes");
  for (const char byte : token.bytes) json.element(static_cast<uint8_t>(byte));
  json.end_array();
}

void write_logprobs(JsonWriter& json, const std::vector<ShownLogprob>& logprobs) {
  json.begin_object("logprobs").begin_array("content");
  for (const ShownLogprob& shown : logprobs) {
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
  json.end_array().member("refusal", nullptr).end_object();
}

void write_choice(JsonWriter& json, size_t index, const CompletionChoice& choice) {
  json.begin_object().member("index", index);
  json.begin_object("message").member("role", "assistant").member("content", choice.content);
  json.member("refusal", nullptr).end_object();
  if (choice.logprobs) {
    write_logprobs(json, *choice.logprobs);
  } else {
    json.member("logprobs", nullptr);
  }
  json.member("finish_reason", choice.finish_reason).end_object();
}

void write_figures(JsonWriter& json, const RunFigures& figures) {
  json.begin_object("parkd").member("units", figures.units);
  json.member("queue_ms", Thousandths{figures.queue_us});
  json.member("run_ms", Thousandths{figures.run_us});
  json.member("prefill_ms", Thousandths{figures.prefill_us});
  json.member("decode_ms", Thousandths{figures.decode_us});
  json.member("shared_tokens", figures.shared_tokens);
  json.member("attempts", figures.attempts).end_object();
}

}  // namespace

std::string render_completion(const CompletionResponse& response) {
  JsonWriter json;
  json.begin_object().member("id", "chatcmpl-" + std::to_string(response.job_id));
  json.member("object", "chat.completion");
  json.member("created", to_unix_us(response.created_at) / 1'000'000);
  json.member("model", response.model);
  json.member("system_fingerprint", TextOrNull{response.system_fingerprint});
  json.begin_array("choices");
  for (size_t i = 0; i < response.choices.size(); ++i) write_choice(json, i, response.choices[i]);
  json.end_array().begin_object("usage").member("prompt_tokens", response.prompt_tokens);
  json.member("completion_tokens", response.completion_tokens);
  json.member("total_tokens", int64_t{response.prompt_tokens} + response.completion_tokens);
  json.end_object();
  write_figures(json, response.figures);
  return json.end_object().take();
}

}  // namespace parkd
