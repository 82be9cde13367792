// Shadow of NVIDIA's header of this name: nvcuda::wmma for 16 x 16 x 16 with float sums. How a
// fragment's elements lie in the lanes is unspecified in CUDA; here element e of lane l is matrix
// element l * num_elements + e, row by row.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  static_assert(m == 16 && n == 16 && k == 16);
  static constexpr int num_elements = 8;
  using element_type = T;
  T x[num_elements];
};

template <class Fragment, class T>
void fill_fragment(Fragment& to, T value) {
  for (auto& element : to.x) element = value;
}

namespace emulated {

inline float widened(float x) {
  return x;
}
inline float widened(__half x) {
  return __half2float(x);
}
inline float widened(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <class T>
void check_memory(const char* name, const T* memory, unsigned ld) {
  if (reinterpret_cast<uintptr_t>(memory) % 32 != 0) {
    cuda_emulator::fail("%s: memory that is not on a 32-byte boundary", name);
  }
  if (ld * sizeof(T) % 16 != 0) cuda_emulator::fail("%s: ld %u is not 16 bytes", name, ld);
}

// Visits this lane's elements: f(e, row, column).
template <class F>
void for_my_elements(F f) {
  for (int e = 0; e < 8; ++e) {
    const int at = cuda_emulator::lane() * 8 + e;
    f(e, at / 16, at % 16);
  }
}

template <class Fragment>
float element(const Fragment& part, int at) {
  return widened(part.x[at % 8]);
}

}  // namespace emulated

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& to, const T* memory, unsigned ld,
                      CUDA_EMULATOR_WHERE) {
  emulated::check_memory("wmma::load_matrix_sync", memory, ld);
  __syncwarp(0xFFFFFFFFU, where);
  emulated::for_my_elements([&](int e, int row, int column) {
    constexpr bool by_row = std::is_same_v<Layout, row_major>;
    to.x[e] = by_row ? memory[row * static_cast<int>(ld) + column]
                     : memory[column * static_cast<int>(ld) + row];
  });
}

template <class T>
void store_matrix_sync(T* memory, const fragment<accumulator, 16, 16, 16, T>& from, unsigned ld,
                       layout_t layout, CUDA_EMULATOR_WHERE) {
  emulated::check_memory("wmma::store_matrix_sync", memory, ld);
  emulated::for_my_elements([&](int e, int row, int column) {
    (layout == mem_row_major ? memory[row * static_cast<int>(ld) + column]
                             : memory[column * static_cast<int>(ld) + row]) = from.x[e];
  });
  __syncwarp(0xFFFFFFFFU, where);
}

// d = a * b + c.
template <class T, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d,
              const fragment<matrix_a, 16, 16, 16, T, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, T, LayoutB>& b,
              const fragment<accumulator, 16, 16, 16, float>& c, CUDA_EMULATOR_WHERE) {
  struct Payload {
    fragment<accumulator, 16, 16, 16, float>* d;
    const fragment<matrix_a, 16, 16, 16, T, LayoutA>* a;
    const fragment<matrix_b, 16, 16, 16, T, LayoutB>* b;
    const fragment<accumulator, 16, 16, 16, float>* c;
  } payload{&d, &a, &b, &c};
  cuda_emulator::warp_collective(
      "wmma::mma_sync", 0xFFFFFFFFU, payload,
      [](const cuda_emulator::Lanes<Payload>& lanes) {
        float sums[16 * 16];
        for (int at = 0; at < 16 * 16; ++at) {
          const int i = at / 16;
          const int j = at % 16;
          sums[at] = lanes[at / 8].c->x[at % 8];
          for (int k = 0; k < 16; ++k) {
            sums[at] += emulated::element(*lanes[(i * 16 + k) / 8].a, i * 16 + k) *
                        emulated::element(*lanes[(k * 16 + j) / 8].b, k * 16 + j);
          }
        }
        for (int at = 0; at < 16 * 16; ++at) lanes[at / 8].d->x[at % 8] = sums[at];
      },
      cuda_emulator::MemoryOrder::none, where);
}

}  // namespace nvcuda::wmma
