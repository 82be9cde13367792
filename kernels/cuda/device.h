// What every .cu of this folder is written with: shared memory, wide loads, warp sums.
//
// The same sources are compiled by nvcc and, for the tests on machines without a GPU, by g++
// against the shadow headers of tests/cuda_emulator (which define CUDA_EMULATOR). Rules that make
// this possible: no <<<>>> (cudaLaunchKernelEx), no cooperative groups, no spinning between blocks,
// no `extern __shared__` outside this file, no asm outside ptx.h, explicit masks in every _sync
// call, one constexpr for a kernel's block size and its __launch_bounds__, no operators on half
// types.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace parkd::cuda {

#ifdef CUDA_EMULATOR
// PARKD_SHARED(float, sums, [32]): an array of the block, not initialised.
#define PARKD_SHARED(T, name, ...)              \
  static char name##_key = 0;                   \
  T(&name)                                      \
  __VA_ARGS__ = *static_cast<T(*) __VA_ARGS__>( \
      ::cuda_emulator::shared_slot(&name##_key, sizeof(T __VA_ARGS__), 16))
// The block's dynamic shared memory (cudaLaunchConfig_t::dynamicSmemBytes), 16-byte aligned.
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(::cuda_emulator::dynamic_shared(16));
}
#else
#define PARKD_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char parkd_dynamic_shared[];
  return reinterpret_cast<T*>(parkd_dynamic_shared);
}
#endif

inline constexpr unsigned kFullWarp = 0xFFFFFFFFU;
inline constexpr int kWarpSize = 32;

__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}
__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

// Rounds to nearest even.
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, offset);
  }
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

}  // namespace parkd::cuda
