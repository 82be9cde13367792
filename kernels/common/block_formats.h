// The blocks of GGUF's quantised types: where a block keeps its codes and scales, each layout
// written once, for loading on the CPU and for the device. Source: ggml's ggml-common.h. Pure
// functions of a block's bytes, little-endian, of any alignment; any thread.
//
// Every type is one shape. A block holds kElements numbers; kRun of them, side by side, share a
// scale:
//   number  = code - kOffset, or the code's entry in a table; a code has kBits bits
//   value   = scale * number + minimum
//   scale   = f16 of the block * scale_factor     (MXFP4: a power of two)
//   minimum = f16 of the block * minimum_factor   (where the type has one; the K types subtract
//   theirs,
//             so the f16's sign is turned as it is read)
// The products are exact in float, so a value is rounded at most once, by its sum, and does not
// depend on how a compiler fuses: this is ggml's value bit for bit.
#pragma once

#include <cstdint>

#include "kernels/common/half.h"
#include "kernels/common/host_device.h"
#include "kernels/common/tensor_type.h"

namespace parkd::blocks {

inline constexpr int kPiece = 8;  // codes that are read at once, one a byte, the first the lowest

enum class CodeTable { none, iq4, e2m1 };  // what a code of 4 bits stands for
enum class ScaleKind { half, half_times_factor, power };
enum class MinimumKind { none, half, half_times_factor };

PARKD_HOST_DEVICE inline uint64_t read_piece(const uint8_t* from) {
  uint64_t bytes = 0;
  for (int i = 0; i < 8; ++i) bytes |= uint64_t{from[i]} << (8 * i);
  return bytes;
}
PARKD_HOST_DEVICE inline uint16_t read_half(const uint8_t* from) {
  return static_cast<uint16_t>(from[0] | from[1] << 8);
}
PARKD_HOST_DEVICE constexpr uint64_t every_byte(uint64_t byte) {
  return byte * 0x0101010101010101U;
}
// `bits` bits of each of eight bytes, from bit `shift` on.
PARKD_HOST_DEVICE inline uint64_t fields(const uint8_t* from, int shift, int bits) {
  return (read_piece(from) >> shift) & every_byte((1U << bits) - 1U);
}
// Eight bits, one into each byte.
PARKD_HOST_DEVICE inline uint64_t spread(uint8_t bits) {
  const uint64_t alone = every_byte(bits) & 0x8040201008040201U;
  return ((alone + every_byte(0x7F)) >> 7) & every_byte(1);
}
// Elements 0..15 of 32 in the low nibbles, 16..31 in the high ones.
PARKD_HOST_DEVICE inline uint64_t halved_nibbles(const uint8_t* codes, int first) {
  return fields(codes + first % 16, first / 16 * 4, 4);
}

// What the types below have unless they say otherwise.
template <int elements, int bytes, int bits = 4>
struct Block {
  static constexpr int kElements = elements;
  static constexpr int kBytes = bytes;
  static constexpr int kBits = bits;
  static constexpr int kRun = 32;
  static constexpr int kOffset = 0;
  static constexpr CodeTable kTable = CodeTable::none;
  static constexpr ScaleKind kScale = ScaleKind::half;
  static constexpr MinimumKind kMinimum = MinimumKind::none;

  PARKD_HOST_DEVICE static uint16_t scale_half(const uint8_t* block) { return read_half(block); }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t*, int) { return 1; }
  PARKD_HOST_DEVICE static uint16_t minimum_half(const uint8_t*) { return 0; }
  PARKD_HOST_DEVICE static int minimum_factor(const uint8_t*, int) { return 1; }
};

// f16 d; 16 bytes
struct Q4_0 : Block<32, 18> {
  static constexpr int kOffset = 8;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 2, first);
  }
};

// f16 d, f16 m; 16 bytes
struct Q4_1 : Block<32, 20> {
  static constexpr MinimumKind kMinimum = MinimumKind::half;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 4, first);
  }
  PARKD_HOST_DEVICE static uint16_t minimum_half(const uint8_t* block) {
    return read_half(block + 2);
  }
};

// f16 d; the fifth bits of 32 elements; 16 bytes
struct Q5_0 : Block<32, 22, 5> {
  static constexpr int kOffset = 16;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 6, first) | spread(block[2 + first / 8]) << 4;
  }
};

// f16 d, f16 m; the fifth bits of 32 elements; 16 bytes
struct Q5_1 : Block<32, 24, 5> {
  static constexpr MinimumKind kMinimum = MinimumKind::half;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 8, first) | spread(block[4 + first / 8]) << 4;
  }
  PARKD_HOST_DEVICE static uint16_t minimum_half(const uint8_t* block) {
    return read_half(block + 2);
  }
};

// f16 d; 32 int8, which stand 128 higher as codes
struct Q8_0 : Block<32, 34, 8> {
  static constexpr int kOffset = 128;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return read_piece(block + 2 + first) ^ every_byte(0x80);
  }
};

