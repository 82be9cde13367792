// Attention of one new token a sequence over its paged KV: out = softmax(q K^T * scale) V.
//
// Shapes: qkv (n_rows, (n_heads + 2 n_kv_heads) * head_dim) float, of which q is read; KV as in
// kernels.h; out (n_rows, n_heads * head_dim) of `element`. head_dim 64, 80, 96, 128 or 256.
// Geometry: grid (n_kv_heads * ceil(group / G), decode_max, n_splits), 128 threads. A block takes
// the G query heads that share a kv head (G = 1, 2, 4 or 8; a larger group reads KV once per 8
// heads) over its split of the tokens, in runs of 8 that a warp loads at once: 16 bytes a lane,
// head_dim / 8 (f32: / 4) lanes a token, rounded up to a power of two, K and V of all 8 tokens in
// flight; of head_dim 256 it is half a run, of f32 a quarter, two pieces of 16 bytes a lane. A run
// never crosses a KV block, so a warp looks up one table entry a run, one run ahead. Each lane
// group keeps its own softmax (maximum, sum, values); they are merged over the warp by shuffles,
// over the block in shared memory, over splits by a second kernel. Splits shorter than 128 tokens
// are not made, however many the launch allows.
// A window leaves out the runs before it, and the tokens of its first run before it have no weight.
// Bytes: 2 * head_dim * KV element bytes a token and kv head, read once, and n_splits * (head_dim +
// 2) floats a head, written and read; 4 * G * head_dim flops a token: G flops a byte of bf16 KV.
// Bound by memory at G = 1, by issue slots at G = 4 and more (README, "Issue roofs"). Sums in
// float. Tolerance: 4e-6 of the largest value of V and the output's rounding, against float64 on
// the rounded KV. Source: Dao et al., "Flash-Decoding", 2023. CPU twin: CpuKernels::attention.
// Never run on a GPU.
#include <type_traits>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kRun = 8;            // tokens; a KV block holds whole runs
constexpr int kRunsPerSplit = 16;  // at least
constexpr int kHeadsMax = 8;       // of a block

// How a sequence's tokens are cut into splits; the same in both kernels.
struct Splits {
  int32_t first_run;  // that has a token of the window
  int32_t n_runs;     // up to the sequence's end
  int32_t runs_per_split;
  int32_t n_used;
};

__device__ __forceinline__ Splits splits_of(const AttentionParams& params, int32_t sequence) {
  Splits splits;
  const int32_t position = params.step.context_tokens[sequence];
  splits.first_run = first_seen(params, position) / kRun;
  splits.n_runs = ceil_div(position + 1, kRun);
  const int32_t even = ceil_div(splits.n_runs - splits.first_run, params.n_splits);
  splits.runs_per_split = even > kRunsPerSplit ? even : kRunsPerSplit;
  splits.n_used = ceil_div(splits.n_runs - splits.first_run, splits.runs_per_split);
  return splits;
}

// Of the workspace: values (sequence, head, split, head_dim), then (maximum, sum) of each.
__device__ __forceinline__ int64_t part_index(const AttentionParams& params, int32_t sequence,
                                              int32_t head, int32_t split) {
  return (int64_t{sequence} * params.n_heads + head) * params.n_splits + split;
}

__device__ __forceinline__ float2* part_sums(const AttentionParams& params) {
  const int64_t n_parts = int64_t{params.step.decode_max} * params.n_heads * params.n_splits;
  return reinterpret_cast<float2*>(params.workspace + n_parts * params.kv.head_dim);
}

// How a token's K or V, `kPadded` elements (head_dim rounded up), lies in the lanes of a warp.
template <class T, int kPadded>
struct Lanes {
  static constexpr int kWide = kPerWide<T>;
  static constexpr int kCount = kPadded / kWide < kWarpSize ? kPadded / kWide : kWarpSize;
  static constexpr int kPieces = kPadded / (kCount * kWide);  // of a lane, kStride apart
  static constexpr int kStride = kCount * kWide;
  static constexpr int kDims = kPieces * kWide;
  static constexpr int kTokens = kWarpSize / kCount;  // that a warp's lanes hold beside each other
  // Tokens of a lane at once: its share of a run, or as many as there are registers for.
  static constexpr int kMost = 32 / (kDims * kPieces);
  static constexpr int kUnroll = kRun / kTokens < kMost ? kRun / kTokens : kMost;
  static constexpr int kAtOnce = kUnroll * kTokens;  // tokens of a warp

