// Any bytes are a ChatRequest, a CompletionsRequest and a ResponsesRequest within their limits, or
// a refusal that is the sender's fault; what they say of streaming is taken out of them; and as the
// id of an event they are a place in an answer, or none.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completions_request.h"
#include "lib/openai/responses_request.h"
#include "lib/openai/stream_cursor.h"
#include "lib/openai/stream_request.h"

namespace {

// Requires a failed result.
void check_refusal(const parkd::Status& why) {
  const bool short_enough = !why.message().empty() && why.message().size() < 1000;
  if (why.code() != parkd::StatusCode::invalid || !short_enough) std::abort();
}

bool is_sound(const parkd::RequestOptions& request) {
  const parkd::SamplingParams& sampling = request.sampling;
  bool sound = request.n >= 1 && request.n <= parkd::kChoicesMax && sampling.top_k >= 0 &&
               request.stop.size() <= parkd::kStopStringsMax &&
               request.max_tokens.value_or(1) >= 1 &&
               sampling.logit_bias.size() <= parkd::kBiasesMax;
  for (const parkd::SamplingField& field : parkd::kSamplingFields) {
    const float value = sampling.*field.member;
    sound &= value >= static_cast<float>(field.min) && value <= static_cast<float>(field.max) &&
             !(field.min_is_out && value == static_cast<float>(field.min));
  }
  for (const parkd::TokenBias& bias : sampling.logit_bias) {
    sound &= bias.token >= 0 && bias.bias >= -100 && bias.bias <= 100;
  }
  return sound;
}

bool is_sound_chat(const parkd::ChatRequest& request) {
  bool sound = is_sound(request) && !request.messages.empty();
  for (const parkd::ChatMessage& message : request.messages) {
    sound &= parkd::is_valid_utf8(message.content) && !message.role.empty();
  }
  return sound;
}

void check_chat(std::string_view body) {
  const auto request = parkd::parse_chat_request(body, parkd::RequestDefaults{});
  if (!request.ok()) return check_refusal(request.status());
  if (!is_sound_chat(*request)) std::abort();
}

// What it says again of itself is JSON in its answer.
void check_responses(std::string_view body) {
  const auto request = parkd::parse_responses_request(body, parkd::RequestDefaults{});
  if (!request.ok()) return check_refusal(request.status());
  if (!is_sound_chat(*request) || request->n != 1 || request->n_prompts != 1 ||
      !request->tool_names.empty()) {
    std::abort();
  }
  const std::string answer = parkd::render_response({}, request->echo);
  parkd::JsonMemory memory(answer.size());
  if (!parkd::read_json(answer, "", parkd::kChatJsonDepthMax, memory).ok()) std::abort();
}

void check_completions(std::string_view body) {
  const auto request = parkd::parse_completions_request(body, parkd::RequestDefaults{});
  if (!request.ok()) return check_refusal(request.status());
  bool sound = is_sound(*request) && !request->prompts.empty() &&
               request->prompts.size() == static_cast<size_t>(request->n_prompts) &&
               request->n_prompts * request->n <= parkd::kAnswerChoicesMax &&
               (request->prompt_is_list || request->n_prompts == 1);
  for (const parkd::CompletionPrompt& prompt : request->prompts) {
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      sound &= !text->empty() && parkd::is_valid_utf8(*text);
      continue;
    }
    const auto& tokens = std::get<std::vector<parkd::TokenId>>(prompt);
    sound &= !tokens.empty();
    for (const parkd::TokenId token : tokens) sound &= token >= 0;
  }
  if (!sound) std::abort();
}

// What is left says nothing of it any more, and is a body as it was before.
void check_stream_request(std::string_view body) {
  std::string left(body);
  const auto request = parkd::take_stream_request(left, [](size_t) { return parkd::Status(); });
  if (!request.ok()) return check_refusal(request.status());
  if (!request->stream) return;
  if (parkd::RawObject(left).contains("stream")) std::abort();
  parkd::JsonMemory memory(left.size());
  if (!parkd::read_json(left, "", parkd::kChatJsonDepthMax, memory).ok()) std::abort();
}

void check_event_id(std::string_view id) {
  for (const size_t n_choices : {1, 2}) {
    const auto cursor = parkd::StreamCursor::read(id, "fp", n_choices);
    if (!cursor) continue;
    const auto again = parkd::StreamCursor::read(cursor->id("fp"), "fp", n_choices);
    if (!again || again->id("fp") != cursor->id("fp")) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  check_chat(body);
  check_completions(body);
  check_responses(body);
  check_stream_request(body);
  check_event_id(body);
  return 0;
}
