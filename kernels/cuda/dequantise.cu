// GGUF tensor rows as they lie in the file -> elements that cuBLAS reads.
//   q4_0: 32-block of f16 d, 16 bytes: element j is the low nibble of byte j, element j + 16 the
//         high one; value = d * (nibble - 8)
//   q4_1: f16 d, f16 m, 16 bytes of nibbles: value = d * nibble + m
//   q8_0: f16 d, 32 int8: value = d * code
//   f32, f16, bf16: as they are
//
// Shapes: from (rows, columns) in 32-blocks along columns, to (rows, columns) of `element`.
// Launch: one dimension, 256 threads, eight elements a thread, so that four threads share a
// 32-block. Bytes: an element's share of its block (0.56, 0.63 or 1.06) and its element bytes; 2
// flops: bound by memory, once at load. Blocks are 18, 20 or 34 bytes, so the reads are of 2 bytes.
// Tolerance: float products and the output's rounding (q4_1: one fused rounding on the device).
// Source: ggml's ggml-common.h. CPU twin: kernels/cpu/pack.h. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 8;
constexpr int kBlockElements = 32;

__device__ __forceinline__ uint32_t load_u16(const uint8_t* from) {
  return *reinterpret_cast<const uint16_t*>(from);
}

__device__ __forceinline__ float load_f16(const uint8_t* from) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(load_u16(from))));
}

// Eight elements of a 32-block, from element 8 * quarter on.
struct Q4_0 {
  static constexpr int kBytes = 18;
  static __device__ __forceinline__ void load(const uint8_t* block, int quarter,
                                              float (&to)[kPerThread]) {
    const float scale = load_f16(block);
    const uint8_t* nibbles = block + 2 + quarter % 2 * 8;
    const int shift = quarter / 2 * 4;
#pragma unroll
    for (int i = 0; i < kPerThread; i += 2) {
      const uint32_t two = load_u16(nibbles + i) >> shift;
      to[i] = scale * (static_cast<float>(two & 15U) - 8.0F);
      to[i + 1] = scale * (static_cast<float>(two >> 8 & 15U) - 8.0F);
    }
  }
};

struct Q4_1 {
  static constexpr int kBytes = 20;
  static __device__ __forceinline__ void load(const uint8_t* block, int quarter,
                                              float (&to)[kPerThread]) {
    const float scale = load_f16(block);
    const float minimum = load_f16(block + 2);
    const uint8_t* nibbles = block + 4 + quarter % 2 * 8;
    const int shift = quarter / 2 * 4;
#pragma unroll
    for (int i = 0; i < kPerThread; i += 2) {
      const uint32_t two = load_u16(nibbles + i) >> shift;
      to[i] = scale * static_cast<float>(two & 15U) + minimum;
      to[i + 1] = scale * static_cast<float>(two >> 8 & 15U) + minimum;
    }
  }
};

struct Q8_0 {
  static constexpr int kBytes = 34;
  static __device__ __forceinline__ void load(const uint8_t* block, int quarter,
                                              float (&to)[kPerThread]) {
    const float scale = load_f16(block);
    const uint8_t* codes = block + 2 + quarter * kPerThread;
#pragma unroll
    for (int i = 0; i < kPerThread; i += 2) {
      const uint32_t two = load_u16(codes + i);
      to[i] = scale * static_cast<float>(static_cast<int8_t>(two & 255U));
      to[i + 1] = scale * static_cast<float>(static_cast<int8_t>(two >> 8));
    }
  }
};

template <class From, class To>
__global__ void __launch_bounds__(kThreads) dequantise_blocks_kernel(DequantiseParams params) {
  const int64_t piece = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (piece * kPerThread >= params.rows * params.columns) return;
  constexpr int kPieces = kBlockElements / kPerThread;
  float values[kPerThread];
  From::load(params.from + piece / kPieces * From::kBytes, static_cast<int>(piece % kPieces),
             values);
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
  const bool is_quantised = params.type == 2 || params.type == 3 || params.type == 8;
  if (params.rows < 0 || params.columns < 0 || !is_aligned(params.from) || !is_aligned(params.to) ||
      (is_quantised && params.columns % kBlockElements != 0)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(blocks_for(params.rows * params.columns, int64_t{kThreads} * kPerThread));
  const LaunchShape shape = {grid, kThreads, 0, stream};
  return with_element(params.element, [&](auto element) {
    using To = decltype(element);
    switch (params.type) {  // ggml's numbers
      case 0:
        return launch(shape, convert_kernel<float, To>, params);
      case 1:
        return launch(shape, convert_kernel<__half, To>, params);
      case 2:
        return launch(shape, dequantise_blocks_kernel<Q4_0, To>, params);
      case 3:
        return launch(shape, dequantise_blocks_kernel<Q4_1, To>, params);
      case 8:
        return launch(shape, dequantise_blocks_kernel<Q8_0, To>, params);
      case 30:
        return launch(shape, convert_kernel<__nv_bfloat16, To>, params);
      default:
        return cudaErrorInvalidValue;
    }
  });
}

}  // namespace parkd::cuda
