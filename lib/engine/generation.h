// The engine's whole vocabulary: what it is asked and what it answers. Tokens and sampling only; it
// knows nothing of jobs, tenants, JSON or stores. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/engine/prefix_root.h"

namespace parkd {

using RequestId = uint64_t;

struct GenerationPrompt {
  std::vector<TokenId> tokens;
  int32_t max_new_tokens = 0;  // of each choice; tokens + this <= context, checked by the caller
  // Choice i of the prompt draws from the seed's stream first_stream + i: choices of one stream and
  // one prompt are the same, whatever else the request has.
  int32_t first_stream = 0;
};

// Each of its prompts runs n_choices times, as a request of that prompt alone would.
struct GenerationRequest {
  RequestId id = 0;        // chosen by the caller, unique among running requests
  int32_t device = 0;      // which of the engine's: where the caller charged its blocks
  PrefixRoot prefix_root;  // shares KV blocks with requests of the same root alone
  std::vector<GenerationPrompt> prompts = std::vector<GenerationPrompt>(1);
  int32_t n_choices = 1;  // of each prompt
  SamplingParams sampling;
  std::vector<std::string> stop;     // up to 4 strings; the match is not part of the text
  std::vector<TokenId> stop_tokens;  // end-of-sequence ids of the model
  bool drops_first_space = false;    // of the text, where it begins with one (SentencePiece's own)
  bool stream = false;               // EngineOptions::on_tokens hears of its tokens as they come
};

// Sequences of the request, and the tokens of all its prompts.
inline int32_t n_sequences_of(const GenerationRequest& request) {
  return static_cast<int32_t>(request.prompts.size()) * request.n_choices;
}
inline int32_t prompt_tokens_of(const GenerationRequest& request) {
  size_t n_tokens = 0;
  for (const GenerationPrompt& prompt : request.prompts) n_tokens += prompt.tokens.size();
  return static_cast<int32_t>(n_tokens);
}

enum class FinishReason { stop, length, cancelled };

// What one token of one choice released, for requests that stream. Of each choice the events come
// in order of position; all their texts in a row are the result's text of that choice, all their
// tokens its tokens, all their logprobs its logprobs, however it ended. Text that may still become
// part of a stop string, or of a character, is held back: no event is ever taken back.
//
// The views last as long as the call that brings the event.
struct TokenEvent {
  RequestId id = 0;
  int32_t choice = 0;  // of the result's
  // Which generated token released it, from 0; the last event of a choice that was cancelled or
  // failed has that of the token which never came. A function of the request alone, as outputs are
  // (I7), so a second run's events can be told from those that were heard already.
  int32_t position = 0;
  std::string_view text;            // valid UTF-8; empty in a choice's last event alone
  size_t n_text_bytes = 0;          // as the result's, of all that was released by now
  std::span<const TokenId> tokens;  // whose text begins here; none where the text is a token's rest
  std::span<const SampledToken> logprobs;  // one for each of `tokens`, when asked for
  // In the last event of the choice. `cancelled` (the request failed, too): its text had been held
  // back, and a run that is repeated may go on otherwise, so who will repeat it must not show it.
  std::optional<FinishReason> finish_reason;
};

struct GeneratedChoice {
  // Those that the text keeps: without the stop token, those of a matched stop string, and those of
  // a character that was not complete when max_new_tokens or cancelling cut the text.
  std::vector<TokenId> tokens;
  int32_t n_generated = 0;  // all that were chosen, the left-out ones too; <= max_new_tokens
  std::string text;         // valid UTF-8: what the model wrote is repaired (lib/base/text.h)
  // Of the tokens' bytes, how many the text is made of before it is repaired: without the dropped
  // space, and what a stop string cut off the last.
  size_t n_text_bytes = 0;
  FinishReason finish_reason = FinishReason::stop;
  std::vector<SampledToken> logprobs;  // one for each of `tokens`; empty unless asked for
};

struct GenerationResult {
  RequestId id = 0;
  Status status;  // not ok: the request failed alone; choices hold what had been generated
  std::vector<GeneratedChoice> choices;  // prompt by prompt: prompt * n_choices + choice of it
  int32_t prompt_tokens = 0;             // of all prompts, each counted once
  int64_t shared_tokens = 0;  // of the choices' prompts: found in the KV cache, not computed
  int64_t cached_tokens = 0;  // of prompt_tokens: found there by each choice of its prompt
  int64_t prefill_us = 0;     // first step with a prompt token to the first sampled token
  int64_t decode_us = 0;      // first sampled token to the last
};

}  // namespace parkd
