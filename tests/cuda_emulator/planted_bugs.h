// Kernels with one bug each, and their correct twins: what the emulator has to find, and what it
// must not complain about.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace parkd::testing {

enum class Plant : int32_t {
  none,
  shared_index_beyond_array,
  dynamic_shared_beyond_end,
  no_barrier_before_reading,
  no_barrier_before_reuse,
  barrier_in_a_branch,
  barrier_at_two_places,
  thread_ends_before_barrier,
  shuffle_in_half_a_warp,
  shuffle_from_outside_mask,
  overlapping_masks,
  no_syncwarp,
  syncwarp_of_other_lanes,
  misaligned_load,
  global_index_beyond_end,
};

// out[i] = the sum of squares of all, through static shared memory.
cudaError_t launch_square_sum(Plant plant, const float* in, float* out, cudaStream_t stream);
// out[i] = in[i ^ 4], by vectors of four through dynamic shared memory.
cudaError_t launch_swap_fours(Plant plant, const float* in, float* out, cudaStream_t stream);
// Two rounds of counting the bytes of `in` modulo 64 in shared memory: counts (2, 64).
cudaError_t launch_two_histograms(Plant plant, const uint8_t* in, int32_t* counts,
                                  cudaStream_t stream);
// out[i] = in[i ^ 1], by exchange within a warp through shared memory.
cudaError_t launch_swap_neighbours(Plant plant, const float* in, float* out, cudaStream_t stream);
// out[i] = the sum over its half of the warp.
cudaError_t launch_half_warp_sums(Plant plant, const float* in, float* out, cudaStream_t stream);

inline constexpr int kPlantThreads = 128;

}  // namespace parkd::testing
