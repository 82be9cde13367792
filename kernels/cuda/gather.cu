// out[i] = in[logit_rows[i]]: the rows whose logits are wanted, side by side for the last product.
//
// Shapes: in (n_rows, columns) float, out (n_logit_rows, columns) float; columns a multiple of 4.
// Launch: grid (logit_rows_max, columns / 4 / 128), 128 threads, 16 bytes a thread. Bytes: 8 an
// element, no arithmetic. Tolerance: none. CPU twin: CpuLane::gather_logit_rows. Never run on a
// GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) gather_rows_kernel(GatherRowsParams params) {
  const auto to_row = static_cast<int32_t>(blockIdx.x);
  const auto column = static_cast<int32_t>((blockIdx.y * kThreads + threadIdx.x) * 4);
  if (to_row >= params.step.counts->n_logit_rows || column >= params.columns) return;
  const int32_t from_row = params.step.logit_rows[to_row];
  float four[4];
  load_floats(params.in + int64_t{from_row} * params.columns + column, four);
  store_floats(params.out + int64_t{to_row} * params.columns + column, four);
}

}  // namespace

cudaError_t launch_gather_rows(const GatherRowsParams& params, cudaStream_t stream) {
  if (params.step.logit_rows_max < 0 || params.columns <= 0 || params.columns % 4 != 0 ||
      !is_aligned(params.in) || !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.step.logit_rows_max),
                  blocks_for(params.columns, 4 * kThreads));
  return launch({grid, kThreads, 0, stream}, gather_rows_kernel, params);
}

}  // namespace parkd::cuda
