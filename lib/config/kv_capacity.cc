#include "lib/config/kv_capacity.h"

#include <algorithm>

#include "lib/base/check.h"

namespace parkd {

int64_t kv_block_bytes(const KvShape& shape) {
  PARKD_CHECK(
      shape.block_size > 0 && shape.n_kv_heads > 0 && shape.head_dim > 0 && shape.n_layers > 0,
      "a KV shape needs positive numbers");
  return int64_t{2} * dtype_bytes(shape.dtype) * shape.block_size * shape.n_kv_heads *
         shape.head_dim * shape.n_layers;
}

Blocks kv_capacity_blocks(int64_t kv_memory_mb, const KvShape& shape) {
  PARKD_CHECK(kv_memory_mb > 0 && kv_memory_mb <= (int64_t{1} << 24), "KV memory out of range");
  return {(kv_memory_mb << 20) / kv_block_bytes(shape)};
}

UnitCapacity unit_capacity(Blocks physical, std::optional<int64_t> max_units) {
  if (!max_units) return {physical, ""};
  if (*max_units <= physical.count) return {{*max_units}, ""};
  return {physical, "limits.max_units " + std::to_string(*max_units) + " is above the " +
                        std::to_string(physical.count) + " blocks the KV memory holds; using " +
                        std::to_string(physical.count)};
}

int32_t sequences_held(Blocks capacity, int32_t block_size, int32_t context_tokens) {
  PARKD_CHECK(capacity.count > 0 && block_size > 0 && context_tokens > 0,
              "a device holds blocks, and a sequence tokens");
  const int64_t blocks_each = ceil_div(std::min(kTypicalTokens, context_tokens), block_size);
  const int64_t held = capacity.count / blocks_each;
  return static_cast<int32_t>(std::clamp<int64_t>(held, 1, kSequencesOfDeviceMax));
}

std::vector<int32_t> deal_sequences(int32_t total, std::span<const Blocks> capacities) {
  PARKD_CHECK(total >= static_cast<int64_t>(capacities.size()), "every device runs a sequence");
  std::vector<int32_t> dealt(capacities.size(), 1);
  const auto blocks_each = [&](size_t i) {
    return static_cast<double>(capacities[i].count) / (dealt[i] + 1);
  };
  for (int64_t left = total - static_cast<int64_t>(dealt.size()); left > 0; --left) {
    size_t most = 0;
    for (size_t i = 1; i < dealt.size(); ++i) {
      if (blocks_each(i) > blocks_each(most)) most = i;
    }
    ++dealt[most];
  }
  return dealt;
}

}  // namespace parkd
