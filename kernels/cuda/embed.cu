// out[row] = table[tokens[row]] * scale.
//
// Shapes: table (vocab, hidden) of `element`, out (n_rows, hidden) float; hidden a multiple of 8.
// Launch: grid (rows_max, hidden / 8 / 64), 64 threads, eight elements a thread. Bytes: 4 + element
// bytes an element, one flop. Tolerance: the product's rounding; with a scale of 1 none. CPU twin:
// CpuLane::embed. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 64;
constexpr int kPerThread = 8;

template <class T>
__global__ void __launch_bounds__(kThreads) embed_kernel(EmbedParams params) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  const auto column = static_cast<int32_t>((blockIdx.y * kThreads + threadIdx.x) * kPerThread);
  if (row >= params.step.counts->n_rows || column >= params.hidden) return;
  const T* from = static_cast<const T*>(params.table) +
                  int64_t{params.step.tokens[row]} * params.hidden + column;
  float* to = params.out + int64_t{row} * params.hidden + column;
#pragma unroll
  for (int i = 0; i < kPerThread; i += kPerWide<T>) {
    float values[kPerWide<T>];
    unpack_wide<T>(load_wide(from + i), values);
#pragma unroll
    for (int j = 0; j < kPerWide<T>; ++j) values[j] *= params.scale;
    store_floats(to + i, values);
  }
}

}  // namespace

cudaError_t launch_embed(const EmbedParams& params, cudaStream_t stream) {
  if (params.step.rows_max < 0 || params.hidden <= 0 || params.hidden % kPerThread != 0 ||
      !is_aligned(params.table) || !is_aligned(params.out)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.step.rows_max),
                  blocks_for(params.hidden, kPerThread * kThreads));
  return with_element(params.element, [&](auto element) {
    return launch({grid, kThreads, 0, stream}, embed_kernel<decltype(element)>, params);
  });
}

}  // namespace parkd::cuda
