#include "kernels/cpu/pack.h"

#include <cstring>

#include "kernels/common/block_formats.h"
#include "kernels/common/half.h"
#include "kernels/cpu/packed_form.h"

namespace parkd::cpu {
namespace {

uint16_t read_u16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}
void write_u16(uint8_t* p, uint16_t value) {
  std::memcpy(p, &value, 2);
}

int64_t source_block_elements(TensorType type) {
  return blocks::with_blocks(type, int64_t{1},
                             [](auto format) { return int64_t{decltype(format)::kElements}; });
}

int64_t source_block_bytes(TensorType type) {
  const int64_t plain = type == TensorType::f32 ? 4 : 2;
  return blocks::with_blocks(type, plain,
                             [](auto format) { return int64_t{decltype(format)::kBytes}; });
}

// Code i of 32 k of output `lane`: the byte in a plane of `bits` bits, and the bit in it.
struct Place {
  int64_t byte;
  int bit;
};
Place place_of(int bits, int i, int lane) {
  const int group = i / 4;
  return {int64_t{group % bits} * 64 + lane * 4 + i % 4, group / bits * bits};
}

// Planes of a code: the low bits' and the high bits', if it has some.
template <class Format>
void put_code(uint8_t* block, int i, int lane, unsigned code) {
  constexpr PackedForm kForm = packed_form<Format>();
  const Place low = place_of(kForm.low_bits, i, lane);
  const unsigned low_code = code & ((1U << kForm.low_bits) - 1U);
  block[low.byte] = static_cast<uint8_t>(block[low.byte] | low_code << low.bit);
  if constexpr (kForm.high_bits > 0) {
    uint8_t* plane = block + kForm.low_bits * 64;
    const Place high = place_of(kForm.high_bits, i, lane);
    const unsigned high_code = code >> kForm.low_bits;
    plane[high.byte] = static_cast<uint8_t>(plane[high.byte] | high_code << high.bit);
  }
}

template <class Format>
unsigned code_at(const uint8_t* block, int i, int lane) {
  constexpr PackedForm kForm = packed_form<Format>();
  const Place low = place_of(kForm.low_bits, i, lane);
  unsigned code = (unsigned{block[low.byte]} >> low.bit) & ((1U << kForm.low_bits) - 1U);
  if constexpr (kForm.high_bits > 0) {
    const Place high = place_of(kForm.high_bits, i, lane);
    const unsigned byte = block[kForm.low_bits * 64 + high.byte];
    code |= ((byte >> high.bit) & ((1U << kForm.high_bits) - 1U)) << kForm.low_bits;
  }
  return code;
}

// A power of two from 2^-128 on, which is a bf16.
uint16_t power_as_bf16(uint8_t e) {
  return static_cast<uint16_t>(blocks::power_bits(e) >> 16);
}

// One block of a row into its lane of a span.
template <class Format>
void pack_block(const uint8_t* from, int lane, uint8_t* span) {
  constexpr PackedForm kForm = packed_form<Format>();
  for (int first = 0; first < kForm.span; first += blocks::kPiece) {
    const uint64_t codes = Format::codes(from, first);
    uint8_t* block = span + first / kBlock * kForm.code_bytes();
    for (int i = 0; i < blocks::kPiece; ++i) {
      put_code<Format>(block, first % kBlock + i, lane, codes >> (8 * i) & 255U);
    }
  }
  if constexpr (kForm.has_factors()) {
    for (int run = 0; run < kForm.span / kForm.run; ++run) {
      uint8_t* factors = span + kForm.factors_at() + run * kForm.factor_bytes() + lane;
      factors[0] = static_cast<uint8_t>(Format::scale_factor(from, run));
      if constexpr (kForm.has_minimum) {
        factors[kPanelColumns] = static_cast<uint8_t>(Format::minimum_factor(from, run));
      }
    }
  }
  uint8_t* halves = span + kForm.halves_at() + lane * 2;
  if constexpr (Format::kScale == blocks::ScaleKind::power) {
    write_u16(halves, power_as_bf16(from[0]));
  } else {
    write_u16(halves, Format::scale_half(from));
  }
  if constexpr (kForm.has_minimum) {
    write_u16(halves + 2 * kPanelColumns, Format::minimum_half(from));
  }
}

template <class Format>
void pack_row(const uint8_t* row, int64_t k, int lane, uint8_t* panel) {
  constexpr PackedForm kForm = packed_form<Format>();
  for (int64_t s = 0; s < k / kForm.span; ++s) {
    pack_block<Format>(row + s * Format::kBytes, lane, panel + s * kForm.span_bytes());
  }
}

// A lane of a span as floats: the values that the block had.
template <class Format>
void unpack_block(const uint8_t* span, int lane, float* out) {
  constexpr PackedForm kForm = packed_form<Format>();
  const uint8_t* halves = span + kForm.halves_at() + lane * 2;
  const uint16_t half = read_u16(halves);
  const float d =
      Format::kScale == blocks::ScaleKind::power ? bf16_to_float(half) : f16_to_float(half);
  for (int run = 0; run < kForm.span / kForm.run; ++run) {
    float scale = d;
    float least = 0;
    if constexpr (kForm.has_minimum) least = f16_to_float(read_u16(halves + 2 * kPanelColumns));
    if constexpr (kForm.has_factors()) {
      const uint8_t* factors = span + kForm.factors_at() + run * kForm.factor_bytes() + lane;
      scale *= static_cast<float>(static_cast<int8_t>(factors[0]));
      if constexpr (kForm.has_minimum) {
        least *= static_cast<float>(static_cast<int8_t>(factors[kPanelColumns]));
      }
    }
    for (int i = run * kForm.run; i < (run + 1) * kForm.run; ++i) {
      const uint8_t* block = span + i / kBlock * kForm.code_bytes();
      const unsigned code = code_at<Format>(block, i % kBlock, lane);
      out[i] = scale * static_cast<float>(blocks::number_of<Format>(code, 0));
      if constexpr (kForm.has_minimum) out[i] += least;
    }
  }
}

// One float of a row into its panel.
void put_float(PanelType to, int lane, int64_t i, float value, uint8_t* panel) {
  if (to == PanelType::f32) {
    std::memcpy(panel + (i * kPanelColumns + lane) * 4, &value, 4);
  } else {
    const uint16_t half = float_to_bf16(value);
    std::memcpy(panel + ((i / 2 * kPanelColumns + lane) * 2 + i % 2) * 2, &half, 2);
  }
}

template <class Format>
void pack_blocks_as_floats(const uint8_t* row, int64_t k, PanelType to, int lane, uint8_t* panel) {
  for (int64_t i = 0; i < k; i += Format::kElements, row += Format::kBytes) {
    for (int first = 0; first < Format::kElements; first += blocks::kPiece) {
      float values[blocks::kPiece];
      blocks::read_values<Format>(row, first, values);
      for (int j = 0; j < blocks::kPiece; ++j) put_float(to, lane, i + first + j, values[j], panel);
    }
  }
}

void pack_floats(TensorType from, const uint8_t* row, int64_t k, PanelType to, int lane,
                 uint8_t* panel) {
  const bool done = blocks::with_blocks(from, false, [&](auto format) {
    pack_blocks_as_floats<decltype(format)>(row, k, to, lane, panel);
    return true;
  });
  if (done) return;
  for (int64_t i = 0; i < k; ++i) {
    float value;
    if (from == TensorType::f32) {
      std::memcpy(&value, row + i * 4, 4);
    } else {
      const uint16_t half = read_u16(row + i * 2);
      value = from == TensorType::f16 ? f16_to_float(half) : bf16_to_float(half);
    }
    put_float(to, lane, i, value, panel);
  }
}

float float_element(PanelType type, const uint8_t* panel, int lane, int64_t i) {
  if (type == TensorType::f32) {
    float value;
    std::memcpy(&value, panel + (i * kPanelColumns + lane) * 4, 4);
    return value;
  }
  return bf16_to_float(read_u16(panel + ((i / 2 * kPanelColumns + lane) * 2 + i % 2) * 2));
}

}  // namespace

