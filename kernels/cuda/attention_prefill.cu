// Causal attention of chunks of a prompt over the paged KV, which already holds the chunk itself.
//
// Shapes: as in attention_decode.cu, for the sequences from counts.n_decode on, each with its rows.
// Geometry: grid (tiles, n_kv_heads, splits), 128 threads. A tile is 32 rows: the query heads of
// one kv head (its group) of 32 / group consecutive tokens of one sequence, and a warp finds its
// tile's sequence by a running sum over the sequences. Few rows behind a long cached prefix are few
// tiles: then a tile's tokens are split among blocks, 256 for each at least, whose parts a second
// kernel merges. For each 32 tokens of KV: K into shared memory (as float), scores, softmax; then V
// into the same place, and values; of head_dim 256 a quarter of the dims at a time, as more would
// not fit. A thread has 4 rows by 2 tokens of the scores and 4 rows by head_dim / 16 dims of the
// values.
// Bytes: KV once for each tile, 32 * head_dim * 2 * KV element bytes a step for 4 * 32 * 32 *
// head_dim flops: 32 flops a byte of bf16 KV; a split adds rows * (head_dim + 2) floats, written
// and read. Float FMAs from shared memory: bound by arithmetic; for what
// attention_prefill_mma.cu cannot do, and where that is not wanted. Sums in float. Tolerance: as
// attention_decode.cu. Source: Dao, "FlashAttention-2", 2023. CPU twin: CpuKernels::attention.
// Never run on a GPU.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/prefill_tiles.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = kPrefillRows;
constexpr int kTokens = 32;  // of KV at a time
constexpr int kColumnThreads = 16;
constexpr int kThreadRows = kRows / (kThreads / kColumnThreads);  // 4
constexpr int kThreadTokens = kTokens / kColumnThreads;           // 2
constexpr int kPadding = 4;  // floats a row: rows start in other banks

// Of K or V in shared memory at a time.
template <int kHeadDim>
inline constexpr int kPartDims = kHeadDim <= 128 ? kHeadDim : 64;

template <int kHeadDim>
struct SharedTile {
  float q[kRows][kHeadDim + kPadding];
  float kv[kTokens][kPartDims<kHeadDim> + kPadding];
  float probability[kRows][kTokens + kPadding];
};

// A thread's share of the tile.
template <int kHeadDim>
struct Accumulators {
  static constexpr int kDims = kHeadDim / kColumnThreads;
  float values[kThreadRows][kDims] = {};
  float maximum[kThreadRows];
  float sum[kThreadRows] = {};  // of this thread's tokens
};

template <int kHeadDim>
__device__ __forceinline__ void load_queries(const AttentionParams& params, const PrefillTile& tile,
                                             SharedTile<kHeadDim>& shared) {
  constexpr float kLog2E = 1.44269504F;
  constexpr int kPieces = kHeadDim / 4;
  const int64_t stride = (int64_t{params.n_heads} + 2 * params.kv.n_kv_heads) * kHeadDim;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
    const int32_t row = i / kPieces;
    const int32_t dim = i % kPieces * 4;
    float q[4] = {};
    if (row < tile.n_rows) {
      load_floats(params.qkv + tile.token_row(row) * stride + tile.head(row) * kHeadDim + dim, q);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) q[j] *= params.scale * kLog2E;
    store_floats(&shared.q[row][dim], q);
  }
}

// K (or V) of kTokens tokens from `first_token` on, its dims from `first_dim` on; tokens beyond the
// tile's last one are zeros, as their slots may hold anything.
template <class T, int kHeadDim>
__device__ __forceinline__ void load_kv(const KvTokens<T, kHeadDim>& kv, bool is_value,
                                        int32_t first_token, int32_t last_token, int32_t first_dim,
                                        SharedTile<kHeadDim>& shared) {
  constexpr int kWide = kPerWide<T>;
  constexpr int kPieces = kPartDims<kHeadDim> / kWide;
  constexpr int kLoads = ceil_div(kTokens * kPieces, kThreads);
  const int32_t from = first_dim + (is_value ? kv.value_elements() : 0);
#pragma unroll
  for (int load = 0; load < kLoads; ++load) {
    const int32_t i = load * kThreads + static_cast<int32_t>(threadIdx.x);
    if (i >= kTokens * kPieces) break;
    const int32_t token = first_token + i / kPieces;
    const int32_t dim = i % kPieces * kWide;
    float values[kWide] = {};
    if (token <= last_token) unpack_wide<T>(load_wide(kv.at(token) + from + dim), values);
    store_floats(&shared.kv[i / kPieces][dim], values);
  }
}

