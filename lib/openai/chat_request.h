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

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/job/bounds.h"
#include "lib/text/chat_message.h"
#include "lib/text/chat_template.h"

namespace parkd {

// What a field means when the body leaves it out: the model's `params` of the config.
struct ChatDefaults {
  SamplingParams sampling;
  std::optional<int32_t> max_tokens;  // empty: the rule of resolve_max_new_tokens
};

struct ChatRequest {
  std::string model;  // empty: left out
  std::vector<ChatMessage> messages;
  std::optional<int32_t> max_tokens;  // max_completion_tokens or max_tokens, >= 1
  int32_t n = 1;                      // 1..kChoicesMax
  // Within kSamplingFields' ranges; up to kBiasesMax biases, whose tokens are >= 0 and may be
  // beyond the model's vocabulary; top_logprobs only with logprobs. Its seed is nobody's.
  SamplingParams sampling;
  std::optional<uint64_t> seed;  // negative seeds keep their 64 bits
  // add_generation_prompt, continue_final_message, and as its arguments chat_template_kwargs and
  // enable_thinking.
  ChatTemplateOptions template_options;
  std::vector<std::string> stop;  // up to kStopStringsMax, none empty
};

// Errors: invalid, with param = the field ("messages[2].content").
Result<ChatRequest> parse_chat_request(std::string_view body, const ChatDefaults& defaults);

// How many tokens a request may generate: what was asked, or clamp(context / 5, 128, 16384) when
// nothing was; always cut to what the prompt leaves of the context. Errors: invalid, naming both
// numbers, when the prompt leaves nothing.
Result<int32_t> resolve_max_new_tokens(std::optional<int32_t> asked, int32_t prompt_tokens,
                                       int32_t context_tokens);

}  // namespace parkd
