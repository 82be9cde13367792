// One token from each row of logits, by the algorithm of lib/model/sampler.h and with its bits:
// integer weights 2^30 * e^((x - max) / temperature), top_k by logits, min_p and top_p by weights,
// lowest ids first among equals, and the first kept id whose running sum passes noise * total.
//
// Shapes: logits (n_rows, vocab) float, any vocab; rows (n_rows). Two kernels. Scan: grid
// (rows_max, vocab / 4096), 256 threads, a warp a block of 64 logits: the greatest of each block
// into the workspace, or a mark when the row holds NaN or +inf. Choose: one block of 1024 threads a
// row. Greedy rows look at the blocks' maxima and one block of logits. The others read the row once
// for the sums by block of 64, and before that for each filter in use: a radix selection (8 bits at
// a time, up to 8 times; it stops when a bucket is needed whole) finds the last token kept. Blocks
// whose maximum shows that nothing in them counts are not read: those below the k-th greatest
// maximum, those whose weights are 0 (a logit 20.8 temperatures below the best), too light for
// min_p, or lighter than what the digits found so far allow. Bytes: 4 a logit and pass, from L2
// after the first; about 20 operations a weight.
// Arithmetic: floats multiplied and added one by one, never fused (__fmul_rn, __fadd_rn), sums in
// integers, so that no order matters. Tolerance: none, the CPU's bits. Source: Philox as in
// kernels/common/counter_rng.h. CPU twin: lib/model/sampler.cc. Never run on a GPU.
#include "kernels/common/counter_rng.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_keys.h"

namespace parkd::cuda {
namespace {

constexpr int kScanThreads = 256;
constexpr int kScanBlock = 64;           // logits
constexpr int kBlocksPerScanBlock = 64;  // of a thread block
constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpSize;
constexpr float kGreedyTemperature = 1e-5F;
constexpr float kOne = 1073741824.0F;  // 2^30, the weight of the best

// --- the CPU's arithmetic

// e^x as sampler.cc computes it.
__device__ __forceinline__ float weight_exponential(float x) {
  x = x > -25.0F ? x : -25.0F;
  const float magic = 12582912.0F;
  const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504F), magic);
  const float k = __fsub_rn(shifted, magic);
  const float r =
      __fsub_rn(__fsub_rn(x, __fmul_rn(k, 0.693359375F)), __fmul_rn(k, -2.12194440e-4F));
  float p = 1.0F / 720;
  p = __fadd_rn(__fmul_rn(p, r), 1.0F / 120);
  p = __fadd_rn(__fmul_rn(p, r), 1.0F / 24);
  p = __fadd_rn(__fmul_rn(p, r), 1.0F / 6);
  p = __fadd_rn(__fmul_rn(p, r), 0.5F);
  p = __fadd_rn(__fmul_rn(p, r), 1.0F);
  p = __fadd_rn(__fmul_rn(p, r), 1.0F);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

__device__ __forceinline__ uint32_t weight_of(float logit, float max, float inverse_temperature) {
  const float x = __fmul_rn(__fsub_rn(logit, max), inverse_temperature);
  return static_cast<uint32_t>(static_cast<int32_t>(__fmul_rn(weight_exponential(x), kOne)));
}

// (weight, id) in one integer: greater is heavier, the lowest id first among equals. The weight's
// length in bits (5 bits), its other bits from the top (30), and the id, so that a digit of 8 bits
// tells sizes apart.
__device__ __forceinline__ uint64_t ranked_weight(uint32_t weight, int32_t id) {
  const int32_t length = 32 - __clz(static_cast<int>(weight));
  const uint64_t mantissa = length == 0 ? 0 : (weight ^ 1U << (length - 1)) << (31 - length);
  return static_cast<uint64_t>(length) << 59 | mantissa << 29 |
         static_cast<uint64_t>((1 << 29) - 1 - id);
}

// The logarithm of the least weight whose ranked_weight is `ranked` or more, relative to the best,
// rounded down to a power of two.
__device__ __forceinline__ float log_of_least(uint64_t ranked) {
  const auto length = static_cast<int32_t>(ranked >> 59);
  return static_cast<float>(length - 31) * 0.69314718F;
}

// --- workspace: sums (rows_max, blocks), then keys of maxima (rows_max, blocks)

struct Workspace {
  uint64_t* sums;
  uint32_t* maxima;
  int32_t n_blocks;
};

__host__ __device__ inline int32_t scan_blocks(int32_t vocab) {
  return ceil_div(vocab, kScanBlock);
}

__device__ __forceinline__ Workspace workspace_of(const SamplingParams& params, int32_t row) {
  Workspace workspace;
  workspace.n_blocks = scan_blocks(params.vocab);
  workspace.sums = static_cast<uint64_t*>(params.workspace) + int64_t{row} * workspace.n_blocks;
  workspace.maxima = reinterpret_cast<uint32_t*>(static_cast<uint64_t*>(params.workspace) +
                                                 int64_t{params.rows_max} * workspace.n_blocks) +
                     int64_t{row} * workspace.n_blocks;
  return workspace;
}

__global__ void __launch_bounds__(kScanThreads) scan_logits_kernel(SamplingParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= *params.n_rows) return;
  const Workspace workspace = workspace_of(params, row);
  const float* logits = params.logits + int64_t{row} * params.vocab;
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  constexpr int kPerWarp = kBlocksPerScanBlock / (kScanThreads / kWarpSize);
  const auto warp =
      static_cast<int32_t>(blockIdx.y * (kScanThreads / kWarpSize) + threadIdx.x / kWarpSize);
#pragma unroll 4
  for (int32_t i = 0; i < kPerWarp; ++i) {
    const int32_t block = warp * kPerWarp + i;
    if (block >= workspace.n_blocks) return;
    const int32_t id = block * kScanBlock + lane;
    uint32_t key = 0;
    if (id < params.vocab) key = key_of_logit(logits[id]);
    if (id + kWarpSize < params.vocab) {
      const uint32_t other = key_of_logit(logits[id + kWarpSize]);
      key = other > key ? other : key;
    }
    key = __reduce_max_sync(kFullWarp, key);
    if (lane == 0) workspace.maxima[block] = key;
  }
}

