// The one vocabulary of sampling: tokens, how one is chosen, and what is told of the choice.
// Values.
#pragma once

#include <cstdint>
#include <vector>

namespace parkd {

using TokenId = int32_t;

struct TokenBias {
  TokenId token = 0;
  float bias = 0;
  friend bool operator==(const TokenBias&, const TokenBias&) = default;
};

// How one token is chosen from a row of logits. Semantics as in OpenAI's API and vLLM's
// SamplingParams: temperature 0 = greedy; top_k 0 = all; top_p 1 = all. Ranges are checked by the
// door that read the request (lib/openai), not here; the formulas stand in sampler.h.
struct SamplingParams {
  float temperature = 1.0F;           // [0, 2]
  float top_p = 1.0F;                 // (0, 1]
  int32_t top_k = 0;                  // 0 = off
  float min_p = 0.0F;                 // [0, 1], 0 = off
  float presence_penalty = 0.0F;      // [-2, 2], 0 = off
  float frequency_penalty = 0.0F;     // [-2, 2], 0 = off
  float repetition_penalty = 1.0F;    // [0.01, 100], 1 = off
  std::vector<TokenBias> logit_bias;  // of distinct tokens, each in [-100, 100]
  uint64_t seed = 0;
  bool logprobs = false;     // report the chosen token's log-probability
  int32_t top_logprobs = 0;  // and that many alternatives, 0..20
};

// One alternative at one position. Log-probabilities are natural, of the model's distribution at
// temperature 1 before penalties, biases, top_k, top_p and min_p (as OpenAI and vLLM report them).
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

struct SampledToken {
  TokenId token = 0;
  float logprob = 0;              // meaningful when asked for
  std::vector<TokenLogprob> top;  // best first; empty unless asked for
};

}  // namespace parkd