  // A lane's pieces, as floats.
  static __device__ __forceinline__ void unpack(const uint4 (&pieces)[kPieces],
                                                float (&to)[kDims]) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      float piece[kWide];
      unpack_wide<T>(pieces[p], piece);
#pragma unroll
      for (int i = 0; i < kWide; ++i) to[p * kWide + i] = piece[i];
    }
  }
};

// The G query heads' running softmax over the tokens that a lane group has seen.
template <class T, int kPadded, int G>
struct Softmax {
  using Layout = Lanes<T, kPadded>;
  static constexpr int kLanes = Layout::kCount;
  static constexpr int kDims = Layout::kDims;  // of the head in this lane
  static constexpr int kTokens = Layout::kTokens;
  static constexpr int kUnroll = Layout::kUnroll;
  using Pieces = uint4[kUnroll][Layout::kPieces];

  float query[G][kDims];
  float values[G][kDims];
  float maximum[G];
  float sum[G];

  // Takes in kUnroll tokens, of which those of [first_valid, n_valid) count.
  __device__ __forceinline__ void add(const Pieces& keys, const Pieces& vs, int32_t token,
                                      int32_t first_valid, int32_t n_valid) {
    float score[G][kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float key[kDims];
      Layout::unpack(keys[u], key);
      const int32_t at = token + u * kTokens;
      const bool valid = at >= first_valid && at < n_valid;
#pragma unroll
      for (int g = 0; g < G; ++g) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < kDims; ++i) dot += query[g][i] * key[i];
#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2) {
          dot += __shfl_xor_sync(kFullWarp, dot, offset);
        }
        score[g][u] = valid ? dot : -INFINITY;
      }
    }
#pragma unroll
    for (int g = 0; g < G; ++g) take_scores(score[g], maximum[g], sum[g], values[g]);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float value[kDims];
      Layout::unpack(vs[u], value);
#pragma unroll
      for (int g = 0; g < G; ++g) {
#pragma unroll
        for (int i = 0; i < kDims; ++i) values[g][i] += score[g][u] * value[i];
      }
    }
  }

  // Turns one head's scores into probabilities relative to its new maximum.
  static __device__ __forceinline__ void take_scores(float (&score)[kUnroll], float& maximum,
                                                     float& sum, float (&values)[kDims]) {
    float now = maximum;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) now = fmaxf(now, score[u]);
    const float correction = rescale(maximum, now);
    sum *= correction;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      score[u] = rescale(score[u], now);
      sum += score[u];
    }
#pragma unroll
    for (int i = 0; i < kDims; ++i) values[i] *= correction;
    maximum = now;
  }

  // Merges the warp's lane groups; every one then holds the result.
  __device__ __forceinline__ void merge_warp() {
#pragma unroll
    for (int g = 0; g < G; ++g) {
      float all = maximum[g];
#pragma unroll
      for (int offset = kLanes; offset < kWarpSize; offset *= 2) {
        all = fmaxf(all, __shfl_xor_sync(kFullWarp, all, offset));
      }
      const float correction = rescale(maximum[g], all);
      maximum[g] = all;
      sum[g] *= correction;
#pragma unroll
      for (int i = 0; i < kDims; ++i) values[g][i] *= correction;
#pragma unroll
      for (int offset = kLanes; offset < kWarpSize; offset *= 2) {
        sum[g] += __shfl_xor_sync(kFullWarp, sum[g], offset);
#pragma unroll
        for (int i = 0; i < kDims; ++i) {
          values[g][i] += __shfl_xor_sync(kFullWarp, values[g][i], offset);
        }
      }
    }
  }
};

// What a block knows of its place.
struct Place {
  int32_t sequence;
  int32_t row;
  int32_t kv_head;
  int32_t first_head;
  int32_t n_heads;  // that this block writes, at most G
  int32_t split;
};

template <int G>
__device__ __forceinline__ Place place_of_block(const AttentionParams& params) {
  const int32_t group = params.n_heads / params.kv.n_kv_heads;
  const int32_t parts = ceil_div(group, G);
  const auto x = static_cast<int32_t>(blockIdx.x);
  const int32_t first_in_group = x % parts * G;
  Place place;
  place.sequence = static_cast<int32_t>(blockIdx.y);
  place.row = params.step.first_row[place.sequence];
  place.kv_head = x / parts;
  place.first_head = place.kv_head * group + first_in_group;
  place.n_heads = group - first_in_group < G ? group - first_in_group : G;
  place.split = static_cast<int32_t>(blockIdx.z);
  return place;
}

