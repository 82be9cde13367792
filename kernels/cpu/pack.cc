#include "kernels/cpu/pack.h"

#include <cstring>

#include "kernels/common/block_formats.h"
#include "kernels/common/half.h"

namespace parkd::cpu {
namespace {

uint16_t read_u16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}

int64_t source_block_elements(SourceType type) {
  return blocks::with_blocks(type, int64_t{1},
                             [](auto format) { return int64_t{decltype(format)::kElements}; });
}

int64_t source_block_bytes(SourceType type) {
  const int64_t plain = type == SourceType::f32 ? 4 : 2;
  return blocks::with_blocks(type, plain,
                             [](auto format) { return int64_t{decltype(format)::kBytes}; });
}

int64_t panel_code_bytes(PanelType type) {
  return type == PanelType::q8_0 ? 512 : 256;
}

int64_t panel_block_bytes(PanelType type) {
  return panel_code_bytes(type) + 2 * kPanelColumns * (type == PanelType::q4_1 ? 2 : 1);
}

// Code i of a source block, as unsigned: q4's nibble, q8's int8 + 128.
uint8_t source_code(SourceType type, const uint8_t* block, int i) {
  switch (type) {
    case SourceType::q4_0:
    case SourceType::q4_1: {
      const uint8_t byte = block[(type == SourceType::q4_0 ? 2 : 4) + i % 16];
      return static_cast<uint8_t>(i < 16 ? byte & 15 : byte >> 4);
    }
    default:
      return static_cast<uint8_t>(block[2 + i] ^ 0x80);
  }
}

// Where code i of output `lane` lies in a panel block.
int64_t code_offset(int i, int lane) {
  return int64_t{i / 4} * 64 + lane * 4 + i % 4;
}

void pack_quantised_block(SourceType from, const uint8_t* block, PanelType to, int lane,
                          uint8_t* out) {
  for (int i = 0; i < kBlock; ++i) {
    const uint8_t code = source_code(from, block, i);
    const int64_t at = code_offset(i, lane);
    if (to == PanelType::q8_0) {
      out[at] = code;
    } else if (at < 256) {
      out[at] = static_cast<uint8_t>(out[at] | code);
    } else {
      out[at - 256] = static_cast<uint8_t>(out[at - 256] | code << 4);
    }
  }
  uint8_t* halves = out + panel_code_bytes(to) + lane * 2;
  std::memcpy(halves, block, 2);
  if (to == PanelType::q4_1) std::memcpy(halves + 2 * kPanelColumns, block + 2, 2);
}

void pack_quantised(SourceType from, const uint8_t* row, int64_t k, PanelType to, int lane,
                    uint8_t* panel) {
  for (int64_t b = 0; b < k / kBlock; ++b) {
    pack_quantised_block(from, row + b * source_block_bytes(from), to, lane,
                         panel + b * panel_block_bytes(to));
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

void pack_floats(SourceType from, const uint8_t* row, int64_t k, PanelType to, int lane,
                 uint8_t* panel) {
  const bool done = blocks::with_blocks(from, false, [&](auto format) {
    pack_blocks_as_floats<decltype(format)>(row, k, to, lane, panel);
    return true;
  });
  if (done) return;
  for (int64_t i = 0; i < k; ++i) {
    float value;
    if (from == SourceType::f32) {
      std::memcpy(&value, row + i * 4, 4);
    } else {
      const uint16_t half = read_u16(row + i * 2);
      value = from == SourceType::f16 ? f16_to_float(half) : bf16_to_float(half);
    }
    put_float(to, lane, i, value, panel);
  }
}

float panel_element(PanelType type, const uint8_t* panel, int lane, int64_t i) {
  if (type == PanelType::f32) {
    float value;
    std::memcpy(&value, panel + (i * kPanelColumns + lane) * 4, 4);
    return value;
  }
  if (type == PanelType::bf16) {
    return bf16_to_float(read_u16(panel + ((i / 2 * kPanelColumns + lane) * 2 + i % 2) * 2));
  }
  const uint8_t* block = panel + i / kBlock * panel_block_bytes(type);
  const uint8_t* halves = block + panel_code_bytes(type) + lane * 2;
  const float d = f16_to_float(read_u16(halves));
  const int64_t at = code_offset(static_cast<int>(i % kBlock), lane);
  if (type == PanelType::q8_0) return d * static_cast<float>(block[at] - 128);
  const int code = at < 256 ? block[at] & 15 : block[at - 256] >> 4;
  if (type == PanelType::q4_0) return d * static_cast<float>(code - 8);
  return d * static_cast<float>(code) + f16_to_float(read_u16(halves + 2 * kPanelColumns));
}

}  // namespace

int64_t panel_bytes(PanelType type, int64_t k) {
  switch (type) {
    case PanelType::f32:
      return k * kPanelColumns * 4;
    case PanelType::bf16:
      return ceil_div(k, 2) * 2 * kPanelColumns * 2;
    default:
      return k / kBlock * panel_block_bytes(type);
  }
}

int64_t source_row_bytes(SourceType type, int64_t k) {
  return k / source_block_elements(type) * source_block_bytes(type);
}

PanelType packed_type(SourceType type) {
  switch (type) {
    case SourceType::q4_0:
      return PanelType::q4_0;
    case SourceType::q4_1:
      return PanelType::q4_1;
    case SourceType::q8_0:
      return PanelType::q8_0;
    default:
      return PanelType::bf16;
  }
}

void pack_matrix(SourceType from, const uint8_t* rows, int64_t n_outputs, int64_t k, PanelType to,
                 uint8_t* panels) {
  const int64_t row_bytes = source_row_bytes(from, k);
  for (int64_t n = 0; n < n_outputs; ++n) {
    const uint8_t* row = rows + n * row_bytes;
    uint8_t* panel = panels + n / kPanelColumns * panel_bytes(to, k);
    const auto lane = static_cast<int>(n % kPanelColumns);
    if (to == PanelType::f32 || to == PanelType::bf16) {
      pack_floats(from, row, k, to, lane, panel);
    } else {
      pack_quantised(from, row, k, to, lane, panel);
    }
  }
}

void unpack_row(const PackedMatrix& matrix, int64_t output, float* out) {
  const uint8_t* panel =
      matrix.panels + output / kPanelColumns * panel_bytes(matrix.type, matrix.k);
  const auto lane = static_cast<int>(output % kPanelColumns);
  for (int64_t i = 0; i < matrix.k; ++i) out[i] = panel_element(matrix.type, panel, lane, i);
}

}  // namespace parkd::cpu
