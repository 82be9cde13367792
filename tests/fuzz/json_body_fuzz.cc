// Any bytes are a ChatRequest within its limits, or a refusal that is the sender's fault.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/base/sampling_fields.h"
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
  const parkd::SamplingParams& sampling = request->sampling;
  bool sound = !request->messages.empty() && request->n >= 1 && request->n <= parkd::kChoicesMax &&
               sampling.top_k >= 0 && request->stop.size() <= parkd::kStopStringsMax &&
               request->max_tokens.value_or(1) >= 1 &&
               sampling.logit_bias.size() <= parkd::kBiasesMax;
  for (const parkd::SamplingField& field : parkd::kSamplingFields) {
    const float value = sampling.*field.member;
    sound &= value >= static_cast<float>(field.min) && value <= static_cast<float>(field.max) &&
             !(field.min_is_out && value == static_cast<float>(field.min));
  }
  for (const parkd::TokenBias& bias : sampling.logit_bias) {
    sound &= bias.token >= 0 && bias.bias >= -100 && bias.bias <= 100;
  }
  for (const parkd::ChatMessage& message : request->messages) {
    sound &= parkd::is_valid_utf8(message.content) && !message.role.empty();
  }
  if (!sound) std::abort();
  return 0;
}
