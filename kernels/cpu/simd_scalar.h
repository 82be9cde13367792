// The 16-lane vectors that vector_math.h is written on, in plain C++: the reference for the other
// two.
#pragma once

#include <cstdint>

#include "kernels/common/half.h"

namespace parkd::cpu {
namespace {

struct F32x16 {
  float lane[16];
};
// Rows of a product's tile whose sums and codes the registers hold: 4 or 16.
inline constexpr int kTallestTile = 4;

template <class F>
inline F32x16 each(F f) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = f(i);
  return result;
}

inline F32x16 broadcast(float x) {
  return each([&](int) { return x; });
}
inline F32x16 load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline F32x16 load_first(const float* p, int n) {
  return each([&](int i) { return i < n ? p[i] : 0.0F; });
}
inline void store(float* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = a.lane[i];
}
inline void store_first(float* p, F32x16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.lane[i];
}
inline F32x16 add(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F32x16 subtract(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F32x16 multiply(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F32x16 divide(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
// a * b + c, rounded once.
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return each([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
}
// The larger; b when one is NaN, as the instruction does.
inline F32x16 maximum(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 minimum(F32x16 a, F32x16 b) {
  return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
// Lanes [0, n) of a, `other` elsewhere.
inline F32x16 keep_first(F32x16 a, int n, float other) {
  return each([&](int i) { return i < n ? a.lane[i] : other; });
}
// Lanes [n, 16) of a, `other` before them.
inline F32x16 drop_first(F32x16 a, int n, float other) {
  return each([&](int i) { return i < n ? other : a.lane[i]; });
}
// value * 2^k where `magic` is 1.5 * 2^23 + k.
inline F32x16 scale_by_power(F32x16 value, F32x16 magic) {
  return each([&](int i) {
    return bits_to_float(float_to_bits(value.lane[i]) + (float_to_bits(magic.lane[i]) << 23));
  });
}
inline F32x16 load_f16(const uint16_t* p) {
  return each([&](int i) { return f16_to_float(p[i]); });
}

// 16 bf16, rounded to nearest even.
inline void store_bf16(uint16_t* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_bf16(a.lane[i]);
}
inline F32x16 load_bf16(const uint16_t* p) {
  return each([&](int i) { return bf16_to_float(p[i]); });
}
inline float first_lane(F32x16 a) {
  return a.lane[0];
}
// Over the lanes as a tree: lane i with i + 8, then + 4, + 2, + 1.
inline float sum_lanes(F32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
  }
  return a.lane[0];
}
inline float max_lanes(F32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      a.lane[i] = a.lane[i] > a.lane[i + width] ? a.lane[i] : a.lane[i + width];
    }
  }
  return a.lane[0];
}

// 16 pairs of bf16, and sums of products of pairs.
struct Bf16x32 {
  uint32_t pair[16];
};
inline Bf16x32 load_pairs(const uint16_t* p) {
  Bf16x32 result;
  __builtin_memcpy(result.pair, p, 64);
  return result;
}
inline F32x16 dot_pair(F32x16 sum, Bf16x32 a, uint32_t pair) {
  const float even = bits_to_float(pair << 16);
  const float odd = bits_to_float(pair & 0xFFFF0000U);
  return each([&](int i) {
    const float first = __builtin_fmaf(bits_to_float(a.pair[i] << 16), even, sum.lane[i]);
    return __builtin_fmaf(bits_to_float(a.pair[i] & 0xFFFF0000U), odd, first);
  });
}

struct I32x16 {
  int32_t lane[16];
};
inline I32x16 broadcast_i32(int32_t x) {
  I32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = x;
  return result;
}
inline F32x16 to_float(I32x16 a) {
  return each([&](int i) { return static_cast<float>(a.lane[i]); });
}

// p[0] * 2^power in every lane.
template <int power>
inline I32x16 broadcast_times(const int32_t* p) {
  return broadcast_i32(*p * (1 << power));
}
// 16 int8.
inline F32x16 load_int8(const uint8_t* p) {
  return each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}

// (16 outputs, 4 k) of codes as bytes: narrow numbers, 0 .. 63 from their offset on, or wide ones
// in whatever form dot_wide wants.
struct Codes64 {
  uint8_t code[64];
};
inline Codes64 load_codes(const uint8_t* p) {
  Codes64 result;
  __builtin_memcpy(result.code, p, 64);
  return result;
}
// Each byte shifted (to the right where `left` is negative), and its bits of `mask`.
template <int left>
inline Codes64 shift_and_mask(const Codes64& codes, uint8_t mask) {
  Codes64 result;
  for (int i = 0; i < 64; ++i) {
    const int shifted = left > 0 ? codes.code[i] << left : codes.code[i] >> -left;
    result.code[i] = static_cast<uint8_t>(shifted & mask);
  }
  return result;
}
inline Codes64 either(const Codes64& a, const Codes64& b) {
  Codes64 result;
  for (int i = 0; i < 64; ++i) result.code[i] = a.code[i] | b.code[i];
  return result;
}
// The entries of a table of 16.
inline Codes64 look_up(const Codes64& codes, const uint8_t* table) {
  Codes64 result;
  for (int i = 0; i < 64; ++i) result.code[i] = table[codes.code[i]];
  return result;
}
// Wide numbers + 128 as dot_wide wants them, and what it then takes them to be too great by.
inline constexpr int kWideOffset = 0;
inline Codes64 wide_codes(const Codes64& codes) {
  Codes64 result;
  for (int i = 0; i < 64; ++i) result.code[i] = codes.code[i] ^ 0x80;
  return result;
}
// lane += sum over 4 k of code * activation; `four` holds four int8.
inline I32x16 dot_wide(I32x16 sum, const Codes64& codes, const int8_t* four) {
  for (int i = 0; i < 64; ++i) {
    sum.lane[i / 4] += static_cast<int8_t>(codes.code[i]) * four[i % 4];
  }
  return sum;
}
inline I32x16 dot_narrow(I32x16 sum, const Codes64& codes, const int8_t* four) {
  return dot_wide(sum, codes, four);
}

}  // namespace
}  // namespace parkd::cpu
