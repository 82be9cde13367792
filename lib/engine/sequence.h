// Sequence: one choice of a prompt of a request while it runs: its tokens, how many of them are in
// the KV cache, its blocks and its text. A request is n_choices sequences a prompt. Owned by one
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
#include "lib/engine/scheduler.h"
#include "lib/model/lane.h"
#include "lib/model/logit_edits.h"
#include "lib/text/output_text.h"

namespace parkd {

class Sequence {
 public:
  // The choice at `index` of the result. Requires: a prompt with tokens, and a table charged for
  // them and max_new_tokens.
  Sequence(const GenerationRequest& request, int32_t index, BlockTable table)
      : request_(request),
        prompt_(request.prompts[static_cast<size_t>(index / request.n_choices)]),
        index_(index),
        tokens_(prompt_.tokens),
        table_(std::move(table)),
        text_(request.stop, request.drops_first_space) {
    PARKD_CHECK(!tokens_.empty(), "a sequence starts with a prompt");
    if (LogitEdits::wanted(request.sampling)) edits_.emplace(request.sampling, prompt_.tokens);
  }

  bool finished() const { return finish_reason_.has_value(); }
  int64_t n_generated() const { return static_cast<int64_t>(tokens_.size()) - n_prompt(); }
  // Tokens of the prompt and those chosen and seen.
  int64_t n_known() const { return static_cast<int64_t>(tokens_.size()); }
  // Tokens in the KV cache, those of steps under way included.
  int64_t n_computed() const { return n_computed_; }
  // Tokens whose blocks another sequence had computed.
  int64_t n_shared() const { return n_shared_; }
  // Whether K and V of the whole prompt are there, for others to share.
  bool has_prompt() const { return n_done_ >= n_prompt(); }
  int64_t n_prompt() const { return static_cast<int64_t>(prompt_.tokens.size()); }

  // Takes what is published of its prompt. Nothing for a sequence that a step has begun with.
  void share_prefix() {
    if (last_step_ != 0) return;
    n_shared_ = table_.share_prefix(prompt_.tokens);
    n_computed_ = n_done_ = n_shared_;
  }

  // Whether a next step may take it: not once it ended, nor when the token under way is its last.
  bool wants_step() const {
    return !finished() && (n_unseen_ == 0 || n_generated() + n_unseen_ < prompt_.max_new_tokens);
  }
  // Steps that began and have not ended: until then its blocks are in use, finished or not.
  int32_t steps_under_way() const { return steps_under_way_; }

  SequenceProgress progress() const {
    const int64_t n_pending = static_cast<int64_t>(tokens_.size()) + n_unseen_ - n_computed_;
    return {n_pending, n_pending == 1 && n_generated() + n_unseen_ > 0, last_step_};
  }

  // Adds the next `n` tokens to compute to `tokens` and takes the blocks they need. Requires
  // wants_step().
  void begin_step(int64_t n, int64_t step, std::vector<TokenId>& tokens) {
    table_.cover(n_computed_ + n);
    last_step_ = step;
    ++steps_under_way_;
    const int64_t known = std::min(n, static_cast<int64_t>(tokens_.size()) - n_computed_);
    const auto first = tokens_.begin() + n_computed_;
    tokens.insert(tokens.end(), first, first + known);
    if (known < n) tokens.push_back(-1 - unseen_row_);
    n_computed_ += n;
  }
  std::span<const int32_t> block_table() const { return table_.blocks(); }

  // The step that just began chooses the next token from its logit row `row`. Returns how.
  SampleRow begin_sample(int32_t row) {
    SampleRow how;
    how.params = &request_.sampling;
    how.choice_index = prompt_.first_stream + index_ % request_.n_choices;
    how.position = static_cast<int32_t>(tokens_.size()) + n_unseen_;
    if (edits_) {
      how.edits = edits_->list();
      if (edits_->counts() && n_unseen_ > 0) how.unseen_row = unseen_row_;
    }
    unseen_row_ = row;
    ++n_unseen_;
    return how;
  }

  // The oldest step that is under way, with `n` tokens of this sequence, is done.
  void end_step(int64_t n) {
    --steps_under_way_;
    n_done_ += n;
    if (!finished()) {
      table_.publish(std::span<const TokenId>(tokens_).first(static_cast<size_t>(n_done_)));
    } else if (steps_under_way_ == 0) {
      table_.release();
    }
  }

