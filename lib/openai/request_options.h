// RequestOptions: what the body of any request for text may ask for, whatever its endpoint. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"

namespace parkd {

// What a field means when the body leaves it out: the model's `params` of the config.
struct RequestDefaults {
  SamplingParams sampling;
  std::optional<int32_t> max_tokens;  // empty: the endpoint's own rule
};

struct RequestOptions {
  std::string model;                  // empty: left out
  std::optional<int32_t> max_tokens;  // >= 1
  int32_t n = 1;                      // 1..kChoicesMax, of each prompt
  int32_t n_prompts = 1;              // n * n_prompts <= kAnswerChoicesMax
  // Within kSamplingFields' ranges; up to kBiasesMax biases, whose tokens are >= 0 and may be
  // beyond the model's vocabulary; top_logprobs only with logprobs. Its seed is not used.
  SamplingParams sampling;
  std::optional<uint64_t> seed;   // negative seeds keep their 64 bits
  std::vector<std::string> stop;  // up to kStopStringsMax, none empty
  bool store = false;             // its caller wants to find the answer later
};

// How many tokens a request may generate: what was asked, or clamp(context / 5, 128, 16384) when
// nothing was; always cut to what the prompt leaves of the context. Errors: invalid,
// context_length_exceeded, without a param and naming both numbers, when the prompt leaves nothing.
Result<int32_t> resolve_max_new_tokens(std::optional<int32_t> asked, int32_t prompt_tokens,
                                       int32_t context_tokens);

// The options of a body of that path, which is read as strictly as the endpoint reads it, where a
// model's defaults are not known: what they decide passes, and is judged when the job is claimed;
// the temperature of a body without one is 0 here. Errors: invalid, param = the field ("endpoint":
// there is none of that path).
Result<RequestOptions> read_request_options(const std::string& path, const std::string& body);

}  // namespace parkd
