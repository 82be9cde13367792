// Matrix products of activation rows with packed panels. Included after one simd_*.h.
//
// A register tile is n_tile rows by one panel of 16 outputs; each output is one chain over k, so a
// tile's height changes no bits. Quantised: integer dots inside a 32-block are exact, then
//   sum += float(dot) * (weight scale * activation scale)
//   sum += weight minimum * activation's scaled sum          (q4_1)
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {
namespace {

template <int n_tile>
inline void write_tile(const MatmulArgs& args, int64_t first_row, int64_t panel,
                       const F32x16 (&sums)[n_tile]) {
  const int64_t column = panel * kPanelColumns;
  const int64_t left = args.weight.n_outputs - column;
  const int n = left < kPanelColumns ? static_cast<int>(left) : kPanelColumns;
  for (int m = 0; m < n_tile; ++m) {
    float* out = args.out + (first_row + m) * args.out_stride + column;
    if (n == kPanelColumns) {
      store(out, args.add ? add(load(out), sums[m]) : sums[m]);
    } else {
      store_first(out, args.add ? add(load_first(out, n), sums[m]) : sums[m], n);
    }
  }
}

template <PanelType type>
constexpr int64_t quantised_block_bytes() {
  return type == PanelType::q8_0 ? 544 : type == PanelType::q4_1 ? 320 : 288;
}

// The codes of one block: 8 groups of (16 outputs, 4 k).
template <PanelType type>
inline void load_block(const uint8_t* block, Codes64 (&codes)[8]) {
  if constexpr (type == PanelType::q8_0) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) codes[g] = load_q8(block + g * 64);
  } else {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) load_nibbles(block + g * 64, codes[g], codes[g + 4]);
  }
}

constexpr int smaller(int a, int b) {
  return a < b ? a : b;
}

template <PanelType type>
inline I32x16 block_start(const ActivationBlock& activation) {
  if constexpr (type == PanelType::q8_0) return q8_start(activation.minus_128_sum);
  if constexpr (type == PanelType::q4_0) return broadcast_i32(activation.minus_8_sum);
  return broadcast_i32(0);
}

template <PanelType type, int n_tile>
inline void quantised_tile(const MatmulArgs& args, int64_t first_row, int64_t panel) {
  constexpr int64_t kBytes = quantised_block_bytes<type>();
  constexpr int kCodeBytes = type == PanelType::q8_0 ? 512 : 256;
  // Rows whose chains of dots run side by side, to hide the instruction's latency.
  constexpr int kTogether = smaller(n_tile, 4);
  const int64_t n_blocks = args.weight.k / kBlock;
  const uint8_t* block = args.weight.panels + panel * n_blocks * kBytes;
  const int8_t* q8 = args.in.q8 + first_row * args.in.q8_stride;
  const ActivationBlock* activations = args.in.blocks + first_row * args.in.blocks_stride;
  F32x16 sums[n_tile];
#pragma GCC unroll 16
  for (int m = 0; m < n_tile; ++m) sums[m] = broadcast(0.0F);
  for (int64_t b = 0; b < n_blocks; ++b, block += kBytes, q8 += kBlock, ++activations) {
    Codes64 codes[8];
    load_block<type>(block, codes);
    const auto* halves = reinterpret_cast<const uint16_t*>(block + kCodeBytes);
    const F32x16 scale = load_f16(halves);
    F32x16 least = broadcast(0.0F);
    if constexpr (type == PanelType::q4_1) least = load_f16(halves + kPanelColumns);
#pragma GCC unroll 16
    for (int m = 0; m < n_tile; m += kTogether) {
      I32x16 dots[kTogether];
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) {
        dots[i] = block_start<type>(activations[(m + i) * args.in.blocks_stride]);
      }
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
#pragma GCC unroll 4
        for (int i = 0; i < kTogether; ++i) {
          const int8_t* four = q8 + (m + i) * args.in.q8_stride + g * 4;
          if constexpr (type == PanelType::q8_0) {
            dots[i] = dot_q8(dots[i], codes[g], four);
          } else {
            dots[i] = dot_nibbles(dots[i], codes[g], four);
          }
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) {
        const ActivationBlock& activation = activations[(m + i) * args.in.blocks_stride];
        const F32x16 both = multiply(scale, broadcast(activation.scale));
        sums[m + i] = fma(to_float(dots[i]), both, sums[m + i]);
        if constexpr (type == PanelType::q4_1) {
          sums[m + i] = fma(least, broadcast(activation.scaled_sum), sums[m + i]);
        }
      }
    }
  }
  write_tile<n_tile>(args, first_row, panel, sums);
}

