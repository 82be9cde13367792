// The one form in which the CPU's integer products read quantised weights: every type of
// kernels/common/block_formats.h is some of its parameters, and the map is exact for all of them
// (README.md has the table). Constants alone.
//
// A panel holds 16 outputs ("lanes"), and k in spans: what shares one pair of halves, a block of
// the type. A span is, one after the other,
//   codes    of each 32 k: the low bits' plane, then the high bits'
//   factors  of each 32 k and run: 16 int8 of the scale, 16 int8 of the minimum (K types)
//   halves   16 scales, 16 minima: f16, or bf16 where the scale is a power of two
// The parts that a type does not have take no room. Codes of 32 k are 8 groups of (16 outputs, 4
// k), 64 codes each; in a plane of b bits, group g is in the 64 bytes number g % b, from bit g / b
// * b of each byte on.
#pragma once

#include <cstdint>

#include "kernels/common/block_formats.h"
#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {

inline constexpr int kGroups = kBlock / 4;

struct PackedForm {
  int low_bits;   // of a code: 2, 4 or 8
  int high_bits;  // above them: 0, 1 or 2
  int run;        // k that share a scale: 16 or 32
  int span;       // k that share the halves: 32 or 256
  int offset;     // number = code - offset, or its entry in the table
  blocks::CodeTable table;
  blocks::ScaleKind scale;
  bool has_minimum;

  constexpr bool has_factors() const { return scale == blocks::ScaleKind::half_times_factor; }
  // Numbers of the whole range of int8, whose products AVX2 cannot add as unsigned ones.
  constexpr bool is_wide() const { return low_bits == 8 || table == blocks::CodeTable::iq4; }
  constexpr int code_bytes() const { return (low_bits + high_bits) * 64; }
  constexpr int factor_bytes() const {  // of a run
    return has_factors() ? kPanelColumns * (has_minimum ? 2 : 1) : 0;
  }
  constexpr int factors_at() const { return span / kBlock * code_bytes(); }
  constexpr int halves_at() const { return factors_at() + span / run * factor_bytes(); }
  constexpr int span_bytes() const { return halves_at() + kPanelColumns * (has_minimum ? 4 : 2); }
};

template <class Format>
constexpr PackedForm packed_form() {
  PackedForm form{};
  form.low_bits = Format::kBits == 8 ? 8 : Format::kBits >= 4 ? 4 : 2;
  form.high_bits = Format::kBits - form.low_bits;
  form.run = Format::kRun;
  form.span = Format::kElements;
  form.offset = Format::kOffset;
  form.table = Format::kTable;
  form.scale = Format::kScale;
  form.has_minimum = Format::kMinimum != blocks::MinimumKind::none;
  return form;
}

}  // namespace parkd::cpu
