// The only file with inline assembly: tensor-core products, the loads that feed them, and an
// exponential. Under the emulator each is its host twin of tests/cuda_emulator, written from the
// PTX ISA's tables by another hand than the kernel that uses it, and held to CuTe's layouts by
// tests/cuda/ptx_test.cc. No GPU has confirmed these readings.
#pragma once

#include "kernels/cuda/device.h"

#ifdef CUDA_EMULATOR
#include "cuda_emulator/tensor_core.h"
#endif

namespace parkd::cuda {

// d += a * b, (16, 16) times (16, 8); T is __half or __nv_bfloat16, sums in float.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
#ifdef CUDA_EMULATOR
  ::cuda_emulator::mma_m16n8k16<T>(d, a, b);
#else
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
}

// Four matrices of 8 rows of 8 16-bit elements from shared memory: lane l gives row l % 8 of matrix
// l / 8, 16-byte aligned. Register m of a lane is its pair of matrix m, as a fragment of B (or,
// transposed, of a B whose rows are k) wants it.
template <bool transposed>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
#ifdef CUDA_EMULATOR
  ::cuda_emulator::ldmatrix<4, transposed>(to, row);
#else
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
#endif
}

// 2^x by the special function unit alone: a relative error of 2^-22, and 0 for what is below 2^-126
// (PTX ISA, ex2.approx.ftz.f32).
__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef CUDA_EMULATOR
  return ::cuda_emulator::ex2_approx_ftz(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace parkd::cuda
