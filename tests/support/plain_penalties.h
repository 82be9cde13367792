// The sampler's step 0 (lib/model/sampler.h) written down a second time, in double and without
// lists: what each logit becomes after a text, and whether a greedy text follows it.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/engine/generation.h"
#include "tests/support/teacher_forcing.h"

namespace parkd::testing {

inline std::vector<double> plainly_penalised(std::span<const float> logits,
                                             const GenerationRequest& request,
                                             std::span<const TokenId> output) {
  const SamplingParams& params = request.sampling;
  std::vector<double> out(logits.begin(), logits.end());
  for (const TokenBias& bias : params.logit_bias) {
    out[static_cast<size_t>(bias.token)] += double{bias.bias};
  }
  for (size_t token = 0; token < out.size(); ++token) {
    const auto id = static_cast<TokenId>(token);
    const auto in_prompt =
        std::count(request.prompts[0].tokens.begin(), request.prompts[0].tokens.end(), id);
    const auto in_output = std::count(output.begin(), output.end(), id);
    double& x = out[token];
    if (in_prompt > 0 || in_output > 0) {
      x = x > 0 ? x / double{params.repetition_penalty} : x * double{params.repetition_penalty};
    }
    x -= double{params.frequency_penalty} * static_cast<double>(in_output);
    if (in_output > 0) x -= double{params.presence_penalty};
  }
  return out;
}

struct PlainAgreement {
  double rounding = 1e-4;  // how far the engine's logits may be from the forced ones, twice
  int n_tokens = 0;
  int n_changed = 0;  // the best raw logit was another token's
  int n_worse = 0;    // another token stands clearly above the one that was chosen
};

// Along a greedy request's `generated` tokens.
inline void compare_with_plain(const GenerationRequest& request, std::span<const TokenId> generated,
                               TeacherForcing& forcing, PlainAgreement& agreement) {
  std::vector<TokenId> tokens = request.prompts[0].tokens;
  tokens.insert(tokens.end(), generated.begin(), generated.end() - 1);
  const auto rows =
      forcing.logits(tokens, static_cast<int32_t>(request.prompts[0].tokens.size()) - 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<double> plain = plainly_penalised(rows[i], request, generated.first(i));
    const auto chosen = static_cast<size_t>(generated[i]);
    const double best = *std::max_element(plain.begin(), plain.end());
    const auto raw_best = std::max_element(rows[i].begin(), rows[i].end()) - rows[i].begin();
    ++agreement.n_tokens;
    if (static_cast<TokenId>(raw_best) != generated[i]) ++agreement.n_changed;
    if (plain[chosen] < best - agreement.rounding) ++agreement.n_worse;
  }
}

}  // namespace parkd::testing
