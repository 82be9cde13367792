#include "tests/cuda_emulator/plain_kernels.h"

#include <mma.h>

#include "cuda_emulator/tensor_core.h"
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

__global__ void __launch_bounds__(kThreads)
    strided_copy_kernel(const float* in, float* out, int32_t n, int32_t stride) {
  const auto i = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = in[i * stride];
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

__global__ void __launch_bounds__(32)
    wmma_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, float* out) {
  namespace wmma = nvcuda::wmma;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
  wmma::fill_fragment(sums, 0.0F);
  wmma::load_matrix_sync(left, a, 16);
  wmma::load_matrix_sync(right, b, 16);
  wmma::mma_sync(sums, left, right, sums);
  wmma::store_matrix_sync(out, sums, 16, wmma::mem_row_major);
}

// The addresses are those of the PTX ISA's example for ldmatrix: x4 gives A's four quadrants in the
// order of mma's registers; B^T's rows are B's columns, so they need no transposition.
__global__ void __launch_bounds__(32)
    mma_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, float* out) {
  const auto lane = static_cast<int>(threadIdx.x);
  uint32_t left[4];
  uint32_t right[4];
  cuda_emulator::ldmatrix<4, false>(left, a + lane % 16 * 16 + lane / 16 * 8);
  cuda_emulator::ldmatrix<4, false>(right, b + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
  for (int half = 0; half < 2; ++half) {
    float sums[4] = {};
    const uint32_t columns[2] = {right[2 * half], right[2 * half + 1]};
    cuda_emulator::mma_m16n8k16_bf16(sums, left, columns);
    for (int e = 0; e < 4; ++e) {
      out[(lane / 4 + e / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + e % 2] = sums[e];
    }
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

cudaError_t launch_strided_copy(const float* in, float* out, int32_t n, int32_t stride,
                                cudaStream_t stream) {
  const auto shape = config(n, stream);
  return cudaLaunchKernelEx(&shape, strided_copy_kernel, in, out, n, stride);
}

cudaError_t launch_sum(const float* in, float* out, int32_t n, cudaStream_t stream) {
  const auto shape = config(1, stream);
  return cudaLaunchKernelEx(&shape, sum_kernel, in, out, n);
}

cudaError_t launch_histogram(const uint8_t* in, int32_t* counts, int32_t n, cudaStream_t stream) {
  const auto shape = config(n, stream);
  return cudaLaunchKernelEx(&shape, histogram_kernel, in, counts, n);
}

cudaError_t launch_tile_product(bool with_wmma, const __nv_bfloat16* a, const __nv_bfloat16* b,
                                float* out, cudaStream_t stream) {
  auto shape = config(1, stream);
  shape.blockDim = dim3(32);
  return cudaLaunchKernelEx(&shape, with_wmma ? wmma_kernel : mma_kernel, a, b, out);
}

}  // namespace parkd::testing
