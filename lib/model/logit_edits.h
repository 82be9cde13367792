// LogitEdits: which logits of a sequence its penalties and biases change, and what they need to
// know for it: how often each token was generated. Owned by its Sequence, made only for a request
// that asks for some; add() costs a search and at most one move of the list.
//
// A list of distinct tokens in ascending order, as lanes read it: biased tokens always, the
// output's where a penalty is on, the prompt's too where it is repetition_penalty.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/sampling.h"

namespace parkd {

struct LogitEdit {
  TokenId token = 0;
  int32_t in_output = -1;  // times generated; 0: only in the prompt; -1: no penalty counts it
  float bias = 0;
};

class LogitEdits {
 public:
  // Whether a request with these params changes any logit.
  static bool wanted(const SamplingParams& params) {
    return !params.logit_bias.empty() || penalises(params);
  }

  LogitEdits(const SamplingParams& params, std::span<const TokenId> prompt);

  // A token was generated.
  void add(TokenId token);

  std::span<const LogitEdit> list() const { return list_; }
  // Whether generated tokens matter, or biases alone.
  bool counts() const { return counts_; }

 private:
  static bool penalises(const SamplingParams& params) {
    return params.presence_penalty != 0 || params.frequency_penalty != 0 ||
           params.repetition_penalty != 1;
  }

  bool counts_;
  std::vector<LogitEdit> list_;
};

}  // namespace parkd