  // No step that is under way will end: what they had of it is to be computed again.
  void forget_steps() {
    if (steps_under_way_ == 0) return;
    steps_under_way_ = 0;
    n_unseen_ = 0;
    n_computed_ = n_done_;
    if (finished()) table_.release();
  }

  // The token that the step chose is not wanted.
  void drop_sampled() { --n_unseen_; }

  // The token that the step chose. Requires it not to be finished.
  void append(SampledToken sampled, std::string_view bytes) {
    PARKD_DCHECK(!finished(), "nothing follows the end");
    --n_unseen_;
    const std::vector<TokenId>& ends = request_.stop_tokens;
    if (std::find(ends.begin(), ends.end(), sampled.token) != ends.end()) {
      ended_by_token_ = true;
      finish(FinishReason::stop);
      return;
    }
    tokens_.push_back(sampled.token);
    if (edits_) edits_->add(sampled.token);
    if (request_.sampling.logprobs) logprobs_.push_back(std::move(sampled));
    if (text_.append(bytes)) {
      finish(FinishReason::stop);
    } else if (n_generated() >= prompt_.max_new_tokens) {
      finish(FinishReason::length);
    }
  }

  // Ends one that has not ended by itself.
  void cut_short() { finish(FinishReason::cancelled); }

  // For who streams, after each append() and cut_short(): what it released, if anything. The views
  // last until the next of them.
  std::optional<TokenEvent> take_event() {
    const OutputText::Piece piece = finished() ? text_.release_rest() : text_.release();
    if (piece.text.empty() && !finished()) return std::nullopt;
    TokenEvent event;
    event.id = request_.id;
    event.choice = index_;
    const bool cancelled = finish_reason_ == FinishReason::cancelled;
    event.position = n_chosen() - (cancelled ? 0 : 1);
    event.text = piece.text;
    event.n_text_bytes = text_.n_released_bytes();
    const std::span<const TokenId> generated =
        std::span<const TokenId>(tokens_).subspan(prompt_.tokens.size());
    event.tokens = generated.subspan(piece.first_token, piece.n_tokens);
    if (request_.sampling.logprobs) {
      event.logprobs =
          std::span<const SampledToken>(logprobs_).subspan(piece.first_token, piece.n_tokens);
    }
    event.finish_reason = finish_reason_;
    return event;
  }

  // What was generated, cut to the tokens that the text keeps. Requires it to be finished.
  GeneratedChoice take_choice() {
    GeneratedChoice choice;
    choice.finish_reason = finish_reason_.value();
    choice.n_generated = n_chosen();
    const auto first = tokens_.begin() + static_cast<std::ptrdiff_t>(prompt_.tokens.size());
    choice.tokens.assign(first, first + static_cast<std::ptrdiff_t>(text_.n_kept_tokens()));
    choice.text = text_.text();
    choice.n_text_bytes = text_.n_bytes();
    choice.logprobs = std::move(logprobs_);
    if (choice.logprobs.size() > choice.tokens.size()) choice.logprobs.resize(choice.tokens.size());
    table_.release();
    return choice;
  }

 private:
  // Tokens that were chosen, the one that ended it and is not in tokens_ included.
  int32_t n_chosen() const {
    return static_cast<int32_t>(n_generated()) + (ended_by_token_ ? 1 : 0);
  }

  void finish(FinishReason reason) {
    finish_reason_ = reason;
    if (reason != FinishReason::stop) text_.leave_out_unfinished();
    // As soon as no step writes into them: its neighbours may still run for long.
    if (steps_under_way_ == 0) table_.release();
  }

  const GenerationRequest& request_;
  const GenerationPrompt& prompt_;  // the request's
  const int32_t index_;             // of the result's choices
  std::vector<TokenId> tokens_;     // prompt, then generated
  int64_t n_computed_ = 0;          // of tokens_ and the unseen one: K and V are in the blocks
  int64_t n_done_ = 0;              // of them, those no step under way writes
  int64_t n_shared_ = 0;
  int64_t last_step_ = 0;
  int32_t n_unseen_ = 0;    // tokens chosen by steps under way
  int32_t unseen_row_ = 0;  // the logit row of the last of them, in its step
  int32_t steps_under_way_ = 0;
  BlockTable table_;
  OutputText text_;
  std::optional<LogitEdits> edits_;     // of tokens_, when the request has penalties or biases
  std::vector<SampledToken> logprobs_;  // of the generated tokens, when asked for
  std::optional<FinishReason> finish_reason_;
  bool ended_by_token_ = false;  // by one that is not in tokens_
};

}  // namespace parkd
