// Products of int8 activations with packed codes (packed_form.h): one loop, of which the types'
// forms are parameters. Included after one simd_*.h and before matmul_kernels.h.
//
// Integer dots over a run of 16 or 32 k are exact, then, run after run,
//   sum += float(dot) * (weight scale * activation scale)
//   sum += weight minimum * activation's scaled sum           (where the type has one)
// and scale and minimum of the K types are exact products of their half and factor.
#pragma once

#include <utility>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/packed_form.h"

namespace parkd::cpu {
namespace {

constexpr int smaller(int a, int b) {
  return a < b ? a : b;
}
constexpr int log2_of(int x) {
  return x <= 1 ? 0 : 1 + log2_of(x / 2);
}

// A table's numbers as unsigned bytes: wide ones 128 higher, narrow ones 16.
struct Table16 {
  alignas(16) uint8_t entry[16];
};
template <class Format>
constexpr Table16 make_table(int offset) {
  Table16 table{};
  for (int i = 0; i < 16; ++i) {
    table.entry[i] = static_cast<uint8_t>(blocks::table_number<Format::kTable>(i) + offset);
  }
  return table;
}

template <class Format>
struct Unpacked {
  static constexpr PackedForm kForm = packed_form<Format>();
  static constexpr bool kHasTable = kForm.table != blocks::CodeTable::none;
  static constexpr int kTableOffset = kForm.is_wide() ? 128 : 16;
  static constexpr Table16 kTable = kHasTable ? make_table<Format>(kTableOffset) : Table16{};
  // What the dots' codes are too great by.
  static constexpr int kOffset = kForm.is_wide() ? kWideOffset
                                 : kHasTable     ? kTableOffset
                                                 : kForm.offset;
};

// The `bits` bits of group `group`, from bit `to` on.
template <int bits, int group, int to>
inline Codes64 plane_codes(const uint8_t* plane) {
  constexpr int kFrom = group / bits * bits;
  constexpr auto kMask = static_cast<uint8_t>(((1 << bits) - 1) << to);
  const Codes64 codes = load_codes(plane + group % bits * 64);
  if constexpr (bits == 8) return codes;
  return shift_and_mask<to - kFrom>(codes, kMask);
}

template <class Format, int group>
inline Codes64 load_group(const uint8_t* block) {
  using From = Unpacked<Format>;
  constexpr PackedForm kForm = From::kForm;
  Codes64 codes = plane_codes<kForm.low_bits, group, 0>(block);
  if constexpr (kForm.high_bits > 0) {
    codes = either(
        codes, plane_codes<kForm.high_bits, group, kForm.low_bits>(block + kForm.low_bits * 64));
  }
  if constexpr (From::kHasTable) codes = look_up(codes, From::kTable.entry);
  if constexpr (kForm.is_wide()) codes = wide_codes(codes);
  return codes;
}

template <class Format, int first, int... groups>
inline void load_groups(const uint8_t* block, Codes64* codes,
                        std::integer_sequence<int, groups...>) {
  ((codes[groups] = load_group<Format, first + groups>(block)), ...);
}

template <class Format>
inline F32x16 load_scales(const uint16_t* halves) {
  if constexpr (Format::kScale == blocks::ScaleKind::power) return load_bf16(halves);
  return load_f16(halves);
}

// Adds run `run` of a 32-block to the sums. Pointers are to the block's codes, the run's factors,
// the span's halves, and the first row's activations of the block.
template <class Format, int n_tile, int run>
inline void add_run(const uint8_t* block, const uint8_t* factors, const uint16_t* halves,
                    const ActivationRows& in, const int8_t* q8, const ActivationBlock* activations,
                    F32x16 (&sums)[n_tile]) {
  using From = Unpacked<Format>;
  constexpr PackedForm kForm = From::kForm;
  constexpr int kRunGroups = kForm.run / 4;
  constexpr int kSum = kForm.run == kBlock ? 0 : 1 + run;  // in ActivationBlock
  // Rows whose chains of dots run side by side, to hide the instruction's latency.
  constexpr int kTogether = smaller(n_tile, 4);
  Codes64 codes[kRunGroups];
  load_groups<Format, run * kRunGroups>(block, codes,
                                        std::make_integer_sequence<int, kRunGroups>());
  F32x16 scale = load_scales<Format>(halves);
  F32x16 least = broadcast(0.0F);
  if constexpr (kForm.has_minimum) least = load_f16(halves + kPanelColumns);
  if constexpr (kForm.has_factors()) {
    scale = multiply(scale, load_int8(factors));
    if constexpr (kForm.has_minimum) least = multiply(least, load_int8(factors + kPanelColumns));
  }
#pragma GCC unroll 16
  for (int m = 0; m < n_tile; m += kTogether) {
    I32x16 dots[kTogether];
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
      if constexpr (From::kOffset == 0) {
        dots[i] = broadcast_i32(0);
      } else {
        dots[i] = broadcast_times<log2_of(From::kOffset)>(
            &activations[(m + i) * in.blocks_stride].minus_sums[kSum]);
      }
    }
#pragma GCC unroll 8
    for (int g = 0; g < kRunGroups; ++g) {
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) {
        const int8_t* four = q8 + (m + i) * in.q8_stride + (run * kRunGroups + g) * 4;
        if constexpr (kForm.is_wide()) {
          dots[i] = dot_wide(dots[i], codes[g], four);
        } else {
          dots[i] = dot_narrow(dots[i], codes[g], four);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
      const ActivationBlock& activation = activations[(m + i) * in.blocks_stride];
      const F32x16 both = multiply(scale, broadcast(activation.scale));
      sums[m + i] = fma(to_float(dots[i]), both, sums[m + i]);
      if constexpr (kForm.has_minimum) {
        sums[m + i] = fma(least, broadcast(activation.scaled_sums[kSum]), sums[m + i]);
      }
    }
  }
}

template <class Format, int n_tile>
inline void sum_packed(const MatmulArgs& args, int64_t first_row, int64_t panel,
                       F32x16 (&sums)[n_tile]) {
  constexpr PackedForm kForm = packed_form<Format>();
  const int64_t n_spans = args.weight.k / kForm.span;
  const uint8_t* span = args.weight.panels + panel * n_spans * kForm.span_bytes();
  const int8_t* q8 = args.in.q8 + first_row * args.in.q8_stride;
  const ActivationBlock* activations = args.in.blocks + first_row * args.in.blocks_stride;
  for (int64_t s = 0; s < n_spans; ++s, span += kForm.span_bytes()) {
    const auto* halves = reinterpret_cast<const uint16_t*>(span + kForm.halves_at());
    const uint8_t* block = span;
    const uint8_t* factors = span + kForm.factors_at();
#pragma GCC unroll 1
    for (int b = 0; b < kForm.span / kBlock; ++b) {
      add_run<Format, n_tile, 0>(block, factors, halves, args.in, q8, activations, sums);
      if constexpr (kForm.run < kBlock) {
        add_run<Format, n_tile, 1>(block, factors + kForm.factor_bytes(), halves, args.in, q8,
                                   activations, sums);
      }
      block += kForm.code_bytes();
      factors += kBlock / kForm.run * kForm.factor_bytes();
      q8 += kBlock;
      ++activations;
    }
  }
}

}  // namespace
}  // namespace parkd::cpu
