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

Blocks kv_capacity(int64_t kv_memory_mb, int32_t block_size, const KvShape& shape) {
  PARKD_CHECK(kv_memory_mb > 0 && block_size > 0 && shape.layers > 0 && shape.kv_heads > 0 &&
                  shape.head_dim > 0 && shape.dtype_bytes > 0,
              "a capacity of empty shapes");
  const int64_t block_bytes =
      int64_t{shape.dtype_bytes} * block_size * shape.kv_heads * shape.head_dim * shape.layers * 2;
  return {kv_memory_mb * (int64_t{1} << 20) / block_bytes};
}

}  // namespace parkd