// 16 bytes of scale (low nibble) and minimum (high); 64 bytes, four elements 32 apart in each; f16
// d, f16 m
struct Q2_K : Block<256, 84, 2> {
  static constexpr int kRun = 16;
  static constexpr ScaleKind kScale = ScaleKind::half_times_factor;
  static constexpr MinimumKind kMinimum = MinimumKind::half_times_factor;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return fields(block + 16 + first / 128 * 32 + first % 32, first % 128 / 32 * 2, 2);
  }
  PARKD_HOST_DEVICE static uint16_t scale_half(const uint8_t* block) {
    return read_half(block + 80);
  }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t* block, int run) {
    return block[run] & 15;
  }
  PARKD_HOST_DEVICE static uint16_t minimum_half(const uint8_t* block) {
    return read_half(block + 82) ^ 0x8000;
  }
  PARKD_HOST_DEVICE static int minimum_factor(const uint8_t* block, int run) {
    return block[run] >> 4;
  }
};

// 32 bytes of third bits, eight elements 32 apart in each; 64 bytes as in Q2_K; 16 scales of 6
// bits, low nibbles first, then twos of high bits; f16 d
struct Q3_K : Block<256, 110, 3> {
  static constexpr int kRun = 16;
  static constexpr int kOffset = 4;
  static constexpr ScaleKind kScale = ScaleKind::half_times_factor;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return fields(block + 32 + first / 128 * 32 + first % 32, first % 128 / 32 * 2, 2) |
           fields(block + first % 32, first / 32, 1) << 2;
  }
  PARKD_HOST_DEVICE static uint16_t scale_half(const uint8_t* block) {
    return read_half(block + 108);
  }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t* block, int run) {
    const uint8_t* scales = block + 96;
    const int low = (scales[run % 8] >> (run / 8 * 4)) & 15;
    const int high = (scales[8 + run % 4] >> (run / 4 * 2)) & 3;
    return (low | high << 4) - 32;
  }
};

// f16 d, f16 m; 8 scales and 8 minima of 6 bits in 12 bytes; codes, from kCodes on: 32 bytes for 64
// elements, the first half in the low nibbles
template <int bytes, int codes_at, int bits = 4>
struct FourBitK : Block<256, bytes, bits> {
  static constexpr ScaleKind kScale = ScaleKind::half_times_factor;
  static constexpr MinimumKind kMinimum = MinimumKind::half_times_factor;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return fields(block + codes_at + first / 64 * 32 + first % 32, first % 64 / 32 * 4, 4);
  }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t* block, int run) {
    const uint8_t* packed = block + 4;
    if (run < 4) return packed[run] & 63;
    return (packed[run + 4] & 15) | (packed[run - 4] >> 6) << 4;
  }
  PARKD_HOST_DEVICE static uint16_t minimum_half(const uint8_t* block) {
    return read_half(block + 2) ^ 0x8000;
  }
  PARKD_HOST_DEVICE static int minimum_factor(const uint8_t* block, int run) {
    const uint8_t* packed = block + 4;
    if (run < 4) return packed[run + 4] & 63;
    return (packed[run + 4] >> 4) | (packed[run] >> 6) << 4;
  }
};

struct Q4_K : FourBitK<144, 16> {};

// As Q4_K, and 32 bytes of fifth bits before the codes, eight elements 32 apart in each
struct Q5_K : FourBitK<176, 48, 5> {
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return FourBitK::codes(block, first) | fields(block + 16 + first % 32, first / 32, 1) << 4;
  }
};

// 128 bytes of low nibbles, two elements 64 apart in each; 64 bytes of high twos, four elements 32
// apart in each; 16 int8 scales; f16 d
struct Q6_K : Block<256, 210, 6> {
  static constexpr int kRun = 16;
  static constexpr int kOffset = 32;
  static constexpr ScaleKind kScale = ScaleKind::half_times_factor;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return fields(block + first / 128 * 64 + first % 64, first % 128 / 64 * 4, 4) |
           fields(block + 128 + first / 128 * 32 + first % 32, first % 128 / 32 * 2, 2) << 4;
  }
  PARKD_HOST_DEVICE static uint16_t scale_half(const uint8_t* block) {
    return read_half(block + 208);
  }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t* block, int run) {
    return static_cast<int8_t>(block[192 + run]);
  }
};

// f16 d; 16 bytes
struct IQ4_NL : Block<32, 18> {
  static constexpr CodeTable kTable = CodeTable::iq4;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 2, first);
  }
};

// f16 d; 8 scales of 6 bits: 16 bits of high twos, 4 bytes of low nibbles; 16 bytes for each 32
struct IQ4_XS : Block<256, 136> {
  static constexpr CodeTable kTable = CodeTable::iq4;
  static constexpr ScaleKind kScale = ScaleKind::half_times_factor;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 8 + first / 32 * 16, first % 32);
  }
  PARKD_HOST_DEVICE static int scale_factor(const uint8_t* block, int run) {
    const int low = (block[4 + run / 2] >> (run % 2 * 4)) & 15;
    const int high = (read_half(block + 2) >> (run * 2)) & 3;
    return (low | high << 4) - 32;
  }
};