template <class T, int kPadded, int G>
__device__ __forceinline__ void load_queries(const AttentionParams& params, const Place& place,
                                             int32_t first_dim, bool is_active,
                                             Softmax<T, kPadded, G>& softmax) {
  constexpr float kLog2E = 1.44269504F;
  using Layout = Lanes<T, kPadded>;
  const int32_t head_dim = params.kv.head_dim;
  const int64_t stride = (int64_t{params.n_heads} + 2 * params.kv.n_kv_heads) * head_dim;
#pragma unroll
  for (int g = 0; g < G; ++g) {
    // A head too many computes the last one again and is not written.
    const int32_t head = place.first_head + (g < place.n_heads ? g : place.n_heads - 1);
#pragma unroll
    for (int p = 0; p < Layout::kPieces; ++p) {
      float query[Layout::kWide] = {};
      if (is_active) {
        const int32_t dim = first_dim + p * Layout::kStride;
        load_floats(params.qkv + place.row * stride + int64_t{head} * head_dim + dim, query);
      }
#pragma unroll
      for (int i = 0; i < Layout::kWide; ++i) {
        softmax.query[g][p * Layout::kWide + i] = query[i] * (params.scale * kLog2E);
        softmax.values[g][p * Layout::kWide + i] = 0;
      }
    }
    softmax.maximum[g] = -INFINITY;
    softmax.sum[g] = 0;
  }
}

template <class T, int kPadded, int G>
__device__ __forceinline__ void attend_runs(const AttentionParams& params, const Place& place,
                                            int32_t first_run, int32_t last_run, int32_t first_dim,
                                            bool is_active, Softmax<T, kPadded, G>& softmax) {
  using Layout = Lanes<T, kPadded>;
  const KvMemory& kv = params.kv;
  const int32_t n_tokens = params.step.context_tokens[place.sequence] + 1;
  const int32_t first_token = first_seen(params, n_tokens - 1);
  const int32_t runs_per_block = kv.block_size / kRun;
  const int32_t* table =
      params.step.block_tables + int64_t{place.sequence} * params.step.counts->block_table_stride;
  const int64_t head_elements = int64_t{kv.block_size} * kv.head_dim;
  const int64_t value_offset = head_elements * kv.n_kv_heads;
  const T* layer = static_cast<const T*>(kv.base) +
                   int64_t{params.layer} * kv.n_blocks * 2 * value_offset +
                   place.kv_head * head_elements + first_dim;
  const auto sub = static_cast<int32_t>(threadIdx.x % kWarpSize / Layout::kCount);
  int32_t run = first_run + static_cast<int32_t>(threadIdx.x / kWarpSize);
  int32_t block = run < last_run ? table[run / runs_per_block] : 0;
  for (; run < last_run; run += kWarps) {
    const T* keys_at = layer + block * 2 * value_offset;
    const int32_t first_slot = run % runs_per_block * kRun;
    const int32_t in_run = n_tokens - run * kRun;  // tokens that exist, from this run's first on
#pragma unroll 1
    for (int32_t first = 0; first < kRun; first += Layout::kAtOnce) {
      uint4 keys[Layout::kUnroll][Layout::kPieces];
      uint4 values[Layout::kUnroll][Layout::kPieces];
#pragma unroll
      for (int u = 0; u < Layout::kUnroll; ++u) {
        // A slot that holds no token is never read: it may hold anything, NaN too.
        const int32_t token = first + u * Layout::kTokens + sub;
        const int32_t slot = first_slot + (token < in_run ? token : in_run - 1);
        const T* at = keys_at + int64_t{slot} * kv.head_dim;
#pragma unroll
        for (int p = 0; p < Layout::kPieces; ++p, at += Layout::kStride) {
          keys[u][p] = is_active ? load_wide(at) : make_uint4(0, 0, 0, 0);
          values[u][p] = is_active ? load_wide(at + value_offset) : make_uint4(0, 0, 0, 0);
        }
      }
      if (first == 0 && run + kWarps < last_run) block = table[(run + kWarps) / runs_per_block];
      softmax.add(keys, values, first + sub, first_token - run * kRun, in_run);
    }
  }
}

