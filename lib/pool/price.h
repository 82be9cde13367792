// Prices: how tokens become the blocks a job is charged. Pure functions, any thread. (What memory
// holds is lib/config/kv_capacity.h.)
#pragma once

#include <cstdint>
#include <span>

#include "lib/base/units.h"

namespace parkd {

// Of a job's prompt: its tokens, and those that each of its choices may get.
struct PromptNeed {
  int32_t prompt_tokens = 0;
  int32_t max_new_tokens = 0;
};

// n * ceil((prompt + max_new) / block_size): the worst case of a prompt of n choices, which is what
// it is charged. Requires: nothing negative, block_size > 0.
Blocks job_cost(int32_t n_choices, int32_t prompt_tokens, int32_t max_new_tokens,
                int32_t block_size);

// The sum over the prompts of a job, each of n choices.
Blocks job_cost(int32_t n_choices, std::span<const PromptNeed> prompts, int32_t block_size);

}  // namespace parkd
