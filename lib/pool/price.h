// Prices: how tokens become the blocks a job is charged. Pure functions, any thread. (What memory
// holds is lib/config/kv_capacity.h.)
#pragma once

#include <cstdint>

#include "lib/base/units.h"

namespace parkd {

// n * ceil((prompt + max_new) / block_size): the worst case of a request, which is what it is
// charged. Requires: nothing negative, block_size > 0.
Blocks job_cost(int32_t n_choices, int32_t prompt_tokens, int32_t max_new_tokens,
                int32_t block_size);

}  // namespace parkd