// Adds the part's products to the scores of this thread's rows and tokens: tokens column, column +
// 16.
template <int kHeadDim>
__device__ __forceinline__ void multiply_keys(const SharedTile<kHeadDim>& shared, int32_t first_row,
                                              int32_t column, int32_t first_dim,
                                              float (&score)[kThreadRows][kThreadTokens]) {
#pragma unroll 4
  for (int dim = 0; dim < kPartDims<kHeadDim>; dim += 4) {
    float k[kThreadTokens][4];
#pragma unroll
    for (int t = 0; t < kThreadTokens; ++t) {
      load_floats(&shared.kv[column + t * kColumnThreads][dim], k[t]);
    }
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) {
      float q[4];
      load_floats(&shared.q[first_row + r][first_dim + dim], q);
#pragma unroll
      for (int t = 0; t < kThreadTokens; ++t) {
#pragma unroll
        for (int j = 0; j < 4; ++j) score[r][t] += q[j] * k[t][j];
      }
    }
  }
}

// Scores become probabilities in shared memory, relative to the rows' new maxima. The 16 threads of
// a row are half a warp.
template <int kHeadDim>
__device__ __forceinline__ void take_scores(float (&score)[kThreadRows][kThreadTokens],
                                            const int32_t (&position)[kThreadRows],
                                            const AttentionParams& params, int32_t first_token,
                                            int32_t first_row, int32_t column,
                                            SharedTile<kHeadDim>& shared,
                                            Accumulators<kHeadDim>& state) {
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    float now = state.maximum[r];
#pragma unroll
    for (int t = 0; t < kThreadTokens; ++t) {
      const int32_t token = first_token + column + t * kColumnThreads;
      // Of later tokens the difference is beyond any window.
      const auto age = static_cast<uint32_t>(position[r] - token);
      if (age >= static_cast<uint32_t>(params.window)) score[r][t] = -INFINITY;
      now = fmaxf(now, score[r][t]);
    }
#pragma unroll
    for (int offset = kColumnThreads / 2; offset > 0; offset /= 2) {
      now = fmaxf(now, __shfl_xor_sync(kFullWarp, now, offset));
    }
    const float correction = rescale(state.maximum[r], now);
    state.maximum[r] = now;
    state.sum[r] *= correction;
#pragma unroll
    for (int t = 0; t < kThreadTokens; ++t) {
      const float probability = rescale(score[r][t], now);
      shared.probability[first_row + r][column + t * kColumnThreads] = probability;
      state.sum[r] += probability;
    }
#pragma unroll
    for (int d = 0; d < Accumulators<kHeadDim>::kDims; ++d) state.values[r][d] *= correction;
  }
}

