// out = silu(gate) * up, silu(g) = g / (1 + e^-g).
//
// Shapes: gate_up (n_rows, 2 * ffn) float, gate then up; out (n_rows, ffn) of `element`; ffn a
// multiple of 8. Launch: grid (rows_max, ffn / 4 / 128), 128 threads, four outputs a thread.
// Bytes: 8 + element bytes an output; 4 flops and one e^x: bound by memory. Arithmetic in float.
// Tolerance: relative 1e-6 and the output's rounding. Source: Shazeer, "GLU variants improve
// Transformer", 2020. CPU twin: CpuKernels::silu_mul. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

template <class Out>
__global__ void __launch_bounds__(kThreads) silu_mul_kernel(SiluMulParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  const auto column = static_cast<int32_t>((blockIdx.y * kThreads + threadIdx.x) * 4);
  if (row >= *params.n_rows || column >= params.ffn) return;
  const float* gate_at = params.gate_up + int64_t{row} * 2 * params.ffn + column;
  float gate[4];
  float up[4];
  load_floats(gate_at, gate);
  load_floats(gate_at + params.ffn, up);
  float out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = gate[i] / (1.0F + expf(-gate[i])) * up[i];
  store_floats(static_cast<Out*>(params.out) + int64_t{row} * params.ffn + column, out);
}

}  // namespace

cudaError_t launch_silu_mul(const SiluMulParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.ffn <= 0 || params.ffn % 8 != 0 ||
      !is_aligned(params.gate_up) || !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.rows_max), blocks_for(params.ffn, 4 * kThreads));
  return with_element(params.element, [&](auto element) {
    return launch({grid, kThreads, 0, stream}, silu_mul_kernel<decltype(element)>, params);
  });
}

}  // namespace parkd::cuda
