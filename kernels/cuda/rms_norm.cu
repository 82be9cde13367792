// out = in / sqrt(mean(in^2) + eps) * weight; or out += the same, in float.
//
// Shapes: in (n_rows, columns) float, weight (columns) float, out (n_rows, columns) of `element`;
// columns a multiple of 4. Launch: one block of 256 threads a row, 16 bytes a load; the second pass
// finds the row in the L1 cache. Bytes: 4 + element bytes an element, where it adds 12; 4 flops:
// bound by memory. Sums in float: a thread's elements in order, then trees over the warp and the
// block. Tolerance: relative 2e-6 and the output's rounding. Source: Zhang and Sennrich, "Root mean
// square layer normalization", 2019. CPU twins: CpuKernels::rms_norm, rms_norm_add. Never run on a
// GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 256;

// The sum over the block, in every thread.
__device__ __forceinline__ float block_sum(float value) {
  PARKD_SHARED(float, warp_sums, [kThreads / kWarpSize]);
  value = warp_sum(value);
  if (threadIdx.x % kWarpSize == 0) warp_sums[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kThreads / kWarpSize; ++i) sum += warp_sums[i];
  return sum;
}

template <class Out, bool adds>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= *params.n_rows) return;
  const int64_t first = int64_t{row} * params.columns;
  const auto start = static_cast<int32_t>(threadIdx.x * 4);
  float squares = 0;
  for (int32_t column = start; column < params.columns; column += kThreads * 4) {
    float x[4];
    load_floats(params.in + first + column, x);
#pragma unroll
    for (int i = 0; i < 4; ++i) squares += x[i] * x[i];
  }
  const float mean = block_sum(squares) / static_cast<float>(params.columns);
  const float factor = 1.0F / sqrtf(mean + params.eps);
  for (int32_t column = start; column < params.columns; column += kThreads * 4) {
    float x[4];
    float weight[4];
    Out* out = static_cast<Out*>(params.out) + first + column;
    load_floats(params.in + first + column, x);
    load_floats(params.weight + column, weight);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = x[i] * factor * weight[i];
    if constexpr (adds) {
      float sum[4];
      load_floats(out, sum);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] += sum[i];
    }
    store_floats(out, x);
  }
}

}  // namespace

cudaError_t launch_rms_norm(const RmsNormParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.columns <= 0 || params.columns % 4 != 0 ||
      !is_aligned(params.in) || !is_aligned(params.weight) || !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  if (params.adds && (params.element != Element::f32 || params.out == params.in)) {
    return cudaErrorInvalidValue;
  }
  const LaunchShape shape = {dim3(static_cast<unsigned>(params.rows_max)), kThreads, 0, stream};
  if (params.adds) return launch(shape, rms_norm_kernel<float, true>, params);
  return with_element(params.element, [&](auto element) {
    return launch(shape, rms_norm_kernel<decltype(element), false>, params);
  });
}

}  // namespace parkd::cuda
