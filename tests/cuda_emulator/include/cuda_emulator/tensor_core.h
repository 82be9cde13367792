// Host twins of the PTX instructions that kernels/cuda/ptx.h wraps. They are written from
// the tables of the PTX ISA (8.5, "Warp level matrix instructions": mma.m16n8k16, ldmatrix), by
// another hand than the kernels that use them. No GPU has confirmed either reading.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>

#include "cuda_emulator/execution.h"

namespace cuda_emulator {

// Where the elements of mma.m16n8k16's fragments lie: lane l is in group g = l / 4, and t = l % 4
// within it. Each register holds two elements of 16 bits, the lower one first.
//   A (16 x 16, row): register r, half h: row g + 8 (r % 2), column 2t + h + 8 (r / 2)
//   B (16 x 8, col):  register r, half h: row 2t + h + 8 r, column g
//   C, D (16 x 8):    element e: row g + 8 (e / 2), column 2t + e % 2
struct MmaPayload {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

float tensor_core_factor();  // testing.h

template <class Element>
float half_of(uint32_t word, int half) {
  const auto bits = static_cast<unsigned short>(half == 0 ? word : word >> 16);
  if constexpr (std::is_same_v<Element, __half>) {
    return __half2float(__ushort_as_half(bits));
  } else {
    return __bfloat162float(__ushort_as_bfloat16(bits));
  }
}

// d += a * b with float sums, over k in order; the hardware's order is its own.
template <class Element>
void mma_of_lanes(const Lanes<MmaPayload>& lanes) {
  const float factor = tensor_core_factor();
  float a[16][16];
  float b[16][8];
  float d[16][8];
  lanes.for_each([&](int lane, const MmaPayload& mine) {
    const int g = lane / 4;
    const int t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      for (int h = 0; h < 2; ++h) {
        a[g + 8 * (r % 2)][2 * t + h + 8 * (r / 2)] = half_of<Element>(mine.a[r], h);
      }
    }
    for (int r = 0; r < 2; ++r) {
      for (int h = 0; h < 2; ++h) b[2 * t + h + 8 * r][g] = half_of<Element>(mine.b[r], h);
    }
    for (int e = 0; e < 4; ++e) d[g + 8 * (e / 2)][2 * t + e % 2] = mine.d[e];
  });
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      for (int k = 0; k < 16; ++k) d[i][j] += factor * (a[i][k] * b[k][j]);
    }
  }
  lanes.for_each([&](int lane, const MmaPayload& mine) {
    for (int e = 0; e < 4; ++e) mine.d[e] = d[lane / 4 + 8 * (e / 2)][2 * (lane % 4) + e % 2];
  });
}

// mma.sync.aligned.m16n8k16.row.col.f32.{bf16,f16}.{bf16,f16}.f32 with d as the sum.
template <class Element>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  const Location& where = Location::current()) {
  MmaPayload payload{d, a, b};
  warp_collective(
      "mma.m16n8k16", 0xFFFFFFFFU, payload,
      [](const Lanes<MmaPayload>& lanes) { mma_of_lanes<Element>(lanes); }, MemoryOrder::none,
      where);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                              const Location& where = Location::current()) {
  mma_m16n8k16<__nv_bfloat16>(d, a, b, where);
}
inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             const Location& where = Location::current()) {
  mma_m16n8k16<__half>(d, a, b, where);
}

// ldmatrix.sync.aligned.m8n8.x{1,2,4}[.trans].shared.b16: lane l names row l % 8 of matrix l / 8
// (lanes beyond the matrices are not asked), 16 bytes on a 16-byte boundary. Lane l gets, of each
// matrix, elements 2 (l % 4) and the next of row l / 4; with .trans of column l / 4.
template <int n, bool transposed>
void ldmatrix(uint32_t (&to)[n], const void* row, const Location& where = Location::current()) {
  static_assert(n == 1 || n == 2 || n == 4);
  struct Payload {
    uint32_t* to;
    const unsigned short* row;
  } payload{to, static_cast<const unsigned short*>(row)};
  if (lane() < 8 * n && reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    fail("ldmatrix (%s:%u): a row that is not on a 16-byte boundary", where.file_name(),
         static_cast<unsigned>(where.line()));
  }
  warp_collective(
      "ldmatrix", 0xFFFFFFFFU, payload,
      [](const Lanes<Payload>& lanes) {
        lanes.for_each([&](int lane, Payload& mine) {
          for (int matrix = 0; matrix < n; ++matrix) {
            const auto element = [&](int i, int j) -> uint32_t {
              return transposed ? lanes[8 * matrix + j].row[i] : lanes[8 * matrix + i].row[j];
            };
            mine.to[matrix] =
                element(lane / 4, 2 * (lane % 4)) | element(lane / 4, 2 * (lane % 4) + 1) << 16;
          }
        });
      },
      MemoryOrder::none, where);
}

// ex2.approx.ftz.f32: exact here but for its rounding; what is subnormal, in or out, is 0.
inline float ex2_approx_ftz(float x) {
  const float in = std::fpclassify(x) == FP_SUBNORMAL ? 0.0F : x;
  const float out = std::exp2(in);
  return std::fpclassify(out) == FP_SUBNORMAL ? 0.0F : out;
}

}  // namespace cuda_emulator
