// The 16-lane vectors that vector_math.h is written on, as one AVX-512 register (F, BW, DQ, VL,
// VNNI, BF16).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/half.h"

namespace parkd::cpu {
namespace {

using F32x16 = __m512;
inline constexpr int kTallestTile = 16;

inline F32x16 broadcast(float x) {
  return _mm512_set1_ps(x);
}
inline F32x16 load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline __mmask16 first_lanes(int n) {
  return n >= 16 ? static_cast<__mmask16>(0xFFFF)
                 : static_cast<__mmask16>(n <= 0 ? 0U : (1U << n) - 1U);
}
inline F32x16 load_first(const float* p, int n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void store(float* p, F32x16 a) {
  _mm512_storeu_ps(p, a);
}
inline void store_first(float* p, F32x16 a, int n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), a);
}
inline F32x16 add(F32x16 a, F32x16 b) {
  return _mm512_add_ps(a, b);
}
inline F32x16 subtract(F32x16 a, F32x16 b) {
  return _mm512_sub_ps(a, b);
}
inline F32x16 multiply(F32x16 a, F32x16 b) {
  return _mm512_mul_ps(a, b);
}
inline F32x16 divide(F32x16 a, F32x16 b) {
  return _mm512_div_ps(a, b);
}
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline F32x16 maximum(F32x16 a, F32x16 b) {
  return _mm512_max_ps(a, b);
}
inline F32x16 minimum(F32x16 a, F32x16 b) {
  return _mm512_min_ps(a, b);
}
inline F32x16 keep_first(F32x16 a, int n, float other) {
  return _mm512_mask_blend_ps(first_lanes(n), _mm512_set1_ps(other), a);
}
inline F32x16 drop_first(F32x16 a, int n, float other) {
  return _mm512_mask_blend_ps(first_lanes(n), a, _mm512_set1_ps(other));
}
inline F32x16 scale_by_power(F32x16 value, F32x16 magic) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value),
                                              _mm512_slli_epi32(_mm512_castps_si512(magic), 23)));
}
inline F32x16 load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_bf16(uint16_t* p, F32x16 a) {
  const __m256bh rounded = _mm512_cvtneps_pbh(a);
  __builtin_memcpy(p, &rounded, 32);
}
inline F32x16 load_bf16(const uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline float first_lane(F32x16 a) {
  return _mm512_cvtss_f32(a);
}
inline float sum_lanes(__m256 a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float max_lanes(__m256 a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline float sum_lanes(F32x16 a) {
  return sum_lanes(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
inline float max_lanes(F32x16 a) {
  return max_lanes(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}

using Bf16x32 = __m512bh;

inline Bf16x32 load_pairs(const uint16_t* p) {
  const __m512i bits = _mm512_loadu_si512(p);
  Bf16x32 result;
  __builtin_memcpy(&result, &bits, 64);
  return result;
}
inline F32x16 dot_pair(F32x16 sum, Bf16x32 a, uint32_t pair) {
  const __m512i bits = _mm512_set1_epi32(static_cast<int>(pair));
  Bf16x32 b;
  __builtin_memcpy(&b, &bits, 64);
  return _mm512_dpbf16_ps(sum, a, b);
}

using I32x16 = __m512i;

inline I32x16 broadcast_i32(int32_t x) {
  return _mm512_set1_epi32(x);
}
inline F32x16 to_float(I32x16 a) {
  return _mm512_cvtepi32_ps(a);
}

// p[0] * 2^power in every lane.
template <int power>
inline I32x16 broadcast_times(const int32_t* p) {
  return _mm512_slli_epi32(_mm512_set1_epi32(*p), power);
}
inline F32x16 load_int8(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

using Codes64 = __m512i;

inline Codes64 load_codes(const uint8_t* p) {
  return _mm512_loadu_si512(p);
}
template <int left>
inline Codes64 shift_and_mask(Codes64 codes, uint8_t mask) {
  if constexpr (left > 0) codes = _mm512_slli_epi16(codes, left);
  if constexpr (left < 0) codes = _mm512_srli_epi16(codes, -left);
  return _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(mask)));
}
inline Codes64 either(Codes64 a, Codes64 b) {
  return _mm512_or_si512(a, b);
}
inline Codes64 look_up(Codes64 codes, const uint8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), codes);
}
// VPDPBUSD wants unsigned weights: wide numbers keep their +128 and the sum starts at its
// correction.
inline constexpr int kWideOffset = 128;
inline Codes64 wide_codes(Codes64 codes) {
  return codes;
}
inline I32x16 dot_narrow(I32x16 sum, const Codes64& codes, const int8_t* four) {
  int32_t bits;
  __builtin_memcpy(&bits, four, 4);
  return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(bits));
}
inline I32x16 dot_wide(I32x16 sum, const Codes64& codes, const int8_t* four) {
  return dot_narrow(sum, codes, four);
}

}  // namespace
}  // namespace parkd::cpu