// --- choosing

// A row being sampled, the same in every thread of the block.
struct Row {
  const float* logits;
  int32_t vocab;
  Workspace workspace;
  float max;
  float temperature;
  float inverse_temperature;
  uint32_t least_block;   // key: blocks whose maximum is below hold nothing that is kept
  uint64_t least_ranked;  // ranked(logit, id) of the last one that top_k keeps
  uint64_t least_heavy;   // ranked_weight of the last one that top_p keeps
  uint32_t least_weight;  // min_p

  __device__ __forceinline__ uint32_t weight(float logit) const {
    return weight_of(logit, max, inverse_temperature);
  }
  // The weight, or 0 for a token that a filter drops.
  __device__ __forceinline__ uint32_t kept_weight(int32_t id) const {
    const float logit = logits[id];
    if (ranked(key_of_logit(logit), id) < least_ranked) return 0;
    const uint32_t w = weight(logit);
    return w < least_weight || ranked_weight(w, id) < least_heavy ? 0 : w;
  }
  // From here on nothing counts that is lighter than e^log_weight of the best. The margins cover
  // all roundings on the way from a logit to its weight, many times over.
  __device__ __forceinline__ void drop_blocks_below(float log_weight) {
    const float bound = max + (log_weight - 0.1F) * temperature - fabsf(max) * 1e-6F;
    const uint32_t key = key_of_logit(bound);
    if (key != kKeyOfBad && key > least_block) least_block = key;
  }
};

struct ChooseMemory {
  SelectMemory select;
  uint32_t warp_words[kWarps];
  uint64_t warp_sums[kWarps];
  uint64_t left;  // in the block found
  int32_t block;
};

// Calls visit(block) for each of the row's blocks that may hold kept tokens, with a whole warp,
// then end_of(first block) after each run of 32 blocks. A warp looks at 32 maxima at once.
template <class Visit, class EndOf>
__device__ __forceinline__ void for_each_block(const Row& row, const Visit& visit,
                                               const EndOf& end_of) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  const uint32_t least_block = row.least_block;
  for (auto first = static_cast<int32_t>(threadIdx.x / kWarpSize * kWarpSize);
       first < row.workspace.n_blocks; first += kThreads) {
    const int32_t mine = first + lane;
    const bool counts = mine < row.workspace.n_blocks && row.workspace.maxima[mine] >= least_block;
    unsigned left = __ballot_sync(kFullWarp, counts ? 1 : 0);
    for (; left != 0; left &= left - 1) visit(first + __ffs(static_cast<int>(left)) - 1);
    end_of(first);
  }
}

// Calls take(id) for this thread's ids of those blocks, with whole warps: ids beyond the row's too.
template <class Take>
__device__ __forceinline__ void for_each_id(const Row& row, const Take& take) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  for_each_block(
      row,
      [&](int32_t block) {
#pragma unroll
        for (int i = 0; i < kScanBlock; i += kWarpSize) {
          take(block * kScanBlock + i + lane);
        }
      },
      [](int32_t) {});
}