template <int n_tile>
inline void bf16_tile(const MatmulArgs& args, int64_t first_row, int64_t panel) {
  const int64_t n_pairs = ceil_div(args.weight.k, 2);
  const auto* weight =
      reinterpret_cast<const uint16_t*>(args.weight.panels) + panel * n_pairs * 2 * kPanelColumns;
  const uint16_t* in = args.in.bf16 + first_row * args.in.bf16_stride;
  F32x16 sums[n_tile];
#pragma GCC unroll 16
  for (int m = 0; m < n_tile; ++m) sums[m] = broadcast(0.0F);
  for (int64_t p = 0; p < n_pairs; ++p) {
    const Bf16x32 w = load_pairs(weight + p * 2 * kPanelColumns);
#pragma GCC unroll 16
    for (int m = 0; m < n_tile; ++m) {
      uint32_t pair;
      __builtin_memcpy(&pair, in + m * args.in.bf16_stride + p * 2, 4);
      sums[m] = dot_pair(sums[m], w, pair);
    }
  }
  write_tile<n_tile>(args, first_row, panel, sums);
}

template <int n_tile>
inline void f32_tile(const MatmulArgs& args, int64_t first_row, int64_t panel) {
  const int64_t k = args.weight.k;
  const float* weight =
      reinterpret_cast<const float*>(args.weight.panels) + panel * k * kPanelColumns;
  const float* in = args.in.f32 + first_row * args.in.f32_stride;
  F32x16 sums[n_tile];
#pragma GCC unroll 16
  for (int m = 0; m < n_tile; ++m) sums[m] = broadcast(0.0F);
  for (int64_t i = 0; i < k; ++i) {
    const F32x16 w = load(weight + i * kPanelColumns);
#pragma GCC unroll 16
    for (int m = 0; m < n_tile; ++m) {
      sums[m] = fma(w, broadcast(in[m * args.in.f32_stride + i]), sums[m]);
    }
  }
  write_tile<n_tile>(args, first_row, panel, sums);
}

template <PanelType type, int n_tile>
inline void tile(const MatmulArgs& args, int64_t first_row, int64_t panel) {
  if constexpr (type == PanelType::f32) {
    f32_tile<n_tile>(args, first_row, panel);
  } else if constexpr (type == PanelType::bf16) {
    bf16_tile<n_tile>(args, first_row, panel);
  } else {
    quantised_tile<type, n_tile>(args, first_row, panel);
  }
}

// Panels outermost: a panel is read from memory once and stays in L1 for all its rows.
template <PanelType type>
void matmul_panels(const MatmulArgs& args) {
  for (int64_t panel = args.first_panel; panel < args.last_panel; ++panel) {
    int64_t row = 0;
    for (; row + 16 <= args.n_rows; row += 16) tile<type, 16>(args, row, panel);
    if (args.n_rows - row >= 8) tile<type, 8>(args, row, panel), row += 8;
    if (args.n_rows - row >= 4) tile<type, 4>(args, row, panel), row += 4;
    if (args.n_rows - row >= 2) tile<type, 2>(args, row, panel), row += 2;
    if (args.n_rows - row >= 1) tile<type, 1>(args, row, panel);
  }
}

void matmul(const MatmulArgs& args) {
  switch (args.weight.type) {
    case PanelType::q4_0:
      return matmul_panels<PanelType::q4_0>(args);
    case PanelType::q4_1:
      return matmul_panels<PanelType::q4_1>(args);
    case PanelType::q8_0:
      return matmul_panels<PanelType::q8_0>(args);
    case PanelType::bf16:
      return matmul_panels<PanelType::bf16>(args);
    case PanelType::f32:
      return matmul_panels<PanelType::f32>(args);
  }
}

int64_t run_dots(int64_t rounds) {
  constexpr int kDots = 16;
  alignas(64) uint8_t bytes[64] = {1, 2, 3};
  alignas(64) int8_t four[4] = {1, -1, 2, 0};
  Codes64 codes;
  Codes64 unused;
  load_nibbles(bytes, codes, unused);
  I32x16 sums[kDots];
#pragma GCC unroll 16
  for (int i = 0; i < kDots; ++i) sums[i] = broadcast_i32(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kDots; ++i) {
      asm volatile("" : "+m"(four));  // not the same activation for all the compiler knows
      sums[i] = dot_nibbles(sums[i], codes, four);
    }
  }
  F32x16 total = broadcast(0.0F);
#pragma GCC unroll 16
  for (int i = 0; i < kDots; ++i) total = add(total, to_float(sums[i]));
  // The comparison keeps the sums alive.
  return rounds * kDots * 128 + (sum_lanes(total) == 0.5F ? 1 : 0);
}

}  // namespace
}  // namespace parkd::cpu
