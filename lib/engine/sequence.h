// Sequence: one choice of a request while it runs: its tokens, how many of them are in the KV
// cache, its blocks and its text. A request with n_choices = n is n sequences. Owned by one
// EngineWorker, used on its thread only. The request must outlive it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "lib/engine/generation.h"
#include "lib/engine/kv_cache.h"
#include "lib/engine/output_text.h"
#include "lib/engine/scheduler.h"

namespace parkd {

class Sequence {
 public:
  // Requires: a prompt, and a table charged for the prompt and max_new_tokens.
  Sequence(const GenerationRequest& request, int32_t choice_index, BlockTable table)
      : request_(request),
        choice_index_(choice_index),
        tokens_(request.prompt),
        table_(std::move(table)),
        text_(request.stop) {
    PARKD_CHECK(!tokens_.empty(), "a sequence starts with a prompt");
  }

  bool finished() const { return finish_reason_.has_value(); }
  int64_t n_generated() const {
    return static_cast<int64_t>(tokens_.size() - request_.prompt.size());
  }
  int64_t n_computed() const { return n_computed_; }

  SequenceProgress progress() const {
    const auto n_pending = static_cast<int64_t>(tokens_.size()) - n_computed_;
    return {n_pending, n_pending == 1 && n_generated() > 0, last_step_};
  }

  // The next `n` tokens to compute; takes the blocks they need.
  std::span<const TokenId> begin_step(int64_t n, int64_t step) {
    table_.cover(n_computed_ + n);
    last_step_ = step;
    return std::span(tokens_).subspan(static_cast<size_t>(n_computed_), static_cast<size_t>(n));
  }
  std::span<const int32_t> block_table() const { return table_.blocks(); }

  // How the token after the last known one is to be chosen.
  SampleRow sample_row() const {
    return {&request_.sampling, choice_index_, static_cast<int32_t>(tokens_.size())};
  }

  // The step that begin_step(n) began is done.
  void end_step(int64_t n) { n_computed_ += n; }

  // Adds the chosen token. Requires every token before it to be computed.
  void append(SampledToken sampled, std::string_view bytes) {
    PARKD_DCHECK(!finished() && n_computed_ == static_cast<int64_t>(tokens_.size()),
                 "a token is chosen from the row of the one before it");
    const std::vector<TokenId>& ends = request_.stop_tokens;
    if (std::find(ends.begin(), ends.end(), sampled.token) != ends.end()) {
      finish(FinishReason::stop);
      return;
    }
    tokens_.push_back(sampled.token);
    if (request_.sampling.logprobs) logprobs_.push_back(std::move(sampled));
    if (text_.append(bytes)) {
      finish(FinishReason::stop);
    } else if (n_generated() >= request_.max_new_tokens) {
      finish(FinishReason::length);
    }
  }

  // What was generated, cut to the tokens that the text keeps. An unfinished one was cancelled.
  GeneratedChoice take_choice() {
    GeneratedChoice choice;
    const auto first = tokens_.begin() + static_cast<std::ptrdiff_t>(request_.prompt.size());
    choice.tokens.assign(first, first + static_cast<std::ptrdiff_t>(text_.n_kept_tokens()));
    choice.text = text_.text();
    choice.finish_reason = finish_reason_.value_or(FinishReason::cancelled);
    choice.logprobs = std::move(logprobs_);
    if (choice.logprobs.size() > choice.tokens.size()) choice.logprobs.resize(choice.tokens.size());
    table_.release();
    return choice;
  }

 private:
  void finish(FinishReason reason) {
    finish_reason_ = reason;
    table_.release();  // at once: its neighbours may still run for long
  }

  const GenerationRequest& request_;
  const int32_t choice_index_;
  std::vector<TokenId> tokens_;  // prompt, then generated
  int64_t n_computed_ = 0;       // of tokens_, whose K and V are in the blocks
  int64_t last_step_ = 0;
  BlockTable table_;
  OutputText text_;
  std::vector<SampledToken> logprobs_;  // of the generated tokens, when asked for
  std::optional<FinishReason> finish_reason_;
};

}  // namespace parkd
