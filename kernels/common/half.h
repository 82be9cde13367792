// f16 and bf16 conversions in integers, for loading, for the scalar kernels and, where a block's
// scale is read, for the device. Internal linkage on purpose: each instruction set's file keeps its
// own copy.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"

namespace parkd {
namespace {

[[maybe_unused]] PARKD_HOST_DEVICE inline float bits_to_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

[[maybe_unused]] PARKD_HOST_DEVICE inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

[[maybe_unused]] PARKD_HOST_DEVICE inline float bf16_to_float(uint16_t half) {
  return bits_to_float(uint32_t{half} << 16);
}

// Nearest, ties to even; NaN stays NaN.
[[maybe_unused]] PARKD_HOST_DEVICE inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
  const uint32_t nan = (bits | 0x400000U);
  return static_cast<uint16_t>(((bits & 0x7FFFFFFFU) > 0x7F800000U ? nan : rounded) >> 16);
}

[[maybe_unused]] PARKD_HOST_DEVICE inline float f16_to_float(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000U} << 16;
  const uint32_t exponent = (half >> 10) & 31U;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 31) return bits_to_float(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24F;
  return bits_to_float(sign | float_to_bits(subnormal));
}

// Nearest, ties to even; overflow is infinity.
[[maybe_unused]] PARKD_HOST_DEVICE inline uint16_t float_to_f16(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  uint32_t half;
  if (magnitude > 0x7F800000U) {
    half = 0x7E00U;
  } else if (magnitude >= 0x477FF000U) {  // 65520 and above round to infinity
    half = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {  // normal
    const uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
    half = (rounded - 0x38000000U) >> 13;
  } else {  // subnormal: adding 0.5 leaves the f16 mantissa in the low bits, rounded by the adder
    half = float_to_bits(bits_to_float(magnitude) + 0.5F) - 0x3F000000U;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace
}  // namespace parkd
