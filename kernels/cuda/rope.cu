// Rotary position embedding, and the KV write that goes with it.
//
// Table, once a step and rope: cos_sin[row][i] = amplitude * (cos, sin)(position * inv_freq[i]), or
// (1, 0) where inv_freq[i] is 0: such a pair is left as it is. All of a model's scalings are in
// inv_freq and amplitude. Angles in double: at position 100,000 a float angle is off by 0.004.
// Then, a layer at a time: biases are added to q, k and v; where there are norms, each head h of q
// and k becomes h / sqrt(mean(h^2) + eps) * weight; pairs (x, y) of q and k become (x cos - y sin,
// x sin + y cos); q is scaled by 1 + beta ln(1 + floor(position / period)) and stays in place, k
// and v (neither normed nor rotated) are rounded into the row's KV slot.
//
// Shapes: cos_sin (n_rows, head_dim / 2, 2), qkv (n_rows, (n_heads + 2 n_kv_heads) * head_dim)
// float; KV as in kernels.h; head_dim a multiple of 8. Launch: table: one thread a (row, pair),
// blocks of 128; rotation: grid (rows_max, (n_heads + 2 n_kv_heads) * head_dim / 8 / 128), 128
// threads of eight elements: four pairs, or eight of v. With norms a warp has a head to itself, of
// head_dim / 8 lanes that work (so head_dim is 256 at most), and the grid is (rows_max, (n_heads +
// 2 n_kv_heads) / 4). Bytes: table: 8 a pair; rotation: 8 an element of q, 4 + KV element bytes one
// of k and v, and the row's cos_sin and the norms' weights from the cache; 3 flops an element, 5
// with norms: bound by memory. Arithmetic in float; a norm's squares: a lane's eight in order, then
// a tree over the warp. Tolerance: 1e-6 of the pair's length (with norms 3e-6) and KV's rounding.
// Source: Su et al., "RoFormer", 2021; norms of heads: Hugging Face's modeling_qwen3.py. CPU twin:
// CpuKernels::rms_norm, rope and store_kv. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPerThread = 8;

__global__ void __launch_bounds__(kThreads) rope_table_kernel(RopeTableParams params) {
  const int32_t half = params.head_dim / 2;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const auto row = static_cast<int32_t>(index / half);
  if (row >= params.step.counts->n_rows) return;
  const auto pair = static_cast<int32_t>(index % half);
  const float frequency = params.inv_freq[pair];
  const double angle =
      static_cast<double>(params.step.positions[row]) * static_cast<double>(frequency);
  const double amplitude = frequency == 0 ? 1 : static_cast<double>(params.amplitude);
  params.cos_sin[2 * index] = static_cast<float>(amplitude * cos(angle));
  params.cos_sin[2 * index + 1] = static_cast<float>(amplitude * sin(angle));
}

// Where a thread's eight elements lie in a head: two runs of four, `apart` apart.
struct Runs {
  int32_t first;
  int32_t apart;
};

template <bool interleaved>
__device__ __forceinline__ Runs runs_of(int32_t piece, int32_t head_dim) {
  if constexpr (interleaved) return {piece * kPerThread, 4};
  return {piece * 4, head_dim / 2};
}

template <bool interleaved>
__device__ __forceinline__ void rotate(float (&low)[4], float (&high)[4], const float* cos_sin) {
  float factors[8];  // of four pairs
  load_floats(cos_sin, factors);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // Interleaved pairs lie within a run, split halves across the two.
    float& x = interleaved ? (i < 2 ? low[2 * i] : high[2 * i - 4]) : low[i];
    float& y = interleaved ? (i < 2 ? low[2 * i + 1] : high[2 * i - 3]) : high[i];
    const float c = factors[2 * i];
    const float s = factors[2 * i + 1];
    const float rotated = x * c - y * s;
    y = x * s + y * c;
    x = rotated;
  }
}

// The KV slot of `row` in this layer for K (or V) of one head.
template <class T>
__device__ __forceinline__ T* kv_slot(const RopeStoreParams& params, int32_t row, bool is_value,
                                      int32_t head) {
  const KvMemory& kv = params.kv;
  const int32_t position = params.step.positions[row];
  const int64_t table =
      int64_t{params.step.sequence_of_row[row]} * params.step.counts->block_table_stride;
  const int64_t block = params.step.block_tables[table + position / kv.block_size];
  const int64_t tile = ((params.layer * kv.n_blocks + block) * 2 + (is_value ? 1 : 0));
  const int64_t slot = (tile * kv.n_kv_heads + head) * kv.block_size + position % kv.block_size;
  return static_cast<T*>(kv.base) + slot * kv.head_dim;
}

// Adds the bias of a head (q's, then k's, then v's) to this thread's runs of it.
__device__ __forceinline__ void add_bias(const RopeStoreParams& params, int32_t head,
                                         const Runs& runs, float (&low)[4], float (&high)[4]) {
  const int32_t kv_head = head - params.n_heads;
  const float* bias = params.q_bias + int64_t{head} * params.kv.head_dim;
  if (kv_head >= params.kv.n_kv_heads) {
    bias = params.v_bias + int64_t{kv_head - params.kv.n_kv_heads} * params.kv.head_dim;
  } else if (kv_head >= 0) {
    bias = params.k_bias + int64_t{kv_head} * params.kv.head_dim;
  }
  float low_bias[4];
  float high_bias[4];
  load_floats(bias + runs.first, low_bias);
  load_floats(bias + runs.first + runs.apart, high_bias);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    low[i] += low_bias[i];
    high[i] += high_bias[i];
  }
}