// The lowest id of the greatest logit.
__device__ __forceinline__ int32_t first_best(const Row& row, uint32_t max_key,
                                              ChooseMemory& shared) {
  uint32_t found = 0;  // ~block: the greatest is the lowest block
  for (auto block = static_cast<int32_t>(threadIdx.x); block < row.workspace.n_blocks;
       block += kThreads) {
    if (row.workspace.maxima[block] == max_key && found == 0) found = ~static_cast<uint32_t>(block);
  }
  const auto block = static_cast<int32_t>(~block_max<kThreads>(found, shared.warp_words));
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  int32_t best = -1;
#pragma unroll
  for (int i = kScanBlock - kWarpSize; i >= 0; i -= kWarpSize) {
    const int32_t id = block * kScanBlock + i + lane;
    const bool equal = id < row.vocab && key_of_logit(row.logits[id]) == max_key;
    const unsigned lanes = __ballot_sync(kFullWarp, equal ? 1 : 0);
    if (lanes != 0) best = block * kScanBlock + i + __ffs(static_cast<int>(lanes)) - 1;
  }
  return best;
}

__device__ __forceinline__ void keep_top_k(Row& row, int32_t top_k, ChooseMemory& shared) {
  const auto k = static_cast<uint64_t>(top_k);
  const auto target = [k](uint64_t) { return k; };
  const auto narrow = [](uint64_t) {};
  // The k-th greatest block maximum is not above the k-th greatest logit.
  const uint64_t least_block = select_greatest<kThreads>(
      [&](const auto& take) {
        const int32_t n_blocks = row.workspace.n_blocks;
        for (int32_t first = 0; first < n_blocks; first += kThreads) {
          const int32_t block = first + static_cast<int32_t>(threadIdx.x);
          const bool is_one = block < n_blocks;
          take(is_one ? ranked(row.workspace.maxima[block], block) : 0, is_one ? 1U : 0U);
        }
      },
      target, narrow, shared.select);
  row.least_block = static_cast<uint32_t>(least_block >> 32);
  row.least_ranked = select_greatest<kThreads>(
      [&](const auto& take) {
        for_each_id(row, [&](int32_t id) {
          const uint32_t key = id < row.vocab ? key_of_logit(row.logits[id]) : 0;
          take(ranked(key, id), key > kKeyOfMinusInfinity ? 1U : 0U);
        });
      },
      target, narrow, shared.select);
}

__device__ __forceinline__ void keep_top_p(Row& row, float top_p, ChooseMemory& shared) {
  row.least_heavy = select_greatest<kThreads>(
      [&](const auto& take) {
        for_each_id(row, [&](int32_t id) {
          const uint32_t weight = id < row.vocab ? row.kept_weight(id) : 0;
          take(ranked_weight(weight, id), weight);
        });
      },
      [top_p](uint64_t total) {
        // Sums are below 2^53: as integers they reach it where as doubles they do.
        const double wanted = static_cast<double>(top_p) * static_cast<double>(total);
        return wanted <= 1 ? uint64_t{1} : static_cast<uint64_t>(ceil(wanted));
      },
      [&](uint64_t prefix) { row.drop_blocks_below(log_of_least(prefix)); }, shared.select);
}

// The kept weights of each block of 64 into the workspace.
__device__ __forceinline__ void sum_blocks(const Row& row) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  uint64_t mine = 0;  // of block first + lane
  for_each_block(
      row,
      [&](int32_t block) {
        uint32_t weight = 0;  // of two tokens, at most 2^31
#pragma unroll
        for (int i = 0; i < kScanBlock; i += kWarpSize) {
          const int32_t id = block * kScanBlock + i + lane;
          if (id < row.vocab) weight += row.kept_weight(id);
        }
        const uint64_t sum = warp_mass(weight);
        if (lane == block % kWarpSize) mine = sum;
      },
      [&](int32_t first) {
        if (first + lane < row.workspace.n_blocks) row.workspace.sums[first + lane] = mine;
        mine = 0;
      });
}

// Finds the block of 64 in which the running sum passes noise * total.
__device__ __forceinline__ void find_block(const Row& row, uint64_t noise, ChooseMemory& shared) {
  const int32_t per_thread = ceil_div(row.workspace.n_blocks, kThreads);
  const int32_t first = static_cast<int32_t>(threadIdx.x) * per_thread;
  const int32_t end = first + per_thread;
  const int32_t last = end < row.workspace.n_blocks ? end : row.workspace.n_blocks;
  uint64_t mine = 0;
  for (int32_t block = first; block < last; ++block) mine += row.workspace.sums[block];
  uint64_t sum = running_sum(mine);
  const auto warp = static_cast<int32_t>(threadIdx.x / kWarpSize);
  if (threadIdx.x % kWarpSize == kWarpSize - 1) shared.warp_sums[warp] = sum;
  __syncthreads();
  uint64_t total = 0;
  for (int32_t w = 0; w < kWarps; ++w) {
    if (w < warp) sum += shared.warp_sums[w];
    total += shared.warp_sums[w];
  }
  const uint64_t wanted = __umul64hi(noise, total);  // floor(noise * total / 2^64) < total
  if (wanted >= sum || wanted < sum - mine) return;
  uint64_t left = wanted - (sum - mine);
  int32_t block = first;
  while (left >= row.workspace.sums[block]) left -= row.workspace.sums[block++];
  shared.block = block;
  shared.left = left;
}