// The scale's exponent, 2^(e - 128), as the table's numbers are doubled; 16 bytes
struct MXFP4 : Block<32, 17> {
  static constexpr CodeTable kTable = CodeTable::e2m1;
  static constexpr ScaleKind kScale = ScaleKind::power;
  PARKD_HOST_DEVICE static uint64_t codes(const uint8_t* block, int first) {
    return halved_nibbles(block + 1, first);
  }
};

// A table as two words of eight int8, the first entry the lowest byte.
PARKD_HOST_DEVICE constexpr int table_entry(uint64_t low, uint64_t high, int code) {
  return static_cast<int8_t>((code < 8 ? low : high) >> (code % 8 * 8));
}
// What a table's code stands for.
template <CodeTable table>
PARKD_HOST_DEVICE constexpr int table_number(int code) {
  if constexpr (table == CodeTable::iq4) {
    // -127 -104 -83 -65 -49 -35 -22 -10 | 1 13 25 38 53 69 89 113
    return table_entry(0xF6EADDCFBFAD9881U, 0x7159453526190D01U, code);
  } else {
    // 0 1 2 3 4 6 8 12 | -0 -1 -2 -3 -4 -6 -8 -12
    return table_entry(0x0C08060403020100U, 0xF4F8FAFCFDFEFF00U, code);
  }
}

// The number of the code that is byte `i` of a piece.
template <class Format>
PARKD_HOST_DEVICE inline int number_of(uint64_t codes, int i) {
  const int code = static_cast<int>(codes >> (8 * i) & 255U);
  if constexpr (Format::kTable == CodeTable::none) return code - Format::kOffset;
  return table_number<Format::kTable>(code);
}

// The scale of MXFP4 as a float's bits: 2^(e - 128).
PARKD_HOST_DEVICE inline uint32_t power_bits(uint8_t e) {
  return e < 2 ? 0x00200000U << e : (uint32_t{e} - 1U) << 23;
}

template <class Format>
PARKD_HOST_DEVICE inline float scale_of(const uint8_t* block, int run) {
  if constexpr (Format::kScale == ScaleKind::power) return bits_to_float(power_bits(block[0]));
  const float scale = f16_to_float(Format::scale_half(block));
  if constexpr (Format::kScale == ScaleKind::half) return scale;
  return scale * static_cast<float>(Format::scale_factor(block, run));
}

template <class Format>
PARKD_HOST_DEVICE inline float minimum_of(const uint8_t* block, int run) {
  const float minimum = f16_to_float(Format::minimum_half(block));
  if constexpr (Format::kMinimum == MinimumKind::half) return minimum;
  return minimum * static_cast<float>(Format::minimum_factor(block, run));
}

// Elements [first, first + 8) of a block; `first` is a multiple of 8.
template <class Format>
PARKD_HOST_DEVICE inline void read_values(const uint8_t* block, int first, float (&to)[kPiece]) {
  const uint64_t codes = Format::codes(block, first);
  const int run = first / Format::kRun;
  const float scale = scale_of<Format>(block, run);
  float minimum = 0;
  if constexpr (Format::kMinimum != MinimumKind::none) minimum = minimum_of<Format>(block, run);
  for (int i = 0; i < kPiece; ++i) {
    to[i] = scale * static_cast<float>(number_of<Format>(codes, i));
    if constexpr (Format::kMinimum != MinimumKind::none) to[i] += minimum;
  }
}

// Whether all values of a block are finite, whatever its codes. MXFP4: 12 * 2^(e - 128) is up to
// 252; 255 is not a number by the OCP's document, 253 and 254 overflow with the greatest codes.
template <class Format>
PARKD_HOST_DEVICE inline bool is_finite(const uint8_t* block) {
  if constexpr (Format::kScale == ScaleKind::power) return block[0] <= 252;
  constexpr uint16_t kExponent = 0x7C00;
  if ((Format::scale_half(block) & kExponent) == kExponent) return false;
  return (Format::minimum_half(block) & kExponent) != kExponent;
}

// Calls visit(Format{}) with the blocks of `type`; `otherwise` for a type of plain numbers.
template <class Result, class Visit>
Result with_blocks(TensorType type, Result otherwise, Visit&& visit) {
  switch (type) {
    case TensorType::q4_0:
      return visit(Q4_0{});
    case TensorType::q4_1:
      return visit(Q4_1{});
    case TensorType::q5_0:
      return visit(Q5_0{});
    case TensorType::q5_1:
      return visit(Q5_1{});
    case TensorType::q8_0:
      return visit(Q8_0{});
    case TensorType::q2_k:
      return visit(Q2_K{});
    case TensorType::q3_k:
      return visit(Q3_K{});
    case TensorType::q4_k:
      return visit(Q4_K{});
    case TensorType::q5_k:
      return visit(Q5_K{});
    case TensorType::q6_k:
      return visit(Q6_K{});
    case TensorType::iq4_nl:
      return visit(IQ4_NL{});
    case TensorType::iq4_xs:
      return visit(IQ4_XS{});
    case TensorType::mxfp4:
      return visit(MXFP4{});
    case TensorType::f32:
    case TensorType::f16:
    case TensorType::bf16:
      break;
  }
  return otherwise;
}

}  // namespace parkd::blocks
