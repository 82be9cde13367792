// Any bytes are a ChatRequest within its limits, or a refusal that is the sender's fault.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/base/text.h"
#include "lib/openai/chat_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = parkd::parse_chat_request(body, parkd::ChatDefaults{});
  if (!request.ok()) {
    const parkd::Status why = request.status();
    const bool short_enough = !why.message().empty() && why.message().size() < 1000;
    if (why.code() != parkd::StatusCode::invalid || !short_enough) std::abort();
    return 0;
  }
  bool sound = !request->messages.empty() && request->n >= 1 && request->n <= parkd::kChoicesMax &&
               request->temperature >= 0 && request->temperature <= 2 && request->top_p > 0 &&
               request->top_p <= 1 && request->min_p >= 0 && request->min_p <= 1 &&
               request->top_k >= 0 && request->stop.size() <= parkd::kStopStringsMax &&
               request->max_tokens.value_or(1) >= 1 && request->presence_penalty >= -2 &&
               request->presence_penalty <= 2 && request->frequency_penalty >= -2 &&
               request->frequency_penalty <= 2 && request->repetition_penalty > 0 &&
               request->repetition_penalty <= 100 &&
               request->logit_bias.size() <= parkd::kBiasesMax;
  for (const parkd::ChatBias& bias : request->logit_bias) {
    sound &= bias.token >= 0 && bias.bias >= -100 && bias.bias <= 100;
  }
  for (const parkd::ChatMessage& message : request->messages) {
    sound &= parkd::is_valid_utf8(message.content) && !message.role.empty();
  }
  if (!sound) std::abort();
  return 0;
}
