// Kernels on single rows: norm, gate, rope, quantisation. Included after one simd_*.h.
//
// Plain loops here hold no reductions in float and the file is compiled with -ffp-contract=off, so
// whatever the compiler vectorises keeps its bits.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {
namespace {

void quantise_row(const float* in, int64_t k, int8_t* q8, ActivationBlock* blocks) {
  for (int64_t b = 0; b < k / kBlock; ++b, in += kBlock, q8 += kBlock) {
    uint32_t amax_bits = 0;  // magnitudes of floats order like their bits; NaN is the greatest
    for (int i = 0; i < kBlock; ++i) {
      const uint32_t bits = float_to_bits(in[i]) & 0x7FFFFFFFU;
      amax_bits = bits > amax_bits ? bits : amax_bits;
    }
    const float amax = bits_to_float(amax_bits);
    const float inverse = amax_bits >= 0x00800000U ? 127.0F / amax : 0.0F;
    int32_t halves[2] = {0, 0};
    for (int h = 0; h < 2; ++h) {
      for (int i = h * kBlock / 2; i < (h + 1) * kBlock / 2; ++i) {
        // 1.5 * 2^23 rounds to nearest even and leaves the integer in the low bits.
        const float shifted = in[i] * inverse + 12582912.0F;
        const auto code = static_cast<int8_t>(float_to_bits(shifted) - 0x4B400000U);
        q8[i] = code;
        halves[h] += code;
      }
    }
    const float scale = amax / 127.0F;
    const int32_t sums[3] = {halves[0] + halves[1], halves[0], halves[1]};
    blocks[b].scale = scale;
    for (int i = 0; i < 3; ++i) {
      blocks[b].scaled_sums[i] = scale * static_cast<float>(sums[i]);
      blocks[b].minus_sums[i] = -sums[i];
    }
  }
}

void to_bf16(const float* in, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = float_to_bf16(in[i]);
}

inline float rms_factor(const float* in, int64_t n, float eps) {
  F32x16 squares = broadcast(0.0F);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 x = load(in + i);
    squares = fma(x, x, squares);
  }
  if (i < n) {
    const F32x16 x = load_first(in + i, static_cast<int>(n - i));
    squares = fma(x, x, squares);
  }
  const float mean = sum_lanes(squares) / static_cast<float>(n);
  return 1.0F / __builtin_sqrtf(mean + eps);
}

void rms_norm(const float* in, const float* weight, int64_t n, float eps, float* out) {
  const float factor = rms_factor(in, n, eps);
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] * factor * weight[i];
}

void rms_norm_add(const float* in, const float* weight, int64_t n, float eps, float* sum) {
  const float factor = rms_factor(in, n, eps);
  for (int64_t i = 0; i < n; ++i) sum[i] += in[i] * factor * weight[i];
}

// What e is raised to in the denominator: silu(g) = g / (1 + e^-g); gelu_tanh(g) = g / (1 + e^-2u)
// with u = sqrt(2 / pi) * (g + 0.044715 g^3).
template <Gate activation>
inline F32x16 gate_exponent(F32x16 g) {
  if constexpr (activation == Gate::silu) {
    return subtract(broadcast(0.0F), g);
  } else {
    const F32x16 cube = multiply(multiply(g, g), g);
    return multiply(broadcast(-1.59576912F), fma(cube, broadcast(0.044715F), g));
  }
}

template <Gate activation>
void gate_mul_as(const float* gate, const float* up, int64_t n, float* out) {
  const F32x16 one = broadcast(1.0F);
  for (int64_t i = 0; i < n; i += 16) {
    const int left = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F32x16 g = load_first(gate + i, left);
    const F32x16 denominator = add(one, exponential(gate_exponent<activation>(g)));
    store_first(out + i, multiply(divide(g, denominator), load_first(up + i, left)), left);
  }
}

void gate_mul(Gate activation, const float* gate, const float* up, int64_t n, float* out) {
  switch (activation) {
    case Gate::silu:
      return gate_mul_as<Gate::silu>(gate, up, n, out);
    case Gate::gelu_tanh:
      return gate_mul_as<Gate::gelu_tanh>(gate, up, n, out);
  }
}

void rope(float* heads, int64_t n_heads, int64_t head_dim, const float* cos_sin, bool interleaved) {
  const int64_t half = head_dim / 2;
  const int64_t step = interleaved ? 2 : 1;      // from pair to pair
  const int64_t apart = interleaved ? 1 : half;  // from first to second of a pair
  for (int64_t h = 0; h < n_heads; ++h, heads += head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const float c = cos_sin[2 * i];
      const float s = cos_sin[2 * i + 1];
      const float x = heads[i * step];
      const float y = heads[i * step + apart];
      heads[i * step] = x * c - y * s;
      heads[i * step + apart] = x * s + y * c;
    }
  }
}

}  // namespace
}  // namespace parkd::cpu
