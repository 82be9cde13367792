// How prefill attention is cut, for its plain and its tensor-core kernel: a tile is the query heads
// of one kv head of a few consecutive tokens of one sequence; where a launch has few tiles and they
// see many tokens, several blocks share a tile's tokens, and merge_prefill_kernel puts their parts
// together.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {

inline constexpr int32_t kPrefillRows = 32;       // of a tile of attention_prefill.cu
inline constexpr int32_t kPrefillMmaRows = 64;    // of attention_prefill_mma.cu
inline constexpr int32_t kPrefillMmaTokens = 64;  // that it takes at a time

struct PrefillTile {
  int32_t sequence;
  int32_t kv_head;
  int32_t group;           // query heads a kv head
  int32_t first_row;       // in the step, of the tile's first token
  int32_t first_position;  // of that token
  int32_t n_rows;          // of the tile that exist: tokens * group

  // Of a row of the tile. Rows that do not exist see what the last one does.
  __device__ __forceinline__ int64_t token_row(int32_t row) const {
    return first_row + row / group;
  }
  __device__ __forceinline__ int32_t head(int32_t row) const {
    return kv_head * group + row % group;
  }
  __device__ __forceinline__ int32_t position(int32_t row) const {
    return first_position + (row < n_rows ? row : n_rows - 1) / group;
  }
  __device__ __forceinline__ int32_t last_position() const {
    return first_position + n_rows / group - 1;
  }
};

// This block's tile of `rows` rows, blockIdx = (tile, kv head); false when there is none. Each warp
// finds it by itself: a running sum of tiles over the sequences, 32 at a time.
__device__ __forceinline__ bool find_prefill_tile(const AttentionParams& params, int32_t rows,
                                                  PrefillTile* tile) {
  const StepTables& step = params.step;
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  const int32_t n_sequences = step.counts->n_sequences;
  tile->group = params.n_heads / params.kv.n_kv_heads;
  tile->kv_head = static_cast<int32_t>(blockIdx.y);
  const int32_t tokens = rows / tile->group;
  auto left = static_cast<int32_t>(blockIdx.x);  // tiles before this one
  for (int32_t first = step.counts->n_decode; first < n_sequences; first += kWarpSize) {
    const int32_t sequence = first + lane;
    const int32_t mine =
        sequence < n_sequences ? ceil_div(step.rows_of_sequence[sequence], tokens) : 0;
    int32_t sum = mine;
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int32_t other = __shfl_up_sync(kFullWarp, sum, static_cast<unsigned>(offset));
      if (lane >= offset) sum += other;
    }
    const unsigned reached = __ballot_sync(kFullWarp, sum > left ? 1 : 0);
    if (reached == 0) {
      left -= __shfl_sync(kFullWarp, sum, kWarpSize - 1);
      continue;
    }
    const int32_t found = __ffs(static_cast<int>(reached)) - 1;
    const int32_t before = __shfl_sync(kFullWarp, sum - mine, found);
    const int32_t first_token = (left - before) * tokens;  // in the sequence's rows
    tile->sequence = first + found;
    const int32_t n_tokens = step.rows_of_sequence[tile->sequence] - first_token;
    tile->first_row = step.first_row[tile->sequence] + first_token;
    tile->first_position = step.context_tokens[tile->sequence] + first_token;
    tile->n_rows = (n_tokens < tokens ? n_tokens : tokens) * tile->group;
    return true;
  }
  return false;
}

// The tokens of a tile that are this block's: blockIdx.z is its split.
struct PrefillSplit {
  int32_t first_token;  // a multiple of the step's tokens
  int32_t last_token;
  int32_t n_used;  // splits of the tile
};

// What a block needs again after its loop: in shared memory meanwhile, where it takes no register.
struct PrefillPlace {
  PrefillTile tile;
  int32_t n_splits;  // that the tile has
};

