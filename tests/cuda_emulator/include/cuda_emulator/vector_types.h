// CUDA's built-in vector types, with its sizes and alignments (facts.cc compares them).
#pragma once

#define CUDA_EMULATOR_VECTOR1(name, T)    \
  struct name##1 {                        \
    T x;                                  \
  };                                      \
  constexpr name##1 make_##name##1(T x) { \
    return {x};                           \
  }
#define CUDA_EMULATOR_VECTOR2(name, T, align)  \
  struct alignas(align) name##2 {              \
    T x, y;                                    \
  };                                           \
  constexpr name##2 make_##name##2(T x, T y) { \
    return {x, y};                             \
  }
#define CUDA_EMULATOR_VECTOR3(name, T)              \
  struct name##3 {                                  \
    T x, y, z;                                      \
  };                                                \
  constexpr name##3 make_##name##3(T x, T y, T z) { \
    return {x, y, z};                               \
  }
#define CUDA_EMULATOR_VECTOR4(name, T, align)            \
  struct alignas(align) name##4 {                        \
    T x, y, z, w;                                        \
  };                                                     \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { \
    return {x, y, z, w};                                 \
  }
#define CUDA_EMULATOR_VECTORS(name, T, align2, align4) \
  CUDA_EMULATOR_VECTOR1(name, T)                       \
  CUDA_EMULATOR_VECTOR2(name, T, align2)               \
  CUDA_EMULATOR_VECTOR3(name, T)                       \
  CUDA_EMULATOR_VECTOR4(name, T, align4)

CUDA_EMULATOR_VECTORS(char, signed char, 2, 4)
CUDA_EMULATOR_VECTORS(uchar, unsigned char, 2, 4)
CUDA_EMULATOR_VECTORS(short, short, 4, 8)
CUDA_EMULATOR_VECTORS(ushort, unsigned short, 4, 8)
CUDA_EMULATOR_VECTORS(int, int, 8, 16)
CUDA_EMULATOR_VECTORS(uint, unsigned, 8, 16)
CUDA_EMULATOR_VECTORS(float, float, 8, 16)
CUDA_EMULATOR_VECTOR1(longlong, long long)
CUDA_EMULATOR_VECTOR2(longlong, long long, 16)
CUDA_EMULATOR_VECTOR1(ulonglong, unsigned long long)
CUDA_EMULATOR_VECTOR2(ulonglong, unsigned long long, 16)
CUDA_EMULATOR_VECTOR1(double, double)
CUDA_EMULATOR_VECTOR2(double, double, 16)

#undef CUDA_EMULATOR_VECTORS
#undef CUDA_EMULATOR_VECTOR1
#undef CUDA_EMULATOR_VECTOR2
#undef CUDA_EMULATOR_VECTOR3
#undef CUDA_EMULATOR_VECTOR4

struct dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  constexpr dim3(unsigned x_blocks = 1, unsigned y_blocks = 1, unsigned z_blocks = 1)
      : x(x_blocks), y(y_blocks), z(z_blocks) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
