// out = activation(gate) * up: silu(g) = g / (1 + e^-g), or gelu_tanh(g) = g / (1 + e^-2u) with u =
// sqrt(2 / pi) * (g + 0.044715 g^3), which is g / 2 * (1 + tanh u).
//
// Shapes: gate_up (n_rows, 2 * ffn) float, gate then up; out (n_rows, ffn) of `element`; ffn a
// multiple of 8. Launch: grid (rows_max, ffn / 4 / 128), 128 threads, four outputs a thread.
// Bytes: 8 + element bytes an output; 4 flops (gelu_tanh 8) and one e^x: bound by memory.
// Arithmetic in float. Tolerance: relative 1e-6 (gelu_tanh: and 2^-21 of 2u, as that is rounded
// before it is an exponent) and the output's rounding. Source: Shazeer, "GLU variants improve
// Transformer", 2020; Hendrycks and Gimpel, "Gaussian error linear units", 2016. CPU twin:
// CpuKernels::gate_mul. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

template <Gate activation>
__device__ __forceinline__ float exponent(float g) {
  if constexpr (activation == Gate::silu) {
    return -g;
  } else {
    return -1.59576912F * (g + 0.044715F * (g * g * g));
  }
}

template <class Out, Gate activation>
__global__ void __launch_bounds__(kThreads) gate_mul_kernel(GateMulParams params) {
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
  for (int i = 0; i < 4; ++i) {
    out[i] = gate[i] / (1.0F + expf(exponent<activation>(gate[i]))) * up[i];
  }
  store_floats(static_cast<Out*>(params.out) + int64_t{row} * params.ffn + column, out);
}

}  // namespace

cudaError_t launch_gate_mul(const GateMulParams& params, cudaStream_t stream) {
  if (params.rows_max < 0 || params.ffn <= 0 || params.ffn % 8 != 0 ||
      (params.activation != Gate::silu && params.activation != Gate::gelu_tanh) ||
      !is_aligned(params.gate_up) || !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.rows_max), blocks_for(params.ffn, 4 * kThreads));
  return with_element(params.element, [&](auto element) {
    using Out = decltype(element);
    return launch({grid, kThreads, 0, stream},
                  params.activation == Gate::silu ? gate_mul_kernel<Out, Gate::silu>
                                                  : gate_mul_kernel<Out, Gate::gelu_tanh>,
                  params);
  });
}

}  // namespace parkd::cuda
