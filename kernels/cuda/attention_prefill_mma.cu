// attention_prefill.cu's work on tensor cores, for f16 and bf16 KV without a window, where
// AttentionParams::tensor_cores allows it (the default; config, tensor_core_attention).
//
// Shapes: as in attention_prefill.cu, but head_dim 128 at most: of 256, q and the values are 192
// registers a thread, and even with 32 tokens at a time some of it spills. Geometry: grid (tiles,
// n_kv_heads, splits), 128 threads. A tile is 64 rows (the group's heads of 64 / group tokens), 16
// a warp; q stays in registers, rounded to the KV type; for each 64 tokens K and V are copied to
// shared memory as they are. Scores are C fragments; two of them side by side are the A fragment of
// the next product, so that probabilities (rounded to the KV type) never leave the registers. Steps
// in which every row sees every token, all but a tile's last one or two, ask for no limits. Rows of
// shared memory are 16 bytes longer than head_dim: the eight rows that ldmatrix reads at once lie
// in different banks.
// Bytes: as the plain kernel, half of it as tiles have twice the rows; 4 * 64 * 64 * head_dim flops
// a step of a tile. Sums in float; the sum of a row adds the probabilities as they were rounded, so
// that weights add up to one. Tolerance: the roundings of q and of the probabilities: 2^-8 (bf16)
// or 2^-11 (f16) of the largest value of V, twice; e^x to 2^-22. Source: Dao, "FlashAttention-2",
// 2023. CPU twin: CpuKernels::attention. Never run on a GPU.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/prefill_tiles.h"
#include "kernels/cuda/ptx.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarpRows = 16;
constexpr int kRows = kPrefillMmaRows;
static_assert(kRows == kThreads / kWarpSize * kWarpRows);
constexpr int kTokens = kPrefillMmaTokens;  // of KV at a time
constexpr int kTokenTiles = kTokens / 8;    // C fragments of a warp's scores
constexpr int kPadding = 8;

template <class T, int kHeadDim>
struct SharedKv {
  T keys[kTokens][kHeadDim + kPadding];
  T values[kTokens][kHeadDim + kPadding];
};

// A warp's 16 rows: this lane has rows lane / 4 and 8 more of each fragment, [0] and [1] here.
template <int kHeadDim>
struct WarpRows {
  uint32_t query[kHeadDim / 16][4];    // A fragments
  float values[kHeadDim / 8][4] = {};  // C fragments
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of this lane's tokens
  int32_t position[2];
};

template <class T, int kHeadDim>
__device__ __forceinline__ void load_queries(const AttentionParams& params, const PrefillTile& tile,
                                             int32_t first_row, WarpRows<kHeadDim>& rows) {
  const int64_t stride = (int64_t{params.n_heads} + 2 * params.kv.n_kv_heads) * kHeadDim;
  const auto column = static_cast<int32_t>(threadIdx.x % 4 * 2);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t row = first_row + r * 8;
    rows.position[r] = tile.position(row);
    const float* q = params.qkv + tile.token_row(row) * stride + tile.head(row) * kHeadDim + column;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 pair = make_float2(0, 0);
        if (row < tile.n_rows) pair = *reinterpret_cast<const float2*>(q + k * 16 + half * 8);
        rows.query[k][half * 2 + r] = pack_word<T>(pair.x, pair.y);
      }
    }
  }
}

// Zeros for tokens beyond the last one, whose slots may hold anything; none is beyond in a whole
// step.
template <bool kWhole, class T, int kHeadDim>
__device__ __forceinline__ void load_kv(const KvTokens<T, kHeadDim>& kv, int32_t first_token,
                                        int32_t last_token, SharedKv<T, kHeadDim>& to) {
  constexpr int kPieces = kHeadDim / kPerWide<T>;
#pragma unroll
  for (int load = 0; load < kTokens * kPieces / kThreads; ++load) {
    const int32_t i = load * kThreads + static_cast<int32_t>(threadIdx.x);
    const int32_t token = first_token + i / kPieces;
    const int32_t dim = i % kPieces * kPerWide<T>;
    uint4 key = make_uint4(0, 0, 0, 0);
    uint4 value = make_uint4(0, 0, 0, 0);
    if (kWhole || token <= last_token) {
      const T* from = kv.at(token) + dim;
      key = load_wide(from);
      value = load_wide(from + kv.value_elements());
    }
    *reinterpret_cast<uint4*>(&to.keys[i / kPieces][dim]) = key;
    *reinterpret_cast<uint4*>(&to.values[i / kPieces][dim]) = value;
  }
}

