// logprob[i] = logits[i][tokens[i]] - log sum e^logits[i], and the `top` best of each row.
//
// Shapes: logits (n_rows, vocab) float as the model gave them, tokens (n_rows), -1 for a row that
// could not be sampled (its logprob is 0, it has no best ones); top_tokens and top_logprobs
// (n_rows, top), best first, lowest id first among equals, -1 and 0 where fewer are possible.
// Launch: one block of 512 threads a row; only for steps in which a request asked. Bytes: 4 a logit
// and pass: one for the maximum, one for the sum, up to 6 of the radix selection; about 10 flops a
// logit. Arithmetic: e^(x - max) in float, 16 of a thread's at a time summed in float, the rest in
// double. Tolerance: 2e-6 and a float's rounding; the ids are exact. CPU twin: Sampler::report
// (lib/model/sampler.cc). Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_keys.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kSummedInFloat = 16;
constexpr int32_t kTopMax = 20;

struct LogprobMemory {
  SelectMemory select;
  uint32_t warp_words[kWarps];
  double warp_sums[kWarps];
  uint64_t best[kTopMax];  // ranked(), in any order
  int32_t n_best;
};

__device__ __forceinline__ uint32_t greatest_key(const float* logits, int32_t vocab,
                                                 LogprobMemory& shared) {
  uint32_t greatest = 0;
  for (auto id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kThreads) {
    const uint32_t key = key_of_logit(logits[id]);
    greatest = key > greatest ? key : greatest;
  }
  return block_max<kThreads>(greatest, shared.warp_words);
}

// log sum e^x over the row, in every thread.
__device__ __forceinline__ double log_sum_of(const float* logits, int32_t vocab, float max,
                                             LogprobMemory& shared) {
  double sum = 0;
  for (auto first = static_cast<int32_t>(threadIdx.x); first < vocab;
       first += kThreads * kSummedInFloat) {
    float some = 0;
#pragma unroll
    for (int i = 0; i < kSummedInFloat; ++i) {
      const int32_t id = first + i * kThreads;
      if (id < vocab) some += expf(logits[id] - max);
    }
    sum += static_cast<double>(some);
  }
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(kFullWarp, sum, offset);
  }
  if (threadIdx.x % kWarpSize == 0) shared.warp_sums[threadIdx.x / kWarpSize] = sum;
  __syncthreads();
  sum = 0;
  for (int i = 0; i < kWarps; ++i) sum += shared.warp_sums[i];
  return log(sum) + static_cast<double>(max);
}

// The `top` best into shared.best; tokens of logit -inf are none.
__device__ __forceinline__ void find_best(const float* logits, int32_t vocab, int32_t top,
                                          LogprobMemory& shared) {
  const auto for_each = [&](const auto& take) {
    for (auto id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kThreads) {
      const uint32_t key = key_of_logit(logits[id]);
      if (key > kKeyOfMinusInfinity) take(ranked(key, id), uint64_t{1});
    }
  };
  const auto target = [top](uint64_t) { return static_cast<uint64_t>(top); };
  if (threadIdx.x == 0) shared.n_best = 0;
  const uint64_t least = select_greatest<kThreads>(
      for_each, target, [](uint64_t) {}, shared.select);
  for_each([&](uint64_t key, uint64_t) {
    if (key >= least) shared.best[atomicAdd(&shared.n_best, 1)] = key;
  });
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) logprobs_kernel(LogprobParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= *params.n_rows) return;
  PARKD_SHARED(LogprobMemory, memory, [1]);
  LogprobMemory& shared = memory[0];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int64_t first_top = int64_t{row} * params.top;
  if (thread < params.top) {
    params.top_tokens[first_top + thread] = -1;
    params.top_logprobs[first_top + thread] = 0;
  }
  const int32_t token = params.tokens[row];
  if (token < 0) {
    if (thread == 0) params.logprob[row] = 0;
    return;
  }
  const float* logits = params.logits + int64_t{row} * params.vocab;
  const float max = logit_of_key(greatest_key(logits, params.vocab, shared));
  const double log_sum = log_sum_of(logits, params.vocab, max, shared);
  if (thread == 0) {
    params.logprob[row] = static_cast<float>(static_cast<double>(logits[token]) - log_sum);
  }
  if (params.top == 0) return;
  find_best(logits, params.vocab, params.top, shared);
  if (thread >= shared.n_best) return;
  const uint64_t mine = shared.best[thread];
  int32_t rank = 0;
  for (int32_t i = 0; i < shared.n_best; ++i) rank += shared.best[i] > mine ? 1 : 0;
  const auto id = static_cast<int32_t>(~static_cast<uint32_t>(mine));
  params.top_tokens[first_top + rank] = id;
  params.top_logprobs[first_top + rank] =
      static_cast<float>(static_cast<double>(logits[id]) - log_sum);
}

}  // namespace

cudaError_t launch_logprobs(const LogprobParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.vocab <= 0 || params.top < 0 || params.top > kTopMax) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.rows_max));
  return launch({grid, kThreads, 0, stream}, logprobs_kernel, params);
}

}  // namespace parkd::cuda