// Split `split` of a tile whose kernel takes `step_tokens` tokens at a time; false: there is none.
// A split begins at a token that the tile's first row may see, and its other rows too: without a
// window each row sees a token of every split's first step.
__device__ __forceinline__ bool find_prefill_split(const AttentionParams& params,
                                                   const PrefillTile& tile, int32_t step_tokens,
                                                   int32_t split, PrefillSplit* found) {
  const int32_t first_step = first_seen(params, tile.first_position) / step_tokens;
  const int32_t n_steps = tile.first_position / step_tokens + 1 - first_step;
  const int32_t even = ceil_div(n_steps, params.prefill_splits);
  const int32_t least = kPrefillSplitTokens / step_tokens;
  const int32_t steps = even > least ? even : least;
  found->n_used = ceil_div(n_steps, steps);
  found->first_token = (first_step + split * steps) * step_tokens;
  const int32_t end = found->first_token + steps * step_tokens;
  found->last_token = split + 1 == found->n_used ? tile.last_position() : end - 1;
  return split < found->n_used;
}

// Where a row of this block's tile lies in the workspace: values (part, head_dim), then (maximum of
// its scores in base 2, sum) of each part; the grid's first two sides and `rows` are the tiles'.
__device__ __forceinline__ int64_t prefill_part(const AttentionParams& params, int32_t rows,
                                                int32_t split, int32_t row) {
  const int64_t tile = int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
  return (tile * params.prefill_splits + split) * rows + row;
}

__device__ __forceinline__ float2* prefill_part_sums(const AttentionParams& params, int32_t rows) {
  const int64_t n_parts = int64_t{gridDim.x} * gridDim.y * params.prefill_splits * rows;
  return reinterpret_cast<float2*>(params.workspace + n_parts * params.kv.head_dim);
}

// K and V of the tile's sequence and kv head, token by token. A token's block is its position times
// 1 / block_size in fixed point: exact for positions below 2^32 / block_size
// (attention_params_are_valid).
template <class T, int kHeadDim>
class KvTokens {
 public:
  __device__ __forceinline__ KvTokens(const AttentionParams& params, const PrefillTile& tile)
      : table_(params.step.block_tables +
               int64_t{tile.sequence} * params.step.counts->block_table_stride),
        block_size_(params.kv.block_size),
        inverse_(0xFFFFFFFFU / static_cast<uint32_t>(params.kv.block_size) + 1) {
    const KvMemory& kv = params.kv;
    value_elements_ = kv.n_kv_heads * kv.block_size * kHeadDim;
    base_ = static_cast<const T*>(kv.base) +
            int64_t{params.layer} * kv.n_blocks * 2 * value_elements_ +
            tile.kv_head * kv.block_size * kHeadDim;
  }
  // Its K; V lies value_elements() behind it.
  __device__ __forceinline__ const T* at(int32_t token) const {
    const auto index = static_cast<int32_t>(__umulhi(static_cast<uint32_t>(token), inverse_));
    const int32_t in_block = token - index * block_size_;
    return base_ + int64_t{table_[index]} * (2 * value_elements_) + in_block * kHeadDim;
  }
  __device__ __forceinline__ int32_t value_elements() const { return value_elements_; }

 private:
  const T* base_;
  const int32_t* table_;
  int32_t block_size_;
  uint32_t inverse_;
  int32_t value_elements_;  // of all K of a block
};

// Of attention_prefill_mma.cu; params have been checked and are windowed, KV is f16 or bf16.
cudaError_t launch_attention_prefill_mma(const AttentionParams& params, cudaStream_t stream);

cudaError_t prefill_mma_resident_blocks(Element kv, int32_t head_dim, int32_t* n_blocks);

// Enough tiles for however the launch's rows fall into sequences.
inline dim3 prefill_grid(const AttentionParams& params, int32_t rows) {
  const int32_t tokens = rows / (params.n_heads / params.kv.n_kv_heads);
  const int64_t tiles =
      (params.step.rows_max + int64_t{params.step.sequences_max} * (tokens - 1)) / tokens;
  const int64_t most = params.step.rows_max;  // a tile has a row at least
  return dim3(static_cast<unsigned>(tiles < most ? tiles : most),
              static_cast<unsigned>(params.kv.n_kv_heads),
              static_cast<unsigned>(params.prefill_splits));
}

}  // namespace parkd::cuda
