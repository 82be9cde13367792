// What the self-check runs on a backend, and what it was answered with. Private to lib/backend.
//
// Two sequences, one of about 300 tokens so that attention has KV to split, one of five: prompts
// whole and in chunks over a block's edge, a step that prefills the one and decodes the other, then
// steps that only decode: the first as it is, the second captured into a graph, the third replayed.
// The last ones are fed the tokens that the step before chose, which no host has seen where the
// lane can be a step ahead, and in the other order of rows.
//
// What a lane chose must follow from the logits it had, whatever they are: rows of the prefilling
// steps are read back and given to Sampler, and the tokens must be the same. Their seeds are taken
// so that a sampler which ignored a parameter would have chosen another token.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"

namespace parkd::self_check {

inline constexpr int32_t kSequences = 2;

// What was chosen last for each sequence, step by step.
using Chosen = std::vector<std::array<TokenId, kSequences>>;

struct ProbeAnswers {
  std::vector<std::vector<TokenLogprob>> rows;  // the best tokens of every row of every step
  Chosen chosen;
  // Empty, or the first choice that does not follow from its logits; what comes later is left out.
  std::string wrong_choice;
};

// `known`: what another backend chose, to be fed back instead, so that both answer to the same
// text.
Result<ProbeAnswers> probe(const ModelCard& card, std::unique_ptr<Backend> backend,
                           int32_t block_size, const Chosen* known);

}  // namespace parkd::self_check
