// Runs one instruction of kernels/cuda/ptx.h on registers that the test filled.
#include "tests/cuda/ptx_probe.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.h"

namespace parkd::cuda {
namespace {

__global__ void __launch_bounds__(kWarpSize) mma_probe_kernel(MmaProbe probe) {
  const auto lane = static_cast<int32_t>(threadIdx.x);
  uint32_t a[4];
  uint32_t b[2];
  float d[4];
  for (int i = 0; i < 4; ++i) a[i] = probe.a[lane * 4 + i];
  for (int i = 0; i < 2; ++i) b[i] = probe.b[lane * 2 + i];
  for (int i = 0; i < 4; ++i) d[i] = probe.d[lane * 4 + i];
  if (probe.is_f16) {
    mma_m16n8k16<__half>(d, a, b);
  } else {
    mma_m16n8k16<__nv_bfloat16>(d, a, b);
  }
  for (int i = 0; i < 4; ++i) probe.d[lane * 4 + i] = d[i];
}

__global__ void __launch_bounds__(kWarpSize) load_matrices_probe_kernel(LoadMatricesProbe probe) {
  PARKD_SHARED(uint16_t, matrices, [kWarpSize][8]);
  const auto lane = static_cast<int32_t>(threadIdx.x);
  for (int i = 0; i < 8; ++i) matrices[lane][i] = probe.rows[lane * 8 + i];
  __syncwarp(kFullWarp);
  uint32_t to[4];
  if (probe.transposed) {
    load_matrices<true>(to, matrices[lane]);
  } else {
    load_matrices<false>(to, matrices[lane]);
  }
  for (int i = 0; i < 4; ++i) probe.to[lane * 4 + i] = to[i];
}

__global__ void __launch_bounds__(kWarpSize) exp2_probe_kernel(Exp2Probe probe) {
  probe.y[threadIdx.x] = exp2_approximate(probe.x[threadIdx.x]);
}

}  // namespace

cudaError_t launch_probe(const Exp2Probe& probe) {
  return launch({dim3(1), kWarpSize, 0, nullptr}, exp2_probe_kernel, probe);
}

cudaError_t launch_probe(const MmaProbe& probe) {
  return launch({dim3(1), kWarpSize, 0, nullptr}, mma_probe_kernel, probe);
}

cudaError_t launch_probe(const LoadMatricesProbe& probe) {
  return launch({dim3(1), kWarpSize, 0, nullptr}, load_matrices_probe_kernel, probe);
}

}  // namespace parkd::cuda
