#include "tests/cuda_emulator/plain_kernels.h"

#include "kernels/cuda/device.h"

namespace parkd::testing {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) fill_kernel(float* out, float value, int32_t n) {
  const auto i = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = value;
}

__global__ void __launch_bounds__(kThreads)
    add_kernel(const float* in, const float* addend, float* out, int32_t n) {
  const auto i = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = in[i] + addend[i];
}

__global__ void __launch_bounds__(kThreads) sum_kernel(const float* in, float* out, int32_t n) {
  PARKD_SHARED(float, warp_sums, [kThreads / 32]);
  float sum = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < n; i += kThreads) sum += in[i];
  sum = cuda::warp_sum(sum);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    out[0] = warp_sums[0] + warp_sums[1] + warp_sums[2] + warp_sums[3];
  }
}

__global__ void __launch_bounds__(kThreads)
    histogram_kernel(const uint8_t* in, int32_t* counts, int32_t n) {
  PARKD_SHARED(int32_t, mine, [256]);
  for (unsigned i = threadIdx.x; i < 256; i += kThreads) mine[i] = 0;
  __syncthreads();
  const auto first = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (first < n) atomicAdd(&mine[in[first]], 1);
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 256; i += kThreads) {
    if (mine[i] != 0) atomicAdd(&counts[i], mine[i]);
  }
}

cudaLaunchConfig_t config(int32_t n, cudaStream_t stream) {
  cudaLaunchConfig_t result = {};
  result.gridDim = dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads));
  result.blockDim = dim3(kThreads);
  result.stream = stream;
  return result;
}

}  // namespace

cudaError_t launch_fill(float* out, float value, int32_t n, cudaStream_t stream) {
  const auto shape = config(n, stream);
  return cudaLaunchKernelEx(&shape, fill_kernel, out, value, n);
}

cudaError_t launch_add(const float* in, const float* addend, float* out, int32_t n,
                       cudaStream_t stream) {
  const auto shape = config(n, stream);
  return cudaLaunchKernelEx(&shape, add_kernel, in, addend, out, n);
}

cudaError_t launch_sum(const float* in, float* out, int32_t n, cudaStream_t stream) {
  const auto shape = config(1, stream);
  return cudaLaunchKernelEx(&shape, sum_kernel, in, out, n);
}

cudaError_t launch_histogram(const uint8_t* in, int32_t* counts, int32_t n, cudaStream_t stream) {
  const auto shape = config(n, stream);
  return cudaLaunchKernelEx(&shape, histogram_kernel, in, counts, n);
}

}  // namespace parkd::testing
