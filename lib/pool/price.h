// Prices: how tokens become blocks, and memory a capacity. Pure functions, any thread.
#pragma once

#include <cstdint>

#include "lib/base/units.h"

namespace parkd {

// n * ceil((prompt + max_new) / block_size): the worst case of a request, which is what it is
// charged. Requires: nothing negative, block_size > 0.
Blocks job_cost(int32_t n_choices, int32_t prompt_tokens, int32_t max_new_tokens,
                int32_t block_size);

// What one token leaves in the KV cache.
struct KvShape {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t dtype_bytes = 0;
};

// floor(kv_memory_mb * 2^20 / (dtype_bytes * block_size * kv_heads * head_dim * layers * 2)); the 2
// is K and V. Requires: everything > 0.
Blocks kv_capacity(int64_t kv_memory_mb, int32_t block_size, const KvShape& shape);

}  // namespace parkd
