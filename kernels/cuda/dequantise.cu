// GGUF tensor rows as they lie in the file -> elements that cuBLAS reads. The blocks of each type
// are those of kernels/common/block_formats.h, which host and device share; f32, f16, bf16: as they
// are.
//
// Shapes: from (rows, columns) in blocks along columns, to (rows, columns) of `element`.
// Launch: one dimension, 256 threads, eight elements a thread (they share a scale), so that 4 or 32
// threads share a block. Bytes: an element's share of its block (0.33 to 1.06) and its element
// bytes; 2 flops: bound by memory, once at load. Blocks of 17 to 210 bytes keep to no alignment, so
// the reads are of bytes, which a warp's neighbours share in L1. Tolerance: the output's rounding;
// before it the values are ggml's, bit for bit. Source: ggml's ggml-common.h. CPU twin:
// lib/weights/dequantise.h. Never run on a GPU.
#include "kernels/common/block_formats.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = blocks::kPiece;

template <class From, class To>
__global__ void __launch_bounds__(kThreads) dequantise_blocks_kernel(DequantiseParams params) {
  const int64_t piece = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (piece * kPerThread >= params.rows * params.columns) return;
  constexpr int kPieces = From::kElements / kPerThread;
  float values[kPerThread];
  blocks::read_values<From>(params.from + piece / kPieces * From::kBytes,
                            static_cast<int>(piece % kPieces) * kPerThread, values);
  store_floats(static_cast<To*>(params.to) + piece * kPerThread, values);
}

// Elements kept one by one; the last thread may have fewer than eight.
template <class From, class To>
__global__ void __launch_bounds__(kThreads) convert_kernel(DequantiseParams params) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kPerThread;
  const int64_t n = params.rows * params.columns;
  if (first >= n) return;
  const From* from = reinterpret_cast<const From*>(params.from) + first;
  To* to = static_cast<To*>(params.to) + first;
  if (first + kPerThread > n) {
    for (int64_t i = 0; i < n - first; ++i) to[i] = from_float<To>(to_float(from[i]));
    return;
  }
  constexpr int kWide = kPerWide<From>;
#pragma unroll
  for (int i = 0; i < kPerThread; i += kWide) {
    float values[kWide];
    unpack_wide<From>(load_wide(from + i), values);
    store_floats(to + i, values);
  }
}

}  // namespace

cudaError_t launch_dequantise(const DequantiseParams& params, cudaStream_t stream) {
  const auto type = static_cast<TensorType>(params.type);
  const int64_t block_elements = blocks::with_blocks(
      type, int64_t{1}, [](auto from) { return int64_t{decltype(from)::kElements}; });
  if (params.rows < 0 || params.columns < 0 || !is_aligned(params.from) || !is_aligned(params.to) ||
      params.columns % block_elements != 0) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(blocks_for(params.rows * params.columns, int64_t{kThreads} * kPerThread));
  const LaunchShape shape = {grid, kThreads, 0, stream};
  return with_element(params.element, [&](auto element) {
    using To = decltype(element);
    switch (type) {
      case TensorType::f32:
        return launch(shape, convert_kernel<float, To>, params);
      case TensorType::f16:
        return launch(shape, convert_kernel<__half, To>, params);
      case TensorType::bf16:
        return launch(shape, convert_kernel<__nv_bfloat16, To>, params);
      default:
        return blocks::with_blocks(type, cudaErrorInvalidValue, [&](auto from) {
          return launch(shape, dequantise_blocks_kernel<decltype(from), To>, params);
        });
    }
  });
}

}  // namespace parkd::cuda