// Merges the warps and writes the block's result: the output, or a part for the second kernel.
template <class T, int kPadded, int G>
__device__ __forceinline__ void finish_block(const AttentionParams& params, const Place& place,
                                             int32_t n_used_splits,
                                             const Softmax<T, kPadded, G>& softmax) {
  using Layout = Lanes<T, kPadded>;
  PARKD_SHARED(float, warp_values, [kWarps][G][kPadded]);
  PARKD_SHARED(float, warp_maximum, [kWarps][G]);
  PARKD_SHARED(float, warp_sum, [kWarps][G]);
  const auto warp = static_cast<int32_t>(threadIdx.x / kWarpSize);
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  if (lane < Layout::kCount) {
#pragma unroll
    for (int g = 0; g < G; ++g) {
#pragma unroll
      for (int p = 0; p < Layout::kPieces; ++p) {
        float piece[Layout::kWide];
#pragma unroll
        for (int i = 0; i < Layout::kWide; ++i) piece[i] = softmax.values[g][p * Layout::kWide + i];
        store_floats(&warp_values[warp][g][p * Layout::kStride + lane * Layout::kWide], piece);
      }
      if (lane == 0) {
        warp_maximum[warp][g] = softmax.maximum[g];
        warp_sum[warp][g] = softmax.sum[g];
      }
    }
  }
  __syncthreads();
  const int32_t head_dim = params.kv.head_dim;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < place.n_heads * head_dim; i += kThreads) {
    const int32_t g = i / head_dim;
    const int32_t dim = i % head_dim;
    float maximum = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, warp_maximum[w][g]);
    float sum = 0;
    float value = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float correction = rescale(warp_maximum[w][g], maximum);
      sum += correction * warp_sum[w][g];
      value += correction * warp_values[w][g][dim];
    }
    const int32_t head = place.first_head + g;
    if (n_used_splits == 1) {
      const int64_t at = (int64_t{place.row} * params.n_heads + head) * head_dim + dim;
      store_element(params.out, params.element, at, value / sum);
    } else {
      const int64_t part = part_index(params, place.sequence, head, place.split);
      params.workspace[part * head_dim + dim] = value;
      if (dim == 0) part_sums(params)[part] = make_float2(maximum, sum);
    }
  }
}

template <class T, int kPadded, int G>
__global__ void __launch_bounds__(kThreads) attention_decode_kernel(AttentionParams params) {
  if (static_cast<int32_t>(blockIdx.y) >= params.step.counts->n_decode) return;
  const Place place = place_of_block<G>(params);
  const Splits splits = splits_of(params, place.sequence);
  if (place.split >= splits.n_used) return;
  const int32_t first_run = splits.first_run + place.split * splits.runs_per_split;
  const int32_t end = first_run + splits.runs_per_split;
  const int32_t last_run = end < splits.n_runs ? end : splits.n_runs;
  // head_dim 80 and 96 leave some lanes of a group without dims.
  using Layout = Lanes<T, kPadded>;
  const auto first_dim = static_cast<int32_t>(threadIdx.x % Layout::kCount * Layout::kWide);
  const bool is_active = first_dim < params.kv.head_dim;
  Softmax<T, kPadded, G> softmax;
  load_queries(params, place, first_dim, is_active, softmax);
  attend_runs(params, place, first_run, last_run, first_dim, is_active, softmax);
  softmax.merge_warp();
  finish_block(params, place, splits.n_used, softmax);
}

// Merges a sequence's splits. Grid (n_heads, decode_max, ceil(head_dim / 128)), 128 threads, one a
// dim.
__global__ void __launch_bounds__(kThreads) merge_splits_kernel(AttentionParams params) {
  const auto head = static_cast<int32_t>(blockIdx.x);
  const auto sequence = static_cast<int32_t>(blockIdx.y);
  const auto dim = static_cast<int32_t>(blockIdx.z * kThreads + threadIdx.x);
  const int32_t head_dim = params.kv.head_dim;
  if (sequence >= params.step.counts->n_decode || dim >= head_dim) return;
  const int32_t n_used = splits_of(params, sequence).n_used;
  if (n_used == 1) return;
  const int64_t first_part = part_index(params, sequence, head, 0);
  const float2* sums = part_sums(params) + first_part;
  float maximum = -INFINITY;
  for (int32_t split = 0; split < n_used; ++split) maximum = fmaxf(maximum, sums[split].x);
  float sum = 0;
  float value = 0;
  for (int32_t split = 0; split < n_used; ++split) {
    const float correction = rescale(sums[split].x, maximum);
    sum += correction * sums[split].y;
    value += correction * params.workspace[(first_part + split) * head_dim + dim];
  }
  const int64_t row = params.step.first_row[sequence];
  store_element(params.out, params.element, (row * params.n_heads + head) * head_dim + dim,
                value / sum);
}

