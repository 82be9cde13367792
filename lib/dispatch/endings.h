// Endings: what becomes of a job that does not simply complete. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/engine/generation.h"
#include "lib/pool/price.h"

namespace parkd {

struct Ending;

// Of jobs this daemon had claimed; what ends in the queue is the store's (lib/store/rules.h).
Ending stopped_by_cancel();
Ending stopped_by_deadline();
Ending stopped_by_run_timeout(std::chrono::seconds limit);

// The failure code of a run, or a preparation, that ended in `status`.
std::string_view failure_code_of(const Status& status);
Ending failed_ending(const Status& status);

// What a job wants, and what its model and its daemon have.
struct RunShape {
  std::string model;
  int32_t n_choices = 1;  // of each prompt
  std::vector<PromptNeed> prompts;
  int32_t block_size = 0;
  Blocks capacity;           // of the largest device: a job is all on one,
  int32_t max_num_seqs = 0;  // and what that runs at once
  std::string prompt_field;  // of its endpoint's bodies (endpoints.h)
  std::string max_tokens_field = "max_tokens";
};
std::vector<PromptNeed> needs_of(const std::vector<GenerationPrompt>& prompts);
// Ok, or invalid: need and limit, and the value that fits. The param is the field to lower: n where
// fewer choices would fit, else that of max_tokens where less would, else the prompt's; of several
// prompts that fit one by one it is the prompts' field. Where one prompt is too long even alone, or
// with its max_tokens, the error code is context_length_exceeded.
Status fits_at_all(const RunShape& shape);
Ending too_large_ending(const Status& why);

// Whether every choice of an ok result came to its own end.
bool is_complete(const GenerationResult& result);
// Whether a choice ended at its token limit.
bool has_truncated_choice(const GenerationResult& result);
// Of all choices every token that was generated, what ended them included, as vLLM and llama.cpp
// count.
int32_t completion_tokens_of(const GenerationResult& result);

}  // namespace parkd
