// ChatRequest: the body of /v1/chat/completions, read strictly.
//
// One parser for every door (HTTP, jobctl, JSONL, rows claimed from a store), so that a body means
// the same everywhere. Pure functions, any thread. Whatever the bytes are, the answer is a
// ChatRequest or a Status `invalid` whose param names the field; nothing is ignored silently: a
// field that cannot change the output is accepted, one that is not supported yet or not known is
// refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/bounds.h"
#include "lib/text/chat_message.h"

namespace parkd {

// What a field means when the body leaves it out: the model's `params` of the config.
struct ChatDefaults {
  float temperature = 1.0F;
  float top_p = 1.0F;
  int32_t top_k = 0;
  float min_p = 0.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::optional<int32_t> max_tokens;  // empty: the rule of resolve_max_new_tokens
};

struct ChatBias {
  int32_t token = 0;  // >= 0; the model's vocabulary is not known here
  float bias = 0;     // [-100, 100]
  friend bool operator==(const ChatBias&, const ChatBias&) = default;
};

struct ChatRequest {
  std::string model;  // empty: left out
  std::vector<ChatMessage> messages;
  std::optional<int32_t> max_tokens;  // max_completion_tokens or max_tokens, >= 1
  int32_t n = 1;                      // 1..kChoicesMax
  float temperature = 1.0F;           // [0, 2]
  float top_p = 1.0F;                 // (0, 1]
  int32_t top_k = 0;                  // >= 0, 0 = off
  float min_p = 0.0F;                 // [0, 1], 0 = off
  float presence_penalty = 0.0F;      // [-2, 2], 0 = off
  float frequency_penalty = 0.0F;     // [-2, 2], 0 = off
  float repetition_penalty = 1.0F;    // [0.01, 100], 1 = off
  std::vector<ChatBias> logit_bias;   // up to kBiasesMax, of distinct tokens
  std::optional<uint64_t> seed;       // negative seeds keep their 64 bits
  std::vector<std::string> stop;      // up to kStopStringsMax, none empty
  bool logprobs = false;
  int32_t top_logprobs = 0;  // 0..kTopLogprobsMax, needs logprobs
};

// Errors: invalid, with param = the field ("messages[2].content").
Result<ChatRequest> parse_chat_request(std::string_view body, const ChatDefaults& defaults);

// How many tokens a request may generate: what was asked, or clamp(context / 5, 128, 16384) when
// nothing was; always cut to what the prompt leaves of the context. Errors: invalid, naming both
// numbers, when the prompt leaves nothing.
Result<int32_t> resolve_max_new_tokens(std::optional<int32_t> asked, int32_t prompt_tokens,
                                       int32_t context_tokens);

}  // namespace parkd
