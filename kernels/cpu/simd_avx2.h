// The 16-lane vectors that vector_math.h is written on, as two AVX2 registers (AVX2, FMA, F16C).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/common/half.h"

namespace parkd::cpu {
namespace {

struct F32x16 {
  __m256 low;
  __m256 high;
};
inline constexpr int kTallestTile = 4;

inline F32x16 broadcast(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline F32x16 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F32x16 load_first(const float* p, int n) {
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
inline void store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
inline void store_first(float* p, F32x16 a, int n) {
  _mm256_maskstore_ps(p, first_lanes(n), a.low);
  _mm256_maskstore_ps(p + 8, first_lanes(n - 8), a.high);
}
inline F32x16 add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline F32x16 subtract(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline F32x16 multiply(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline F32x16 divide(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline F32x16 maximum(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline F32x16 minimum(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline F32x16 keep_first(F32x16 a, int n, float other) {
  const __m256 filler = _mm256_set1_ps(other);
  return {_mm256_blendv_ps(filler, a.low, _mm256_castsi256_ps(first_lanes(n))),
          _mm256_blendv_ps(filler, a.high, _mm256_castsi256_ps(first_lanes(n - 8)))};
}
inline F32x16 drop_first(F32x16 a, int n, float other) {
  const __m256 filler = _mm256_set1_ps(other);
  return {_mm256_blendv_ps(a.low, filler, _mm256_castsi256_ps(first_lanes(n))),
          _mm256_blendv_ps(a.high, filler, _mm256_castsi256_ps(first_lanes(n - 8)))};
}
inline __m256 scale_by_power(__m256 value, __m256 magic) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value),
                                              _mm256_slli_epi32(_mm256_castps_si256(magic), 23)));
}
inline F32x16 scale_by_power(F32x16 value, F32x16 magic) {
  return {scale_by_power(value.low, magic.low), scale_by_power(value.high, magic.high)};
}
inline F32x16 load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
inline __m128i round_to_bf16(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
inline void store_bf16(uint16_t* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), round_to_bf16(a.low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), round_to_bf16(a.high));
}
inline __m256 load_bf16_8(const uint16_t* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline F32x16 load_bf16(const uint16_t* p) {
  return {load_bf16_8(p), load_bf16_8(p + 8)};
}
inline float first_lane(F32x16 a) {
  return _mm256_cvtss_f32(a.low);
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
  return sum_lanes(_mm256_add_ps(a.low, a.high));
}
inline float max_lanes(F32x16 a) {
  return max_lanes(_mm256_max_ps(a.low, a.high));
}

struct Bf16x32 {
  F32x16 even;
  F32x16 odd;
};
inline Bf16x32 load_pairs(const uint16_t* p) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16));
  const __m256i odd = _mm256_set1_epi32(static_cast<int>(0xFFFF0000U));
  return {{_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
           _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))},
          {_mm256_castsi256_ps(_mm256_and_si256(low, odd)),
           _mm256_castsi256_ps(_mm256_and_si256(high, odd))}};
}
inline F32x16 dot_pair(F32x16 sum, Bf16x32 a, uint32_t pair) {
  sum = fma(a.even, broadcast(bits_to_float(pair << 16)), sum);
  return fma(a.odd, broadcast(bits_to_float(pair & 0xFFFF0000U)), sum);
}

struct I32x16 {
  __m256i low;
  __m256i high;
};
inline I32x16 broadcast_i32(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
template <int power>
inline I32x16 broadcast_times(const int32_t* p) {
  const __m256i shifted = _mm256_slli_epi32(_mm256_set1_epi32(*p), power);
  return {shifted, shifted};
}
inline F32x16 to_float(I32x16 a) {
  return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
inline F32x16 load_int8(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return to_float({_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))});
}

struct Codes64 {
  __m256i low;
  __m256i high;
};
inline Codes64 load_codes(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
template <int left>
inline __m256i shift_and_mask(__m256i codes, uint8_t mask) {
  if constexpr (left > 0) codes = _mm256_slli_epi16(codes, left);
  if constexpr (left < 0) codes = _mm256_srli_epi16(codes, -left);
  return _mm256_and_si256(codes, _mm256_set1_epi8(static_cast<char>(mask)));
}
template <int left>
inline Codes64 shift_and_mask(const Codes64& codes, uint8_t mask) {
  return {shift_and_mask<left>(codes.low, mask), shift_and_mask<left>(codes.high, mask)};
}
inline Codes64 either(const Codes64& a, const Codes64& b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
inline Codes64 look_up(const Codes64& codes, const uint8_t* table) {
  const __m256i entries =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(entries, codes.low), _mm256_shuffle_epi8(entries, codes.high)};
}
inline constexpr int kWideOffset = 0;
inline Codes64 wide_codes(const Codes64& codes) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  return {_mm256_xor_si256(codes.low, offset), _mm256_xor_si256(codes.high, offset)};
}
// VPMADDUBSW adds two products in 16 bits: 2 * 63 * 127 fits.
inline __m256i dot_narrow(__m256i sum, __m256i codes, __m256i four) {
  const __m256i pairs = _mm256_maddubs_epi16(codes, four);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// Signs move to the activation, so the unsigned operand is |code| <= 128: 2 * 128 * 127 = 32512
// still fits in 16 bits, where code + 128 would not.
inline __m256i dot_wide(__m256i sum, __m256i codes, __m256i four) {
  return dot_narrow(sum, _mm256_abs_epi8(codes), _mm256_sign_epi8(four, codes));
}
inline __m256i broadcast_four(const int8_t* four) {
  int32_t bits;
  __builtin_memcpy(&bits, four, 4);
  return _mm256_set1_epi32(bits);
}
inline I32x16 dot_narrow(I32x16 sum, const Codes64& codes, const int8_t* four) {
  const __m256i activation = broadcast_four(four);
  return {dot_narrow(sum.low, codes.low, activation), dot_narrow(sum.high, codes.high, activation)};
}
inline I32x16 dot_wide(I32x16 sum, const Codes64& codes, const int8_t* four) {
  const __m256i activation = broadcast_four(four);
  return {dot_wide(sum.low, codes.low, activation), dot_wide(sum.high, codes.high, activation)};
}

}  // namespace
}  // namespace parkd::cpu