// scores = q K^T: B fragments of 16 dims by 8 tokens, two of tokens at a load.
template <class T, int kHeadDim>
__device__ __forceinline__ void multiply_keys(const T (&keys)[kTokens][kHeadDim + kPadding],
                                              const WarpRows<kHeadDim>& rows,
                                              float (&score)[kTokenTiles][4]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  // Matrices 0 and 1: the low and high 8 dims of 8 tokens; 2 and 3: of the next 8.
  const int32_t token = lane / 16 * 8 + lane % 8;
  const int32_t dim = lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; n += 2) {
      uint32_t loaded[4];
      load_matrices<false>(loaded, &keys[n * 8 + token][k * 16 + dim]);
      const uint32_t first[2] = {loaded[0], loaded[1]};
      const uint32_t second[2] = {loaded[2], loaded[3]};
      mma_m16n8k16<T>(score[n], rows.query[k], first);
      mma_m16n8k16<T>(score[n + 1], rows.query[k], second);
    }
  }
}

// Scores become probabilities relative to the rows' new maxima, rounded to T, as the words of the
// next product's A fragments: [tile of tokens][row]. A row is in four lanes. `scale` is above 0, so
// that the greatest score has the greatest product with it. Each row sees a token in its first
// step.
template <bool kWhole, class T, int kHeadDim>
__device__ __forceinline__ void take_scores(float scale, int32_t first_token,
                                            float (&score)[kTokenTiles][4],
                                            WarpRows<kHeadDim>& rows,
                                            uint32_t (&probability)[kTokenTiles][2]) {
  const auto column = static_cast<int32_t>(threadIdx.x % 4 * 2);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float now = rows.maximum[r];
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& s = score[n][r * 2 + c];
        if (!kWhole && first_token + n * 8 + column + c > rows.position[r]) s = -INFINITY;
        now = fmaxf(now, s);
      }
    }
    now = fmaxf(now, __shfl_xor_sync(kFullWarp, now, 1));
    now = fmaxf(now, __shfl_xor_sync(kFullWarp, now, 2));
    const float subtracted = now * scale;
    const float correction = exp2_approximate(fmaf(rows.maximum[r], scale, -subtracted));
    rows.maximum[r] = now;
    float sum = rows.sum[r] * correction;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const float first = exp2_approximate(fmaf(score[n][r * 2], scale, -subtracted));
      const float second = exp2_approximate(fmaf(score[n][r * 2 + 1], scale, -subtracted));
      probability[n][r] = pack_word<T>(first, second);
      float first_rounded;
      float second_rounded;
      unpack_word<T>(probability[n][r], first_rounded, second_rounded);
      sum += first_rounded + second_rounded;
    }
    rows.sum[r] = sum;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      rows.values[d][r * 2] *= correction;
      rows.values[d][r * 2 + 1] *= correction;
    }
  }
}

// values += probabilities V: B fragments of 16 tokens by 8 dims, two of dims at a load, transposed
// as tokens are the rows in memory.
template <class T, int kHeadDim>
__device__ __forceinline__ void add_values(const T (&values)[kTokens][kHeadDim + kPadding],
                                           const uint32_t (&probability)[kTokenTiles][2],
                                           WarpRows<kHeadDim>& rows) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  // Matrices 0 and 1: the low and high 8 tokens of 8 dims; 2 and 3: of the next 8 dims.
  const int32_t token = lane % 16;
  const int32_t dim = lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTokens / 16; ++k) {
    const uint32_t a[4] = {probability[2 * k][0], probability[2 * k][1], probability[2 * k + 1][0],
                           probability[2 * k + 1][1]};
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; d += 2) {
      uint32_t loaded[4];
      load_matrices<true>(loaded, &values[k * 16 + token][d * 8 + dim]);
      const uint32_t first[2] = {loaded[0], loaded[1]};
      const uint32_t second[2] = {loaded[2], loaded[3]};
      mma_m16n8k16<T>(rows.values[d], a, first);
      mma_m16n8k16<T>(rows.values[d + 1], a, second);
    }
  }
}

// Two elements side by side, at an even index.
__device__ __forceinline__ void store_pair(void* out, Element element, int64_t index, float first,
                                           float second) {
  if (element == Element::f32) {
    *reinterpret_cast<float2*>(static_cast<float*>(out) + index) = make_float2(first, second);
  } else {
    const uint32_t word = element == Element::f16 ? pack_word<__half>(first, second)
                                                  : pack_word<__nv_bfloat16>(first, second);
    *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(out) + index) = word;
  }
}

// The tokens from `first_token` on, kTokens of them or up to the last one.
template <bool kWhole, class T, int kHeadDim>
__device__ __forceinline__ void add_tokens(const KvTokens<T, kHeadDim>& kv, int32_t first_token,
                                           int32_t last_token, float scale,
                                           SharedKv<T, kHeadDim>& shared,
                                           WarpRows<kHeadDim>& rows) {
  __syncthreads();  // the last step's K and V have been read
  load_kv<kWhole>(kv, first_token, last_token, shared);
  __syncthreads();
  float score[kTokenTiles][4] = {};
  uint32_t probability[kTokenTiles][2];
  multiply_keys<T, kHeadDim>(shared.keys, rows, score);
  take_scores<kWhole, T>(scale, first_token, score, rows, probability);
  add_values<T, kHeadDim>(shared.values, probability, rows);
}

