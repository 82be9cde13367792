#include "lib/weights/dequantise.h"

#include <cstring>

#include "kernels/common/block_formats.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

constexpr bool as_in_the_table(TensorType type, int64_t elements, int64_t bytes) {
  for (const TensorFormat& format : kTensorFormats) {
    if (format.type == type) {
      return format.block_elements == elements && format.block_bytes == bytes;
    }
  }
  return false;
}

template <class Block>
constexpr bool is_checked(TensorType type) {
  return as_in_the_table(type, Block::kElements, Block::kBytes);
}
static_assert(is_checked<blocks::Q4_0>(TensorType::q4_0));
static_assert(is_checked<blocks::Q4_1>(TensorType::q4_1));
static_assert(is_checked<blocks::Q5_0>(TensorType::q5_0));
static_assert(is_checked<blocks::Q5_1>(TensorType::q5_1));
static_assert(is_checked<blocks::Q8_0>(TensorType::q8_0));
static_assert(is_checked<blocks::Q2_K>(TensorType::q2_k));
static_assert(is_checked<blocks::Q3_K>(TensorType::q3_k));
static_assert(is_checked<blocks::Q4_K>(TensorType::q4_k));
static_assert(is_checked<blocks::Q5_K>(TensorType::q5_k));
static_assert(is_checked<blocks::Q6_K>(TensorType::q6_k));
static_assert(is_checked<blocks::IQ4_NL>(TensorType::iq4_nl));
static_assert(is_checked<blocks::IQ4_XS>(TensorType::iq4_xs));
static_assert(is_checked<blocks::MXFP4>(TensorType::mxfp4));

template <class Format>
void dequantise_blocks(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += Format::kElements, from += Format::kBytes) {
    for (int first = 0; first < Format::kElements; first += blocks::kPiece) {
      float piece[blocks::kPiece];
      blocks::read_values<Format>(from, first, piece);
      std::memcpy(to + i + first, piece, sizeof piece);
    }
  }
}

void widen(TensorType type, const uint8_t* from, int64_t n, float* to) {
  if (type == TensorType::f32) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = blocks::read_half(from + i * 2);
    to[i] = type == TensorType::f16 ? f16_to_float(half) : bf16_to_float(half);
  }
}

// `exponent`: the bits that are all set in an infinity or a NaN.
template <class Bits>
int64_t first_not_finite_number(const uint8_t* from, int64_t n, Bits exponent) {
  for (int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, from + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    if ((bits & exponent) == exponent) return i;
  }
  return -1;
}

}  // namespace

void dequantise(TensorType type, const uint8_t* from, int64_t n, float* to) {
  const bool done = blocks::with_blocks(type, false, [&](auto format) {
    dequantise_blocks<decltype(format)>(from, n, to);
    return true;
  });
  if (!done) widen(type, from, n, to);
}

int64_t first_not_finite(TensorType type, const uint8_t* from, int64_t n) {
  if (type == TensorType::f32) return first_not_finite_number<uint32_t>(from, n, 0x7F800000U);
  if (type == TensorType::f16) return first_not_finite_number<uint16_t>(from, n, 0x7C00U);
  if (type == TensorType::bf16) return first_not_finite_number<uint16_t>(from, n, 0x7F80U);
  return blocks::with_blocks(type, int64_t{-1}, [&](auto format) -> int64_t {
    using Format = decltype(format);
    for (int64_t i = 0; i < n; i += Format::kElements, from += Format::kBytes) {
      if (!blocks::is_finite<Format>(from)) return i;
    }
    return -1;
  });
}

}  // namespace parkd
