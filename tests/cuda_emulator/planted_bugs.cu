#include "tests/cuda_emulator/planted_bugs.h"

#include "kernels/cuda/device.h"

namespace parkd::testing {
namespace {

constexpr int kWarps = kPlantThreads / 32;

__global__ void __launch_bounds__(kPlantThreads)
    square_sum_kernel(Plant plant, const float* in, float* out) {
  PARKD_SHARED(float, sums, [kWarps]);
  const unsigned i = threadIdx.x;
  const unsigned warp = i / 32;
  const float value = plant == Plant::global_index_beyond_end ? in[i + 4] : in[i];
  const float sum = cuda::warp_sum(value * value);
  if (i % 32 == 0) sums[plant == Plant::shared_index_beyond_array ? warp + 1 : warp] = sum;
  if (plant == Plant::thread_ends_before_barrier && i == 5) return;
  if (plant == Plant::barrier_at_two_places) {
    if (warp == 0) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  } else if (plant == Plant::barrier_in_a_branch) {
    if (warp < 2) __syncthreads();
  } else if (plant != Plant::no_barrier_before_reading) {
    __syncthreads();
  }
  float total = 0;
  for (int w = 0; w < kWarps; ++w) total += sums[w];
  out[i] = total;
}

__global__ void __launch_bounds__(kPlantThreads)
    swap_fours_kernel(Plant plant, const float* in, float* out) {
  auto* const fours = cuda::dynamic_shared<float4>();
  const unsigned i = threadIdx.x;
  const float* from = in + 4 * i;
  if (plant == Plant::misaligned_load && i + 1 < kPlantThreads) ++from;
  const unsigned at = plant == Plant::dynamic_shared_beyond_end ? i + 1 : i;
  fours[at] = *reinterpret_cast<const float4*>(from);
  __syncthreads();
  reinterpret_cast<float4*>(out)[i] = fours[i ^ 1];
}

__global__ void __launch_bounds__(kPlantThreads)
    two_histograms_kernel(Plant plant, const uint8_t* in, int32_t* counts) {
  PARKD_SHARED(int32_t, mine, [64]);
  const unsigned i = threadIdx.x;
  for (unsigned round = 0; round < 2; ++round) {
    // The second warp clears what the first one reads at the end: in forward order that goes well
    // even without the last barrier.
    if (i / 32 == 1) mine[i - 32] = mine[i] = 0;
    __syncthreads();
    atomicAdd(&mine[in[round * kPlantThreads + i] % 64], 1);
    __syncthreads();
    if (i < 32) {
      counts[round * 64 + i] = mine[i];
      counts[round * 64 + 32 + i] = mine[32 + i];
    }
    if (plant != Plant::no_barrier_before_reuse) __syncthreads();
  }
}

__global__ void __launch_bounds__(kPlantThreads)
    swap_neighbours_kernel(Plant plant, const float* in, float* out) {
  PARKD_SHARED(float, values, [kPlantThreads]);
  const unsigned i = threadIdx.x;
  const unsigned pair_mask = 3U << (i % 32 & ~1U);
  const unsigned quad_mask = 0xFU << (i % 32 & ~3U);
  values[i] = in[i];
  if (plant == Plant::syncwarp_of_other_lanes) {
    // Each pair waits for itself, but below a lane reads its neighbour two away.
    __syncwarp(pair_mask);
    out[i] = values[i ^ 2];
    return;
  }
  if (plant != Plant::no_syncwarp) __syncwarp(quad_mask);
  out[i] = values[i ^ 1];
}

__global__ void __launch_bounds__(kPlantThreads)
    half_warp_sums_kernel(Plant plant, const float* in, float* out) {
  const unsigned i = threadIdx.x;
  const bool low = i % 32 < 16;
  const unsigned mask = low ? 0x0000FFFFU : 0xFFFF0000U;
  float sum = in[i];
  if (plant == Plant::shuffle_in_half_a_warp) {
    if (low) sum = cuda::warp_sum(sum);
    out[i] = sum;
    return;
  }
  const int first_offset = plant == Plant::shuffle_from_outside_mask ? 16 : 8;
  for (int offset = first_offset; offset > 0; offset /= 2) {
    const bool overlaps = plant == Plant::overlapping_masks && low && offset == 8;
    sum += __shfl_xor_sync(overlaps ? 0x0001FFFFU : mask, sum, offset);
  }
  out[i] = sum;
}

template <class... Parameters, class... Arguments>
cudaError_t run(cudaStream_t stream, size_t dynamic_shared_bytes, void (*kernel)(Parameters...),
                Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(kPlantThreads);
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace

cudaError_t launch_square_sum(Plant plant, const float* in, float* out, cudaStream_t stream) {
  return run(stream, 0, square_sum_kernel, plant, in, out);
}
cudaError_t launch_swap_fours(Plant plant, const float* in, float* out, cudaStream_t stream) {
  return run(stream, kPlantThreads * sizeof(float4), swap_fours_kernel, plant, in, out);
}
cudaError_t launch_two_histograms(Plant plant, const uint8_t* in, int32_t* counts,
                                  cudaStream_t stream) {
  return run(stream, 0, two_histograms_kernel, plant, in, counts);
}
cudaError_t launch_swap_neighbours(Plant plant, const float* in, float* out, cudaStream_t stream) {
  return run(stream, 0, swap_neighbours_kernel, plant, in, out);
}
cudaError_t launch_half_warp_sums(Plant plant, const float* in, float* out, cudaStream_t stream) {
  return run(stream, 0, half_warp_sums_kernel, plant, in, out);
}

}  // namespace parkd::testing