// ptxas aims at four blocks of head_dim 64 for sm_120 and spills some registers; three leave it
// enough. 0 leaves the choice to ptxas.
template <int kHeadDim>
constexpr int blocks_min() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 1200
  if (kHeadDim == 64) return 3;
#endif
  return 0;
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, blocks_min<kHeadDim>())
    attention_prefill_mma_kernel(AttentionParams params) {
  constexpr float kLog2E = 1.44269504F;
  PrefillTile tile;
  PrefillSplit split;
  if (!find_prefill_tile(params, kRows, &tile)) return;
  const auto n_split = static_cast<int32_t>(blockIdx.z);
  if (!find_prefill_split(params, tile, kTokens, n_split, &split)) return;
  PARKD_SHARED(PrefillPlace, kept, [1]);
  if (threadIdx.x == 0) kept[0] = {tile, split.n_used};
  using Shared = SharedKv<T, kHeadDim>;
  PARKD_SHARED(Shared, shared, [1]);
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  const int32_t first_row = static_cast<int32_t>(threadIdx.x / kWarpSize) * kWarpRows + lane / 4;
  WarpRows<kHeadDim> rows;
  load_queries<T>(params, tile, first_row, rows);

  const KvTokens<T, kHeadDim> kv(params, tile);
  const float scale = params.scale * kLog2E;
  const int32_t last_token = split.last_token;
  // Up to here the tile's first row, and so every row, sees all tokens of a step.
  const int32_t seen = (tile.first_position + 1) / kTokens * kTokens;
  const int32_t whole = seen < last_token + 1 ? seen : last_token + 1;
  int32_t first_token = split.first_token;
  for (; first_token < whole; first_token += kTokens) {
    add_tokens<true>(kv, first_token, last_token, scale, shared[0], rows);
  }
  for (; first_token <= last_token; first_token += kTokens) {
    add_tokens<false>(kv, first_token, last_token, scale, shared[0], rows);
  }

  const PrefillPlace place = kept[0];  // written before the loop's barriers
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = rows.sum[r];
    sum += __shfl_xor_sync(kFullWarp, sum, 1);
    sum += __shfl_xor_sync(kFullWarp, sum, 2);
    const int32_t row = first_row + r * 8;
    if (row >= place.tile.n_rows) continue;
    if (place.n_splits > 1) {
      const int64_t part = prefill_part(params, kRows, n_split, row);
      float* values = params.workspace + part * kHeadDim + lane % 4 * 2;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        *reinterpret_cast<float2*>(values + d * 8) =
            make_float2(rows.values[d][r * 2], rows.values[d][r * 2 + 1]);
      }
      if (lane % 4 == 0) {
        prefill_part_sums(params, kRows)[part] = make_float2(rows.maximum[r] * scale, sum);
      }
      continue;
    }
    const int64_t at =
        (place.tile.token_row(row) * params.n_heads + place.tile.head(row)) * kHeadDim +
        lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      store_pair(params.out, params.element, at + d * 8, rows.values[d][r * 2] / sum,
                 rows.values[d][r * 2 + 1] / sum);
    }
  }
}

template <class T, class With>
cudaError_t with_instance(int32_t head_dim, const With& with) {
  switch (head_dim) {
    case 64:
      return with(attention_prefill_mma_kernel<T, 64>);
    case 80:
      return with(attention_prefill_mma_kernel<T, 80>);
    case 96:
      return with(attention_prefill_mma_kernel<T, 96>);
    case 128:
      return with(attention_prefill_mma_kernel<T, 128>);
    default:
      return cudaErrorInvalidValue;
  }
}

// with(the kernel) of the instance for this kind of KV.
template <class With>
cudaError_t with_kernel(Element kv, int32_t head_dim, const With& with) {
  if (kv == Element::f16) return with_instance<__half>(head_dim, with);
  if (kv == Element::bf16) return with_instance<__nv_bfloat16>(head_dim, with);
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t prefill_mma_resident_blocks(Element kv, int32_t head_dim, int32_t* n_blocks) {
  return with_kernel(kv, head_dim, [&](auto kernel) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n_blocks, kernel, kThreads, 0);
  });
}

cudaError_t launch_attention_prefill_mma(const AttentionParams& params, cudaStream_t stream) {
  if (!(params.scale > 0)) return cudaErrorInvalidValue;
  const LaunchShape shape = {prefill_grid(params, kRows), kThreads, 0, stream};
  return with_kernel(params.kv.element, params.kv.head_dim,
                     [&](auto kernel) { return launch(shape, kernel, params); });
}

}  // namespace parkd::cuda
