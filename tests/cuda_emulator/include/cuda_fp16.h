// Shadow of NVIDIA's header of this name: the types and the conversions that kernels/cuda uses.
// There are no operators on purpose: kernels convert explicitly.
#pragma once

#include <cuda_runtime.h>

struct alignas(2) __half {
  unsigned short bits;
};
struct alignas(4) __half2 {
  __half x;
  __half y;
};
using half = __half;
using half2 = __half2;

inline unsigned short __half_as_ushort(__half x) {
  return x.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
// Exact. Every NaN becomes 0x7FFFFFFF.
inline float __half2float(__half x) {
  const unsigned sign = unsigned{x.bits} >> 15 << 31;
  const unsigned exponent = x.bits >> 10 & 0x1FU;
  const unsigned fraction = x.bits & 0x3FFU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return __uint_as_float(sign | __float_as_uint(magnitude));
  }
  if (exponent == 31) {
    if (fraction != 0) return __uint_as_float(0x7FFFFFFFU);
    return __uint_as_float(sign | 0x7F800000U);
  }
  return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}
// To nearest even; every NaN becomes 0x7FFF, as on the device.
inline __half __float2half_rn(float x) {
  const unsigned bits = __float_as_uint(x);
  const auto sign = static_cast<unsigned short>(bits >> 16 & 0x8000U);
  const unsigned magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return {0x7FFF};
  if (magnitude >= 0x47800000U) return {static_cast<unsigned short>(sign | 0x7C00U)};  // 2^16
  if (magnitude < 0x38800000U) {  // below 2^-14: a multiple of 2^-24
    const float scaled = __uint_as_float(magnitude) * 0x1p24F;
    return {static_cast<unsigned short>(sign | static_cast<unsigned>(std::nearbyint(scaled)))};
  }
  const unsigned rounded = magnitude + 0xFFFU + (magnitude >> 13 & 1U) - (112U << 23);
  return {static_cast<unsigned short>(sign | rounded >> 13)};
}
inline __half __float2half(float x) {
  return __float2half_rn(x);
}
inline float __low2float(__half2 x) {
  return __half2float(x.x);
}
inline float __high2float(__half2 x) {
  return __half2float(x.y);
}
inline float2 __half22float2(__half2 x) {
  return {__half2float(x.x), __half2float(x.y)};
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
