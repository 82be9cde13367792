// noise[i] = sampling_noise(seed[i], choice_index[i], position[i]): 64 uniform bits a row.
//
// Shapes: all arrays (n_rows). Launch: one thread a row, blocks of 128. Bytes moved: 24 a row; ~100
// integer operations a row (ten Philox rounds). Tolerance: none, integers. CPU twin:
// kernels/common/counter_rng.h itself, which both sides compile. Source: Salmon et al., SC 2011.
// Never run on a GPU.
#include <cstdint>

#include "kernels/common/counter_rng.h"

namespace parkd::cuda {

struct SamplingNoiseParams {
  const uint64_t* seed;
  const uint32_t* choice_index;
  const uint32_t* position;
  uint64_t* noise;
  int32_t n_rows;
};

__global__ void __launch_bounds__(128) sampling_noise_kernel(SamplingNoiseParams params) {
  const int32_t row = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= params.n_rows) return;
  params.noise[row] =
      sampling_noise(params.seed[row], params.choice_index[row], params.position[row]);
}

}  // namespace parkd::cuda