// Of the part's dims, of which this thread has first_dim + column, and so on 16 apart.
template <int kHeadDim>
__device__ __forceinline__ void add_values(const SharedTile<kHeadDim>& shared, int32_t first_row,
                                           int32_t column, int32_t first_dim,
                                           Accumulators<kHeadDim>& state) {
  constexpr int kDims = kPartDims<kHeadDim> / kColumnThreads;
  // Where values are twice as many, one turn is what the registers hold.
#pragma unroll(kHeadDim <= 128 ? 2 : 1)
  for (int token = 0; token < kTokens; token += 4) {
    float p[kThreadRows][4];
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) {
      load_floats(&shared.probability[first_row + r][token], p[r]);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int d = 0; d < kDims; ++d) {
        const float v = shared.kv[token + j][column + d * kColumnThreads];
#pragma unroll
        for (int r = 0; r < kThreadRows; ++r) {
          state.values[r][first_dim / kColumnThreads + d] += p[r][j] * v;
        }
      }
    }
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) attention_prefill_kernel(AttentionParams params) {
  PrefillTile tile;
  PrefillSplit split;
  if (!find_prefill_tile(params, kRows, &tile)) return;
  const auto n_split = static_cast<int32_t>(blockIdx.z);
  if (!find_prefill_split(params, tile, kTokens, n_split, &split)) return;
  PARKD_SHARED(PrefillPlace, kept, [1]);
  if (threadIdx.x == 0) kept[0] = {tile, split.n_used};
  PARKD_SHARED(SharedTile<kHeadDim>, shared, [1]);
  const auto column = static_cast<int32_t>(threadIdx.x % kColumnThreads);
  const auto first_row = static_cast<int32_t>(threadIdx.x / kColumnThreads * kThreadRows);
  load_queries(params, tile, shared[0]);

  Accumulators<kHeadDim> state;
  int32_t position[kThreadRows];
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    state.maximum[r] = -INFINITY;
    position[r] = tile.position(first_row + r);
  }
  const KvTokens<T, kHeadDim> kv(params, tile);
  const int32_t last_token = split.last_token;
  for (int32_t first_token = split.first_token; first_token <= last_token; first_token += kTokens) {
    float score[kThreadRows][kThreadTokens] = {};
#pragma unroll 1
    for (int dim = 0; dim < kHeadDim; dim += kPartDims<kHeadDim>) {
      __syncthreads();  // what was there, the last step's values at first, has been read
      load_kv(kv, false, first_token, last_token, dim, shared[0]);
      __syncthreads();
      multiply_keys(shared[0], first_row, column, dim, score);
    }
    take_scores(score, position, params, first_token, first_row, column, shared[0], state);
#pragma unroll
    for (int dim = 0; dim < kHeadDim; dim += kPartDims<kHeadDim>) {
      __syncthreads();  // what was there has been read; the probabilities are written
      load_kv(kv, true, first_token, last_token, dim, shared[0]);
      __syncthreads();
      add_values(shared[0], first_row, column, dim, state);
    }
  }

  const PrefillPlace place = kept[0];  // written before the loop's barriers
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    float sum = state.sum[r];
#pragma unroll
    for (int offset = kColumnThreads / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    const int32_t row = first_row + r;
    if (row >= place.tile.n_rows) continue;
    if (place.n_splits > 1) {
      const int64_t part = prefill_part(params, kRows, n_split, row);
      float* values = params.workspace + part * kHeadDim + column;
#pragma unroll
      for (int d = 0; d < Accumulators<kHeadDim>::kDims; ++d) {
        values[d * kColumnThreads] = state.values[r][d];
      }
      if (column == 0) prefill_part_sums(params, kRows)[part] = make_float2(state.maximum[r], sum);
      continue;
    }
    const int64_t at =
        (place.tile.token_row(row) * params.n_heads + place.tile.head(row)) * kHeadDim + column;
#pragma unroll
    for (int d = 0; d < Accumulators<kHeadDim>::kDims; ++d) {
      store_element(params.out, params.element, at + d * kColumnThreads, state.values[r][d] / sum);
    }
  }
}

// Merges the splits of the tiles that have some; `step_tokens` of their kernel. Grid (tiles,
// n_kv_heads, rows / 4), 128 threads, a warp a row.
template <int kTileRows, int kStepTokens>
__global__ void __launch_bounds__(kThreads) merge_prefill_kernel(AttentionParams params) {
  PrefillTile tile;
  PrefillSplit split;
  if (!find_prefill_tile(params, kTileRows, &tile)) return;
  (void)find_prefill_split(params, tile, kStepTokens, 0, &split);
  const auto row =
      static_cast<int32_t>(blockIdx.z * (kThreads / kWarpSize) + threadIdx.x / kWarpSize);
  if (split.n_used == 1 || row >= tile.n_rows) return;
  const int32_t head_dim = params.kv.head_dim;
  const float2* sums = prefill_part_sums(params, kTileRows);
  float maximum = -INFINITY;
  for (int32_t i = 0; i < split.n_used; ++i) {
    maximum = fmaxf(maximum, sums[prefill_part(params, kTileRows, i, row)].x);
  }
  const int64_t at = (tile.token_row(row) * params.n_heads + tile.head(row)) * head_dim;
  for (auto dim = static_cast<int32_t>(threadIdx.x % kWarpSize); dim < head_dim; dim += kWarpSize) {
    float sum = 0;
    float value = 0;
    for (int32_t i = 0; i < split.n_used; ++i) {
      const int64_t part = prefill_part(params, kTileRows, i, row);
      const float correction = rescale(sums[part].x, maximum);
      sum += correction * sums[part].y;
      value += correction * params.workspace[part * head_dim + dim];
    }
    store_element(params.out, params.element, at + dim, value / sum);
  }
}

