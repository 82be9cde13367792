#include "lib/pool/price.h"

#include "lib/base/check.h"

namespace parkd {

Blocks job_cost(int32_t n_choices, int32_t prompt_tokens, int32_t max_new_tokens,
                int32_t block_size) {
  PARKD_CHECK(n_choices >= 0 && prompt_tokens >= 0 && max_new_tokens >= 0 && block_size > 0,
              "a price of negative counts");
  const int64_t tokens = int64_t{prompt_tokens} + max_new_tokens;
  return {n_choices * ceil_div(tokens, block_size)};
}

Blocks job_cost(int32_t n_choices, std::span<const PromptNeed> prompts, int32_t block_size) {
  Blocks cost;
  for (const PromptNeed& prompt : prompts) {
    cost += job_cost(n_choices, prompt.prompt_tokens, prompt.max_new_tokens, block_size);
  }
  return cost;
}

}  // namespace parkd