template <class T, int kPadded, int G>
cudaError_t launch_heads(const AttentionParams& params, cudaStream_t stream) {
  const int32_t parts = ceil_div(params.n_heads / params.kv.n_kv_heads, G);
  const dim3 grid(static_cast<unsigned>(params.kv.n_kv_heads * parts),
                  static_cast<unsigned>(params.step.decode_max),
                  static_cast<unsigned>(params.n_splits));
  return launch({grid, kThreads, 0, stream}, attention_decode_kernel<T, kPadded, G>, params);
}

// with(T{}, padded head_dim, heads of a block) of the instance for this kind of KV.
template <class With>
cudaError_t with_instance(Element kv, int32_t head_dim, int32_t group, const With& with) {
  return with_element(kv, [&](auto element) {
    const auto with_padded = [&](auto padded) {
      if (group == 1) return with(element, padded, std::integral_constant<int, 1>{});
      if (group == 2) return with(element, padded, std::integral_constant<int, 2>{});
      if (group <= 4) return with(element, padded, std::integral_constant<int, 4>{});
      return with(element, padded, std::integral_constant<int, kHeadsMax>{});
    };
    if (head_dim == 64) return with_padded(std::integral_constant<int, 64>{});
    if (head_dim <= 128) return with_padded(std::integral_constant<int, 128>{});
    return with_padded(std::integral_constant<int, 256>{});
  });
}

}  // namespace

bool attention_supports(int32_t head_dim, int32_t group) {
  const bool has_dim =
      head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 || head_dim == 256;
  return has_dim && group >= 1 && group <= kAttentionGroupMax;
}

cudaError_t attention_resident_blocks(Element kv, int32_t head_dim, int32_t group,
                                      int32_t* n_blocks) {
  if (!attention_supports(head_dim, group)) return cudaErrorInvalidValue;
  return with_instance(kv, head_dim, group, [&](auto element, auto padded, auto heads) {
    using T = decltype(element);
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        n_blocks, attention_decode_kernel<T, decltype(padded)::value, decltype(heads)::value>,
        kThreads, 0);
  });
}

int32_t attention_splits(int32_t n_sequences, int32_t n_heads, int32_t n_kv_heads,
                         int32_t tokens_max, int32_t n_resident) {
  const int32_t parts = ceil_div(n_heads / n_kv_heads, kHeadsMax);  // blocks of a kv head
  return filling_splits(int64_t{n_sequences} * n_kv_heads * parts,
                        ceil_div(tokens_max, kRun * kRunsPerSplit), n_resident);
}

int64_t attention_workspace_floats(int32_t n_sequences, int32_t n_heads, int32_t head_dim,
                                   int32_t n_splits) {
  return int64_t{n_sequences} * n_heads * n_splits * (head_dim + 2);
}

cudaError_t launch_attention_decode(const AttentionParams& params, cudaStream_t stream) {
  if (!attention_params_are_valid(params) || params.step.decode_max < 0 ||
      params.step.decode_max > kGridYMax || params.n_splits < 1 || params.n_splits > kSplitsMax ||
      (params.n_splits > 1 && !is_aligned(params.workspace))) {
    return cudaErrorInvalidValue;
  }
  const AttentionParams windowed = with_window(params);
  const cudaError_t error = with_instance(
      params.kv.element, params.kv.head_dim, params.n_heads / params.kv.n_kv_heads,
      [&](auto element, auto padded, auto heads) {
        using T = decltype(element);
        return launch_heads<T, decltype(padded)::value, decltype(heads)::value>(windowed, stream);
      });
  if (error != cudaSuccess || params.n_splits == 1) return error;
  const dim3 grid(static_cast<unsigned>(params.n_heads),
                  static_cast<unsigned>(params.step.decode_max),
                  static_cast<unsigned>(ceil_div(params.kv.head_dim, kThreads)));
  return launch({grid, kThreads, 0, stream}, merge_splits_kernel, windowed);
}

}  // namespace parkd::cuda
