// out = x / sqrt(mean(x^2) + eps) * weight, with x = in, or x = in + addend, which is then written
// back to in; or sum += the former.
//
// Shapes: in, addend (n_rows, columns) float, weight (columns) float, out (n_rows, columns) of
// `element`, sum (n_rows, columns) float; columns a multiple of 4. Launch: one block of 256 threads
// a row, 16 bytes a load; the second pass finds the row in the L1 cache. Bytes: 4 + element bytes
// an element, with an addend 8 more, to a sum 12; 4 flops: bound by memory. Sums in float: a
// thread's elements in order, then trees over the warp and the block. Tolerance: relative 2e-6 and
// the output's rounding. Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
// CPU twins: CpuKernels::rms_norm, rms_norm_add. Never run on a GPU.
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

__device__ __forceinline__ float rms_factor(float squares, int32_t columns, float eps) {
  const float mean = block_sum(squares) / static_cast<float>(columns);
  return 1.0F / sqrtf(mean + eps);
}

template <class Out, bool has_addend>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= *params.n_rows) return;
  const int64_t first = int64_t{row} * params.columns;
  const auto start = static_cast<int32_t>(threadIdx.x * 4);
  float squares = 0;
  for (int32_t column = start; column < params.columns; column += kThreads * 4) {
    float x[4];
    load_floats(params.in + first + column, x);
    if constexpr (has_addend) {
      float addend[4];
      load_floats(params.addend + first + column, addend);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] += addend[i];
      store_floats(params.in + first + column, x);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) squares += x[i] * x[i];
  }
  const float factor = rms_factor(squares, params.columns, params.eps);
  for (int32_t column = start; column < params.columns; column += kThreads * 4) {
    float x[4];
    float weight[4];
    load_floats(params.in + first + column, x);  // with an addend, what this thread wrote
    load_floats(params.weight + column, weight);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = x[i] * factor * weight[i];
    store_floats(static_cast<Out*>(params.out) + first + column, x);
  }
}

__global__ void __launch_bounds__(kThreads) rms_norm_add_kernel(RmsNormAddParams params) {
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
  const float factor = rms_factor(squares, params.columns, params.eps);
  for (int32_t column = start; column < params.columns; column += kThreads * 4) {
    float x[4];
    float weight[4];
    float sum[4];
    load_floats(params.in + first + column, x);
    load_floats(params.weight + column, weight);
    load_floats(params.sum + first + column, sum);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += x[i] * factor * weight[i];
    store_floats(params.sum + first + column, sum);
  }
}

}  // namespace

cudaError_t launch_rms_norm_add(const RmsNormAddParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.columns <= 0 || params.columns % 4 != 0 ||
      !is_aligned(params.in) || !is_aligned(params.weight) || !is_aligned(params.sum)) {
    return cudaErrorInvalidValue;
  }
  return launch({dim3(static_cast<unsigned>(params.rows_max)), kThreads, 0, stream},
                rms_norm_add_kernel, params);
}

cudaError_t launch_rms_norm(const RmsNormParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.columns <= 0 || params.columns % 4 != 0 ||
      !is_aligned(params.in) || !is_aligned(params.addend) || !is_aligned(params.weight) ||
      !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  const LaunchShape shape = {dim3(static_cast<unsigned>(params.rows_max)), kThreads, 0, stream};
  return with_element(params.element, [&](auto element) {
    using Out = decltype(element);
    return launch(
        shape, params.addend == nullptr ? rms_norm_kernel<Out, false> : rms_norm_kernel<Out, true>,
        params);
  });
}

}  // namespace parkd::cuda
