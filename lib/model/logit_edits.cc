#include "lib/model/logit_edits.h"

#include <algorithm>

namespace parkd {

LogitEdits::LogitEdits(const SamplingParams& params, std::span<const TokenId> prompt)
    : counts_(penalises(params)) {
  if (params.repetition_penalty != 1) {
    std::vector<TokenId> tokens(prompt.begin(), prompt.end());
    std::sort(tokens.begin(), tokens.end());
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (const TokenId token : tokens) list_.push_back({token, 0, 0});
  }
  const auto n_prompt = static_cast<std::ptrdiff_t>(list_.size());
  for (const TokenBias& bias : params.logit_bias) {
    const auto end = list_.begin() + n_prompt;
    const auto at =
        std::lower_bound(list_.begin(), end, bias.token,
                         [](const LogitEdit& edit, TokenId token) { return edit.token < token; });
    if (at != end && at->token == bias.token) {
      at->bias = bias.bias;
    } else {
      list_.push_back({bias.token, -1, bias.bias});
    }
  }
  std::sort(list_.begin(), list_.end(),
            [](const LogitEdit& a, const LogitEdit& b) { return a.token < b.token; });
}

void LogitEdits::add(TokenId token) {
  if (!counts_) return;
  auto at =
      std::lower_bound(list_.begin(), list_.end(), token,
                       [](const LogitEdit& edit, TokenId other) { return edit.token < other; });
  if (at == list_.end() || at->token != token) at = list_.insert(at, {token, 0, 0});
  at->in_output = std::max(at->in_output, 0) + 1;
}

}  // namespace parkd
