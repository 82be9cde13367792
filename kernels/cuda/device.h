// What every .cu of this folder is written with: shared memory, wide loads, warp sums.
//
// The same sources are compiled by nvcc and, for the tests on machines without a GPU, by g++
// against the shadow headers of tests/cuda_emulator (which define CUDA_EMULATOR). Rules that make
// this possible: no <<<>>> (launch() of launch.h), no cooperative groups, no spinning between
// blocks, no `extern __shared__` outside this file, no asm outside ptx.h, explicit masks in every
// _sync call, one constexpr for a kernel's block size and its __launch_bounds__, no operators on
// half types.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

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
#define PARKD_SHARED(T, name, ...) __shared__ __align__(16) T name __VA_ARGS__
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char parkd_dynamic_shared[];
  return reinterpret_cast<T*>(parkd_dynamic_shared);
}
#endif

inline constexpr unsigned kFullWarp = 0xFFFFFFFFU;
inline constexpr int kWarpSize = 32;

__host__ __device__ constexpr int32_t ceil_div(int32_t a, int32_t b) {
  return (a + b - 1) / b;
}

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

// Two elements of 16 bits in a word, the first in the low half.
template <class T>
__device__ __forceinline__ void unpack_word(uint32_t word, float& first, float& second) {
  if constexpr (std::is_same_v<T, __half>) {
    first = __half2float(__ushort_as_half(static_cast<unsigned short>(word)));
    second = __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
  } else {
    first = __uint_as_float(word << 16);
    second = __uint_as_float(word & 0xFFFF0000U);
  }
}

template <class T>
__device__ __forceinline__ uint32_t pack_word(float first, float second) {
  uint32_t word;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);  // one instruction, as that of bf16
    memcpy(&word, &pair, sizeof word);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    memcpy(&word, &pair, sizeof word);
  }
  return word;
}

// Elements of one 16-byte load, the widest there is.
template <class T>
inline constexpr int kPerWide = 16 / static_cast<int>(sizeof(T));

// `from` is 16-byte aligned.
__device__ __forceinline__ uint4 load_wide(const void* from) {
  return *static_cast<const uint4*>(from);
}

template <class T>
__device__ __forceinline__ void unpack_wide(uint4 wide, float (&to)[kPerWide<T>]) {
  if constexpr (sizeof(T) == 4) {
    to[0] = __uint_as_float(wide.x);
    to[1] = __uint_as_float(wide.y);
    to[2] = __uint_as_float(wide.z);
    to[3] = __uint_as_float(wide.w);
  } else {
    unpack_word<T>(wide.x, to[0], to[1]);
    unpack_word<T>(wide.y, to[2], to[3]);
    unpack_word<T>(wide.z, to[4], to[5]);
    unpack_word<T>(wide.w, to[6], to[7]);
  }
}

// n floats from 16-byte aligned memory.
template <int n>
__device__ __forceinline__ void load_floats(const float* from, float (&to)[n]) {
  static_assert(n % 4 == 0);
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    to[i] = four.x;
    to[i + 1] = four.y;
    to[i + 2] = four.z;
    to[i + 3] = four.w;
  }
}

// Rounds n floats to T and writes them; `to` is aligned to n elements or 16 bytes.
template <class T, int n>
__device__ __forceinline__ void store_floats(T* to, const float (&from)[n]) {
  static_assert(n == 4 || n == 8);
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      *reinterpret_cast<float4*>(to + i) =
          make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
    }
  } else if constexpr (n == 4) {
    *reinterpret_cast<uint2*>(to) =
        make_uint2(pack_word<T>(from[0], from[1]), pack_word<T>(from[2], from[3]));
  } else {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(pack_word<T>(from[0], from[1]), pack_word<T>(from[2], from[3]),
                   pack_word<T>(from[4], from[5]), pack_word<T>(from[6], from[7]));
  }
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