// RMS norm of the head that a warp has, of which this lane has two runs, or nothing.
__device__ __forceinline__ void norm_head(const RopeStoreParams& params, const float* weights,
                                          const Runs& runs, bool has_runs, float (&low)[4],
                                          float (&high)[4]) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) squares += low[i] * low[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) squares += high[i] * high[i];
  const float mean = warp_sum(squares) / static_cast<float>(params.kv.head_dim);
  if (!has_runs) return;
  const float factor = 1.0F / sqrtf(mean + params.eps);
  float low_weights[4];
  float high_weights[4];
  load_floats(weights + runs.first, low_weights);
  load_floats(weights + runs.first + runs.apart, high_weights);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    low[i] = low[i] * factor * low_weights[i];
    high[i] = high[i] * factor * high_weights[i];
  }
}

template <class T, bool interleaved, bool normed>
__global__ void __launch_bounds__(kThreads) rope_and_store_kernel(RopeStoreParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  const int32_t head_dim = params.kv.head_dim;
  const int32_t n_kv_heads = params.kv.n_kv_heads;
  const int32_t pieces = head_dim / kPerThread;
  const auto index = static_cast<int32_t>(blockIdx.y * kThreads + threadIdx.x);
  const int32_t head = index / (normed ? kWarpSize : pieces);  // q's, then k's, then v's
  const int32_t piece = index % (normed ? kWarpSize : pieces);
  if (row >= params.step.counts->n_rows || head >= params.n_heads + 2 * n_kv_heads) return;

  float* at = params.qkv + (int64_t{row} * (params.n_heads + 2 * n_kv_heads) + head) * head_dim;
  const Runs runs = runs_of<interleaved>(piece, head_dim);
  const bool has_runs = !normed || piece < pieces;
  float low[4] = {};
  float high[4] = {};
  if (has_runs) {
    load_floats(at + runs.first, low);
    load_floats(at + runs.first + runs.apart, high);
    if (params.q_bias != nullptr) add_bias(params, head, runs, low, high);
  }
  const bool is_value = head >= params.n_heads + n_kv_heads;
  if constexpr (normed) {
    const float* weights = head < params.n_heads ? params.q_norm : params.k_norm;
    if (!is_value) norm_head(params, weights, runs, has_runs, low, high);
    if (!has_runs) return;
  }
  if (!is_value && params.cos_sin != nullptr) {
    const float* cos_sin = params.cos_sin + int64_t{row} * head_dim + piece * kPerThread;
    rotate<interleaved>(low, high, cos_sin);
  }
  if (head < params.n_heads) {
    if (params.query_beta != 0) {
      const int32_t turns = params.step.positions[row] / params.query_period;
      const float factor = 1.0F + params.query_beta * logf(static_cast<float>(1 + turns));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        low[i] *= factor;
        high[i] *= factor;
      }
    }
    store_floats(at + runs.first, low);
    store_floats(at + runs.first + runs.apart, high);
    return;
  }
  const int32_t kv_head = head - params.n_heads - (is_value ? n_kv_heads : 0);
  T* slot = kv_slot<T>(params, row, is_value, kv_head);
  store_floats(slot + runs.first, low);
  store_floats(slot + runs.first + runs.apart, high);
}

}  // namespace

cudaError_t launch_rope_table(const RopeTableParams& params, cudaStream_t stream) {
  if (params.step.rows_max < 0 || params.head_dim <= 0 || params.head_dim % kPerThread != 0) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(blocks_for(int64_t{params.step.rows_max} * (params.head_dim / 2), kThreads));
  return launch({grid, kThreads, 0, stream}, rope_table_kernel, params);
}

cudaError_t launch_rope_and_store(const RopeStoreParams& params, cudaStream_t stream) {
  const KvMemory& kv = params.kv;
  const bool normed = params.q_norm != nullptr;
  if (params.step.rows_max < 0 || params.n_heads <= 0 || kv.n_kv_heads <= 0 || kv.head_dim <= 0 ||
      kv.head_dim % kPerThread != 0 || kv.block_size <= 0 || params.layer < 0 ||
      params.layer >= kv.n_layers || !is_aligned(kv.base) || !is_aligned(params.cos_sin) ||
      !is_aligned(params.qkv) || !is_aligned(params.q_norm) || !is_aligned(params.k_norm) ||
      !is_aligned(params.q_bias) || !is_aligned(params.k_bias) || !is_aligned(params.v_bias) ||
      (params.q_bias != nullptr) != (params.k_bias != nullptr) ||
      (params.q_bias != nullptr) != (params.v_bias != nullptr) ||
      (params.query_beta != 0 && params.query_period < 1) || normed != (params.k_norm != nullptr) ||
      (normed && kv.head_dim > kWarpSize * kPerThread)) {
    return cudaErrorInvalidValue;
  }
  const int32_t threads_of_head = normed ? kWarpSize : kv.head_dim / kPerThread;
  const int32_t threads = (params.n_heads + 2 * kv.n_kv_heads) * threads_of_head;
  const dim3 grid(static_cast<unsigned>(params.step.rows_max), blocks_for(threads, kThreads));
  const LaunchShape shape = {grid, kThreads, 0, stream};
  return with_element(kv.element, [&](auto element) {
    using T = decltype(element);
    if (normed) {
      return launch(shape,
                    params.interleaved ? rope_and_store_kernel<T, true, true>
                                       : rope_and_store_kernel<T, false, true>,
                    params);
    }
    return launch(shape,
                  params.interleaved ? rope_and_store_kernel<T, true, false>
                                     : rope_and_store_kernel<T, false, false>,
                  params);
  });
}

}  // namespace parkd::cuda
