// logprob[i] = logits[i][tokens[i]] - log sum e^logits[i], and the `top` best of each row.
//
// Shapes: logits (n_rows, vocab) float as the model gave them, tokens (n_rows), -1 for a row that
// could not be sampled (its logprob is 0, it has no best ones); top_tokens and top_logprobs
// (n_rows, top), best first, lowest id first among equals, -1 and 0 where fewer are possible.
// Launch: one block of 512 threads a row; only for steps in which a request asked. Bytes: 4 a logit
// and pass, two of them: one for the maximum, one for the sum; about 10 flops a logit. The first
// pass leaves the greatest of each of 32 groups of ids, so that the top-th greatest of these is not
// above the top-th best, and the second one lists what is not below: some 40 tokens of a row in any
// usual order. Where they are more than the list holds (equal logits), a radix selection over the
// row finds the best, up to 8 passes. Arithmetic: e^(x - max) in float, 16 of a thread's at a time
// summed in float, the rest in double. Tolerance: 2e-6 and a float's rounding; the ids are exact.
// CPU twin: Sampler::report (lib/model/sampler.cc). Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_keys.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kSummedInFloat = 16;
constexpr int32_t kTopMax = 20;
constexpr int32_t kListed = kThreads;  // a thread each ranks one
static_assert(kTopMax <= kWarpSize);

struct LogprobMemory {
  SelectMemory select;
  uint32_t greatest[kThreads];  // keys, of each thread's logits
  uint32_t least_key;           // of what is listed
  double warp_sums[kWarps];
  uint64_t listed[kListed];  // ranked(), in any order; the first so many there are
  int32_t n_listed;          // how many there would be
};

// The row's greatest key, in every thread; and shared.least_key, which `top` of its tokens reach.
__device__ __forceinline__ uint32_t greatest_key(const float* logits, int32_t vocab, int32_t top,
                                                 LogprobMemory& shared) {
  uint32_t greatest = 0;
  for (auto id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kThreads) {
    const uint32_t key = key_of_logit(logits[id]);
    greatest = key > greatest ? key : greatest;
  }
  shared.greatest[threadIdx.x] = greatest;
  __syncthreads();
  // Each warp by itself: a lane has a group, every 32nd thread's ids.
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  uint32_t of_group = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    const uint32_t other = shared.greatest[i * kWarpSize + lane];
    of_group = other > of_group ? other : of_group;
  }
  // The group that fewer than `top` are greater than, of equal ones the last.
  int32_t n_greater = 0;
#pragma unroll
  for (int i = 0; i < kWarpSize; ++i) {
    const uint32_t other = __shfl_sync(kFullWarp, of_group, i);
    n_greater += other > of_group || (other == of_group && i < lane) ? 1 : 0;
  }
  if (threadIdx.x < kWarpSize && n_greater == top - 1) {
    shared.least_key = of_group > kKeyOfMinusInfinity ? of_group : kKeyOfMinusInfinity + 1;
  }
  if (threadIdx.x == 0) shared.n_listed = 0;
  __syncthreads();
  return __reduce_max_sync(kFullWarp, of_group);
}

// Of a thread's kSummedInFloat logits those that are not below `least`.
__device__ __forceinline__ void list_some(const float* logits, int32_t vocab, int32_t first,
                                          float least, LogprobMemory& shared) {
#pragma unroll 1
  for (int32_t id = first; id < vocab && id < first + kSummedInFloat * kThreads; id += kThreads) {
    if (logits[id] < least) continue;
    const int32_t at = atomicAdd(&shared.n_listed, 1);
    if (at < kListed) shared.listed[at] = ranked(key_of_logit(logits[id]), id);
  }
}

// log sum e^x over the row, in every thread; lists what reaches shared.least_key where `top` asks
// for some.
__device__ __forceinline__ double log_sum_of(const float* logits, int32_t vocab, float max,
                                             int32_t top, LogprobMemory& shared) {
  // There is no +inf in a row that has a token.
  const float least = top > 0 ? logit_of_key(shared.least_key) : INFINITY;
  double sum = 0;
  for (auto first = static_cast<int32_t>(threadIdx.x); first < vocab;
       first += kThreads * kSummedInFloat) {
    float some = 0;
    bool reached = false;
#pragma unroll
    for (int i = 0; i < kSummedInFloat; ++i) {
      const int32_t id = first + i * kThreads;
      if (id < vocab) {
        const float logit = logits[id];
        some += expf(logit - max);
        reached |= logit >= least;
      }
    }
    sum += static_cast<double>(some);
    if (reached) list_some(logits, vocab, first, least, shared);
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

// The `top` best into shared.listed by a selection over the whole row; tokens of logit -inf are
// none.
__device__ __forceinline__ void select_best(const float* logits, int32_t vocab, int32_t top,
                                            LogprobMemory& shared) {
  const auto for_each = [&](const auto& take) {
    for (int32_t first = 0; first < vocab; first += kThreads) {
      const int32_t id = first + static_cast<int32_t>(threadIdx.x);
      const uint32_t key = id < vocab ? key_of_logit(logits[id]) : 0;
      take(ranked(key, id), key > kKeyOfMinusInfinity ? 1U : 0U);
    }
  };
  const auto target = [top](uint64_t) { return static_cast<uint64_t>(top); };
  const uint64_t least = select_greatest<kThreads>(
      for_each, target, [](uint64_t) {}, shared.select);
  if (threadIdx.x == 0) shared.n_listed = 0;
  __syncthreads();
  for_each([&](uint64_t key, uint32_t mass) {
    if (mass != 0 && key >= least) shared.listed[atomicAdd(&shared.n_listed, 1)] = key;
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
  const float max = logit_of_key(greatest_key(logits, params.vocab, params.top, shared));
  const double log_sum = log_sum_of(logits, params.vocab, max, params.top, shared);
  if (thread == 0) {
    params.logprob[row] = static_cast<float>(static_cast<double>(logits[token]) - log_sum);
  }
  if (params.top == 0) return;
  if (shared.n_listed > kListed) select_best(logits, params.vocab, params.top, shared);
  const int32_t n_listed = shared.n_listed;
  if (thread >= n_listed) return;
  const uint64_t mine = shared.listed[thread];
  int32_t rank = 0;
  for (int32_t i = 0; i < n_listed; ++i) rank += shared.listed[i] > mine ? 1 : 0;
  if (rank >= params.top) return;
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
