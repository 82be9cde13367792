#include "lib/openai/completion_response.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

#include "lib/base/text.h"

namespace parkd {
namespace {

void append_number(std::string& out, int64_t number) {
  out += std::to_string(number);
}

// The shortest digits that read back as the same float.
void append_logprob(std::string& out, float logprob) {
  constexpr float kNever = -9999.0F;  // OpenAI's way to write -inf, which JSON cannot
  std::array<char, 32> digits{};
  const float shown = std::isfinite(logprob) ? logprob : kNever;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), shown);
  out.append(digits.data(), end.ptr);
}

// Milliseconds with three decimals, by integers.
void append_ms(std::string& out, int64_t us) {
  if (us < 0) us = 0;
  append_number(out, us / 1000);
  const std::string thousandths = std::to_string(us % 1000);
  out += '.';
  out.append(3 - thousandths.size(), '0');
  out += thousandths;
}

void append_string_or_null(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

void append_token(std::string& out, const ShownToken& token) {
  out += "\"token\":";
  append_json_string(out, token.bytes.empty() ? token.name : token.bytes);
  out += ",\"logprob\":";
  append_logprob(out, token.logprob);
  if (token.bytes.empty()) {
    out += ",\"bytes\":null";
    return;
  }
  out += ",\"bytes\":[";
  for (size_t i = 0; i < token.bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_number(out, static_cast<uint8_t>(token.bytes[i]));
  }
  out += ']';
}

void append_logprobs(std::string& out, const std::vector<ShownLogprob>& logprobs) {
  out += "{\"content\":[";
  for (size_t i = 0; i < logprobs.size(); ++i) {
    out += i > 0 ? ",{" : "{";
    append_token(out, logprobs[i].chosen);
    out += ",\"top_logprobs\":[";
    for (size_t j = 0; j < logprobs[i].top.size(); ++j) {
      out += j > 0 ? ",{" : "{";
      append_token(out, logprobs[i].top[j]);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

void append_choice(std::string& out, size_t index, const CompletionChoice& choice) {
  out += "{\"index\":";
  append_number(out, static_cast<int64_t>(index));
  out += ",\"message\":{\"role\":\"assistant\",\"content\":";
  append_json_string(out, choice.content);
  out += ",\"refusal\":null},\"logprobs\":";
  if (choice.logprobs) {
    append_logprobs(out, *choice.logprobs);
  } else {
    out += "null";
  }
  out += ",\"finish_reason\":";
  append_json_string(out, choice.finish_reason);
  out += '}';
}

void append_figures(std::string& out, const RunFigures& figures) {
  out += "{\"units\":";
  append_number(out, figures.units);
  out += ",\"queue_ms\":";
  append_ms(out, figures.queue_us);
  out += ",\"run_ms\":";
  append_ms(out, figures.run_us);
  out += ",\"prefill_ms\":";
  append_ms(out, figures.prefill_us);
  out += ",\"decode_ms\":";
  append_ms(out, figures.decode_us);
  out += ",\"shared_tokens\":";
  append_number(out, figures.shared_tokens);
  out += ",\"attempts\":";
  append_number(out, figures.attempts);
  out += '}';
}

}  // namespace

std::string render_completion(const CompletionResponse& response) {
  std::string out = "{\"id\":\"chatcmpl-";
  append_number(out, static_cast<int64_t>(response.job_id));
  out += "\",\"object\":\"chat.completion\",\"created\":";
  append_number(out, to_unix_us(response.created_at) / 1'000'000);
  out += ",\"model\":";
  append_json_string(out, response.model);
  out += ",\"system_fingerprint\":";
  append_string_or_null(out, response.system_fingerprint);
  out += ",\"choices\":[";
  for (size_t i = 0; i < response.choices.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(out, i, response.choices[i]);
  }
  out += "],\"usage\":{\"prompt_tokens\":";
  append_number(out, response.prompt_tokens);
  out += ",\"completion_tokens\":";
  append_number(out, response.completion_tokens);
  out += ",\"total_tokens\":";
  append_number(out, int64_t{response.prompt_tokens} + response.completion_tokens);
  out += "},\"parkd\":";
  append_figures(out, response.figures);
  out += '}';
  return out;
}

std::string render_error(int32_t http_status, std::string_view code, std::string_view message,
                         std::string_view param) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(out, message);
  out += ",\"type\":";
  append_json_string(out, http_status < 500 ? "invalid_request_error" : "server_error");
  out += ",\"param\":";
  append_string_or_null(out, param);
  out += ",\"code\":";
  append_string_or_null(out, code);
  out += "}}";
  return out;
}

std::string render_error(const Status& status) {
  const std::string_view code =
      status.code() == StatusCode::invalid ? failure::kInvalidRequest : to_string(status.code());
  return render_error(http_status_of(status.code()), code, status.message(), status.param());
}

int32_t http_status_of(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return 200;
    case StatusCode::invalid:
      return 400;
    case StatusCode::denied:
      return 403;
    case StatusCode::not_found:
      return 404;
    case StatusCode::conflict:
      return 409;
    case StatusCode::exhausted:
      return 429;
    case StatusCode::unavailable:
      return 503;
    case StatusCode::corrupt:
    case StatusCode::internal:
      return 500;
  }
  return 500;
}

}  // namespace parkd
