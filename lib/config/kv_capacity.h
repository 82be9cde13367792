// How many KV blocks a model's memory holds: the capacity jobs are charged against (DESIGN.md,
// "Units"). Pure arithmetic, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/base/units.h"

namespace parkd {

// What the KV cache of a model is made of.
struct KvShape {
  Dtype dtype = Dtype::bf16;
  int32_t block_size = 32;  // tokens
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t n_layers = 0;
};

// Bytes of one block, keys and values of all layers. Requires a checked shape: every number > 0,
// and the product within 2^62.
int64_t kv_block_bytes(const KvShape& shape);

// floor(kv_memory_mb * 2^20 / kv_block_bytes). Requires kv_memory_mb in [1, 2^24].
Blocks kv_capacity_blocks(int64_t kv_memory_mb, const KvShape& shape);

struct UnitCapacity {
  Blocks blocks;        // what the pool is made with
  std::string warning;  // empty, or why max_units was not honoured, with both numbers
};

// Lowers `physical` to limits.max_units; a max_units above it is clamped with a warning.
UnitCapacity unit_capacity(Blocks physical, std::optional<int64_t> max_units);

// What a sequence is taken for where max_num_seqs is left out, and the most of a device.
inline constexpr int32_t kTypicalTokens = 1024;
inline constexpr int32_t kSequencesOfDeviceMax = 256;

// Sequences that a device runs at once where max_num_seqs is left out: as many of kTypicalTokens
// (or of the context, where that is less) as its blocks hold, one at least and
// kSequencesOfDeviceMax at most. Jobs are charged for what they need all the same. Requires
// positive numbers.
int32_t sequences_held(Blocks capacity, int32_t block_size, int32_t context_tokens);

// `total` sequences dealt to devices with so many blocks: one each, the rest one by one to whoever
// then has most blocks for each of its own (D'Hondt's method), the first of equals. Requires total
// >= the number of devices, and blocks on each.
std::vector<int32_t> deal_sequences(int32_t total, std::span<const Blocks> capacities);

}  // namespace parkd
