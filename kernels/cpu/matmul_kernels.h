// Matrix products of activation rows with panels. Included after one simd_*.h and
// packed_kernels.h.
//
// A register tile is n_tile rows by one panel of 16 outputs; each output is one chain over k, so a
// tile's height changes no bits.
#pragma once

#include <type_traits>

#include "kernels/common/block_formats.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/packed_kernels.h"

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

// The panels of plain numbers.
struct Bf16Panels {};
struct F32Panels {};

template <int n_tile>
inline void sum_bf16(const MatmulArgs& args, int64_t first_row, int64_t panel,
                     F32x16 (&sums)[n_tile]) {
  const int64_t n_pairs = ceil_div(args.weight.k, 2);
  const auto* weight =
      reinterpret_cast<const uint16_t*>(args.weight.panels) + panel * n_pairs * 2 * kPanelColumns;
  const uint16_t* in = args.in.bf16 + first_row * args.in.bf16_stride;
  for (int64_t p = 0; p < n_pairs; ++p) {
    const Bf16x32 w = load_pairs(weight + p * 2 * kPanelColumns);
#pragma GCC unroll 16
    for (int m = 0; m < n_tile; ++m) {
      uint32_t pair;
      __builtin_memcpy(&pair, in + m * args.in.bf16_stride + p * 2, 4);
      sums[m] = dot_pair(sums[m], w, pair);
    }
  }
}

template <int n_tile>
inline void sum_f32(const MatmulArgs& args, int64_t first_row, int64_t panel,
                    F32x16 (&sums)[n_tile]) {
  const int64_t k = args.weight.k;
  const float* weight =
      reinterpret_cast<const float*>(args.weight.panels) + panel * k * kPanelColumns;
  const float* in = args.in.f32 + first_row * args.in.f32_stride;
  for (int64_t i = 0; i < k; ++i) {
    const F32x16 w = load(weight + i * kPanelColumns);
#pragma GCC unroll 16
    for (int m = 0; m < n_tile; ++m) {
      sums[m] = fma(w, broadcast(in[m * args.in.f32_stride + i]), sums[m]);
    }
  }
}

// Panels: one of blocks::'s formats, or of the plain ones.
template <class Panels, int n_tile>
inline void tile(const MatmulArgs& args, int64_t first_row, int64_t panel) {
  F32x16 sums[n_tile];
#pragma GCC unroll 16
  for (int m = 0; m < n_tile; ++m) sums[m] = broadcast(0.0F);
  if constexpr (std::is_same_v<Panels, F32Panels>) {
    sum_f32<n_tile>(args, first_row, panel, sums);
  } else if constexpr (std::is_same_v<Panels, Bf16Panels>) {
    sum_bf16<n_tile>(args, first_row, panel, sums);
  } else {
    sum_packed<Panels, n_tile>(args, first_row, panel, sums);
  }
  write_tile<n_tile>(args, first_row, panel, sums);
}

// Panels outermost: a panel is read from memory once and stays in L1 for all its rows.
template <class Panels>
void matmul_panels(const MatmulArgs& args) {
  for (int64_t panel = args.first_panel; panel < args.last_panel; ++panel) {
    int64_t row = 0;
    if constexpr (kTallestTile == 16) {
      for (; row + 16 <= args.n_rows; row += 16) tile<Panels, 16>(args, row, panel);
      if (args.n_rows - row >= 8) tile<Panels, 8>(args, row, panel), row += 8;
    }
    for (; row + 4 <= args.n_rows; row += 4) tile<Panels, 4>(args, row, panel);
    if (args.n_rows - row >= 2) tile<Panels, 2>(args, row, panel), row += 2;
    if (args.n_rows - row >= 1) tile<Panels, 1>(args, row, panel);
  }
}

void matmul(const MatmulArgs& args) {
  const bool done = blocks::with_blocks(args.weight.type, false, [&](auto format) {
    matmul_panels<decltype(format)>(args);
    return true;
  });
  if (done) return;
  args.weight.type == TensorType::f32 ? matmul_panels<F32Panels>(args)
                                      : matmul_panels<Bf16Panels>(args);
}

int64_t run_dots(int64_t rounds) {
  constexpr int kDots = 16;
  alignas(64) uint8_t bytes[64] = {1, 2, 3};
  alignas(64) int8_t four[4] = {1, -1, 2, 0};
  const Codes64 codes = load_codes(bytes);
  I32x16 sums[kDots];
#pragma GCC unroll 16
  for (int i = 0; i < kDots; ++i) sums[i] = broadcast_i32(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kDots; ++i) {
      asm volatile("" : "+m"(four));  // not the same activation for all the compiler knows
      sums[i] = dot_narrow(sums[i], codes, four);
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
