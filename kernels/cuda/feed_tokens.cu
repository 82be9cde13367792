// tokens[row] = sampled[-1 - tokens[row]] where tokens[row] is negative: what the last step chose,
// before the host has seen it. A sampled -1 becomes token 0.
//
// Shapes: tokens (n_rows), sampled (the last step's n_logit_rows). Launch: one thread a row, blocks
// of 128. Bytes: 12 a row at most. Tolerance: none, integers. CPU twin: none, the CPU's lanes do
// not run ahead. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) feed_tokens_kernel(FeedTokensParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (row >= params.step.counts->n_rows) return;
  const int32_t token = params.step.tokens[row];
  if (token >= 0) return;
  const int32_t chosen = params.sampled[-1 - token];
  params.step.tokens[row] = chosen < 0 ? 0 : chosen;
}

}  // namespace

cudaError_t launch_feed_tokens(const FeedTokensParams& params, cudaStream_t stream) {
  if (params.step.rows_max < 0) return cudaErrorInvalidValue;
  const dim3 grid(blocks_for(params.step.rows_max, kThreads));
  return launch({grid, kThreads, 0, stream}, feed_tokens_kernel, params);
}

}  // namespace parkd::cuda
