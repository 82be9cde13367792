// The only file with inline assembly: tensor-core products and the loads that feed them, each with
// a host twin for the emulator.
//
// The twins follow the PTX ISA's tables element by element ("Matrix Fragments for mma.m16n8k16
// with floating point type", "ldmatrix"): with g = lane / 4 and t = lane % 4,
//   A (16, 16): a0 a1 | a2 a3 | a4 a5 | a6 a7: row g for a0 a1 a4 a5, else g + 8; column 2 t + (i %
//   2),
//               and 8 more from a4 on
//   B (16, 8):  b0 b1 | b2 b3: row 2 t + (i % 2), and 8 more from b2 on; column g
//   C (16, 8):  c0 c1 c2 c3: row g, and 8 more from c2 on; column 2 t + (i % 2)
//   ldmatrix .x4: lanes 8 m .. 8 m + 7 give the rows' addresses of matrix m; register m of a lane
//               holds elements 2 t and 2 t + 1 of row g, with .trans of column g.
// CuTe's SM80_16x8x16_F32F16F16F32_TN layouts say the same. No GPU has confirmed this reading:
// that kernel and twin agree shows only that they share it.
#pragma once

#include "kernels/cuda/device.h"

namespace parkd::cuda {

#ifdef CUDA_EMULATOR

namespace twin {

struct Mma {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

// Element `i` of a lane's registers of 16-bit pairs.
template <class T>
float element(const uint32_t* registers, int i) {
  float pair[2];
  unpack_word<T>(registers[i / 2], pair[0], pair[1]);
  return pair[i % 2];
}

template <class T>
void multiply(const ::cuda_emulator::Lanes<Mma>& lanes) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2;
    const int in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
      const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      a[row][column] = element<T>(lanes[lane].a, i);
    }
    for (int i = 0; i < 4; ++i) {
      const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
      b[row][group] = element<T>(lanes[lane].b, i);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
      const int column = lane % 4 * 2 + (i & 1);
      float sum = lanes[lane].d[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      lanes[lane].d[i] = sum;
    }
  }
}

struct LoadMatrices {
  const uint16_t* row;
  uint32_t* to;
};

template <bool transposed>
void load(const ::cuda_emulator::Lanes<LoadMatrices>& lanes) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int lane = 0; lane < 32; ++lane) {
      const int major = lane / 4;
      const int minor = lane % 4 * 2;
      const auto at = [&](int row, int column) {
        return uint32_t{lanes[matrix * 8 + row].row[column]};
      };
      const uint32_t low = transposed ? at(minor, major) : at(major, minor);
      const uint32_t high = transposed ? at(minor + 1, major) : at(major, minor + 1);
      lanes[lane].to[matrix] = low | high << 16;
    }
  }
}

}  // namespace twin

// d += a * b; T is __half or __nv_bfloat16, sums in float.
template <class T>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  twin::Mma mine = {d, a, b};
  ::cuda_emulator::warp_collective(
      "mma.sync.m16n8k16", kFullWarp, mine, [](const auto& lanes) { twin::multiply<T>(lanes); },
      ::cuda_emulator::MemoryOrder::none, ::cuda_emulator::Location::current());
}

// Four matrices of 8 rows of 8 16-bit elements from shared memory; `row` is 16-byte aligned.
template <bool transposed>
void load_matrices(uint32_t (&to)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    ::cuda_emulator::fail("ldmatrix: a row that is not 16-byte aligned");
  }
  twin::LoadMatrices mine = {static_cast<const uint16_t*>(row), to};
  ::cuda_emulator::warp_collective(
      "ldmatrix.x4", kFullWarp, mine, [](const auto& lanes) { twin::load<transposed>(lanes); },
      ::cuda_emulator::MemoryOrder::none, ::cuda_emulator::Location::current());
}

#else

template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
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
}

template <bool transposed>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
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
}

#endif

}  // namespace parkd::cuda