// The first id of the block found whose running sum passes what is left. For one warp.
__device__ __forceinline__ int32_t find_id(const Row& row, const ChooseMemory& shared) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  const int32_t id = shared.block * kScanBlock + 2 * lane;
  const uint32_t weight = id < row.vocab ? row.kept_weight(id) : 0;
  const uint32_t next = id + 1 < row.vocab ? row.kept_weight(id + 1) : 0;
  const uint64_t sum = running_sum(uint64_t{weight} + next);
  const unsigned passed = __ballot_sync(kFullWarp, sum > shared.left ? 1 : 0);
  const int32_t finder = __ffs(static_cast<int>(passed)) - 1;
  const int32_t chosen = sum - next > shared.left ? id : id + 1;
  return __shfl_sync(kFullWarp, chosen, finder);
}

__global__ void __launch_bounds__(kThreads) choose_tokens_kernel(SamplingParams params) {
  const auto row_index = static_cast<int32_t>(blockIdx.x);
  if (row_index >= *params.n_rows) return;
  PARKD_SHARED(ChooseMemory, memory, [1]);
  ChooseMemory& shared = memory[0];
  const SampleRowParams how = params.rows[row_index];
  Row row = {};
  row.logits = params.logits + int64_t{row_index} * params.vocab;
  row.vocab = params.vocab;
  row.workspace = workspace_of(params, row_index);

  uint32_t max_key = 0;
  for (auto block = static_cast<int32_t>(threadIdx.x); block < row.workspace.n_blocks;
       block += kThreads) {
    const uint32_t key = row.workspace.maxima[block];
    max_key = key > max_key ? key : max_key;
  }
  max_key = block_max<kThreads>(max_key, shared.warp_words);
  int32_t token = -1;
  if (max_key == kKeyOfBad || max_key <= kKeyOfMinusInfinity) {
    // A row that cannot be sampled.
  } else if (how.temperature < kGreedyTemperature || how.top_k == 1) {
    token = first_best(row, max_key, shared);
  } else {
    row.max = logit_of_key(max_key);
    row.temperature = how.temperature;
    row.inverse_temperature = 1.0F / how.temperature;
    if (how.top_k > 0) keep_top_k(row, how.top_k, shared);
    row.drop_blocks_below(-20.8F);  // weights of 0: 2^30 e^-20.8 < 1
    const float min_p = how.min_p < 0.0F ? 0.0F : how.min_p > 1.0F ? 1.0F : how.min_p;
    row.least_weight = static_cast<uint32_t>(static_cast<int32_t>(__fmul_rn(min_p, kOne)));
    if (min_p > 0) row.drop_blocks_below(logf(min_p));
    if (how.top_p < 1.0F) keep_top_p(row, how.top_p, shared);
    sum_blocks(row);
    __syncthreads();
    find_block(row, sampling_noise(how.seed, how.choice_index, how.position), shared);
    __syncthreads();
    if (threadIdx.x < kWarpSize) token = find_id(row, shared);
  }
  if (threadIdx.x == 0) params.tokens[row_index] = token;
}

}  // namespace

int64_t sampling_workspace_bytes(int32_t rows_max, int32_t vocab) {
  return int64_t{rows_max} * scan_blocks(vocab) *
         static_cast<int64_t>(sizeof(uint64_t) + sizeof(uint32_t));
}

cudaError_t launch_sampling(const SamplingParams& params, cudaStream_t stream) {
  // Ids have 29 bits in ranked_weight, and sums of weights must stay below 2^53.
  if (params.rows_max < 0 || params.vocab <= 0 || params.vocab >= 1 << 23 ||
      !is_aligned(params.workspace)) {
    return cudaErrorInvalidValue;
  }
  const auto rows = static_cast<unsigned>(params.rows_max);
  const dim3 grid(rows, blocks_for(scan_blocks(params.vocab), kBlocksPerScanBlock));
  const cudaError_t error = launch({grid, kScanThreads, 0, stream}, scan_logits_kernel, params);
  if (error != cudaSuccess) return error;
  return launch({dim3(rows), kThreads, 0, stream}, choose_tokens_kernel, params);
}

}  // namespace parkd::cuda