int64_t panel_bytes(PanelType type, int64_t k) {
  const int64_t plain =
      type == TensorType::f32 ? k * kPanelColumns * 4 : ceil_div(k, 2) * 2 * kPanelColumns * 2;
  return blocks::with_blocks(type, plain, [&](auto format) -> int64_t {
    constexpr PackedForm kForm = packed_form<decltype(format)>();
    return k / kForm.span * kForm.span_bytes();
  });
}

int64_t source_row_bytes(TensorType type, int64_t k) {
  return k / source_block_elements(type) * source_block_bytes(type);
}

PanelType packed_type(TensorType type) {
  const bool is_plain = source_block_elements(type) == 1;
  return is_plain ? PanelType::bf16 : type;
}

void pack_matrix(TensorType from, const uint8_t* rows, int64_t n_outputs, int64_t k, PanelType to,
                 uint8_t* panels) {
  const int64_t row_bytes = source_row_bytes(from, k);
  for (int64_t n = 0; n < n_outputs; ++n) {
    const uint8_t* row = rows + n * row_bytes;
    uint8_t* panel = panels + n / kPanelColumns * panel_bytes(to, k);
    const auto lane = static_cast<int>(n % kPanelColumns);
    const bool done = blocks::with_blocks(to, false, [&](auto format) {
      pack_row<decltype(format)>(row, k, lane, panel);
      return true;
    });
    if (!done) pack_floats(from, row, k, to, lane, panel);
  }
}

void unpack_row(const PackedMatrix& matrix, int64_t output, float* out) {
  const uint8_t* panel =
      matrix.panels + output / kPanelColumns * panel_bytes(matrix.type, matrix.k);
  const auto lane = static_cast<int>(output % kPanelColumns);
  const bool done = blocks::with_blocks(matrix.type, false, [&](auto format) {
    using Format = decltype(format);
    constexpr PackedForm kForm = packed_form<Format>();
    for (int64_t i = 0; i < matrix.k; i += kForm.span, panel += kForm.span_bytes()) {
      unpack_block<Format>(panel, lane, out + i);
    }
    return true;
  });
  if (done) return;
  for (int64_t i = 0; i < matrix.k; ++i) out[i] = float_element(matrix.type, panel, lane, i);
}

}  // namespace parkd::cpu
