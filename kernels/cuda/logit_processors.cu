// Penalties and biases on rows of logits, in place, before sampling. For each token that a row
// counts: logits above 0 are divided by repetition_penalty and others multiplied by it; then the
// token loses frequency_penalty * in_output + presence_penalty if it is in the output. Then biases
// are added.
//
// Shapes: logits (n_rows, vocab) float, rows (n_rows), token_counts and biases of all rows one
// after another; within a row a token stands once among the counts and once among the biases.
// Launch: one block of 128 threads a row. Bytes: 16 a counted token (a read and a write of 4 at
// random places), 16 a bias. Arithmetic: each product, quotient and sum rounded by itself.
// Tolerance: none. Source: Keskar et al., "CTRL", 2019 (repetition), OpenAI's API reference
// (presence, frequency, bias); the order is vLLM's. CPU twin: none yet, the CPU's sampler has no
// penalties. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ float penalised(float logit, const LogitProcessorRow& row,
                                           int32_t in_output) {
  logit = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty)
                    : __fmul_rn(logit, row.repetition_penalty);
  if (in_output <= 0) return logit;
  const float frequency = __fmul_rn(row.frequency_penalty, static_cast<float>(in_output));
  return __fsub_rn(__fsub_rn(logit, frequency), row.presence_penalty);
}

__global__ void __launch_bounds__(kThreads) logit_processors_kernel(LogitProcessorParams params) {
  const auto row_index = static_cast<int32_t>(blockIdx.x);
  if (row_index >= *params.n_rows) return;
  const LogitProcessorRow row = params.rows[row_index];
  float* logits = params.logits + int64_t{row_index} * params.vocab;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.n_counts; i += kThreads) {
    const TokenCount count = params.token_counts[row.first_count + i];
    logits[count.token] = penalised(logits[count.token], row, count.in_output);
  }
  __syncthreads();  // a token may have both a count and a bias
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.n_biases; i += kThreads) {
    const TokenBias bias = params.biases[row.first_bias + i];
    logits[bias.token] = __fadd_rn(logits[bias.token], bias.bias);
  }
}

}  // namespace

cudaError_t launch_logit_processors(const LogitProcessorParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.vocab <= 0) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(params.rows_max));
  return launch({grid, kThreads, 0, stream}, logit_processors_kernel, params);
}

}  // namespace parkd::cuda