template <int kTileRows, int kStepTokens>
cudaError_t launch_merge(const AttentionParams& params, cudaStream_t stream) {
  if (params.prefill_splits == 1) return cudaSuccess;
  dim3 grid = prefill_grid(params, kTileRows);
  grid.z = kTileRows / (kThreads / kWarpSize);
  return launch({grid, kThreads, 0, stream}, merge_prefill_kernel<kTileRows, kStepTokens>, params);
}

// with(the kernel) of the instance for this head_dim.
template <class T, class With>
cudaError_t with_instance(int32_t head_dim, const With& with) {
  switch (head_dim) {
    case 64:
      return with(attention_prefill_kernel<T, 64>);
    case 80:
      return with(attention_prefill_kernel<T, 80>);
    case 96:
      return with(attention_prefill_kernel<T, 96>);
    case 128:
      return with(attention_prefill_kernel<T, 128>);
    case 256:
      return with(attention_prefill_kernel<T, 256>);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

bool prefill_takes_tensor_cores(const AttentionParams& params) {
  return params.tensor_cores && params.kv.element != Element::f32 && params.window == 0 &&
         params.kv.head_dim <= 128;
}

cudaError_t prefill_resident_blocks(Element kv, int32_t head_dim, bool tensor_cores,
                                    int32_t* n_blocks) {
  if (tensor_cores) return prefill_mma_resident_blocks(kv, head_dim, n_blocks);
  return with_element(kv, [&](auto element) {
    return with_instance<decltype(element)>(head_dim, [&](auto kernel) {
      return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n_blocks, kernel, kThreads, 0);
    });
  });
}

int32_t prefill_splits(const AttentionParams& params, int32_t tokens_max, int32_t n_resident) {
  const bool mma = prefill_takes_tensor_cores(params);
  AttentionParams whole = params;
  whole.prefill_splits = 1;
  const dim3 grid = prefill_grid(whole, mma ? kPrefillMmaRows : kPrefillRows);
  const int32_t seen = params.window > 0 && params.window < tokens_max ? params.window : tokens_max;
  return filling_splits(int64_t{grid.x} * grid.y, ceil_div(seen, kPrefillSplitTokens), n_resident);
}

int64_t prefill_workspace_floats(int32_t n_blocks, int32_t head_dim, bool tensor_cores) {
  return int64_t{n_blocks} * (tensor_cores ? kPrefillMmaRows : kPrefillRows) * (head_dim + 2);
}

cudaError_t launch_attention_prefill(const AttentionParams& params, cudaStream_t stream) {
  if (!attention_params_are_valid(params) || params.step.rows_max < 0 ||
      params.step.sequences_max < 0 || params.kv.n_kv_heads > kGridYMax ||
      params.prefill_splits < 1 || params.prefill_splits > kSplitsMax ||
      (params.prefill_splits > 1 && !is_aligned(params.workspace))) {
    return cudaErrorInvalidValue;
  }
  const AttentionParams windowed = with_window(params);
  if (prefill_takes_tensor_cores(params)) {
    const cudaError_t error = launch_attention_prefill_mma(windowed, stream);
    if (error != cudaSuccess) return error;
    return launch_merge<kPrefillMmaRows, kPrefillMmaTokens>(windowed, stream);
  }
  const LaunchShape shape = {prefill_grid(params, kRows), kThreads, 0, stream};
  const cudaError_t error = with_element(params.kv.element, [&](auto element) {
    return with_instance<decltype(element)>(
        params.kv.head_dim, [&](auto kernel) { return launch(shape, kernel, windowed); });
  });
  if (error != cudaSuccess) return error;
  return launch_merge<kRows, kTokens>(windowed, stream);
}

}  // namespace parkd::cuda
