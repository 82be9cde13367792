#include "tests/support/encode_tensor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lib/base/check.h"
#include "lib/weights/formats.h"
#include "tests/support/encode_block.h"
#include "tests/support/gguf_writer.h"

namespace parkd::testing {
namespace {

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Round to nearest even; for |value| < 65504, subnormals become zero.
uint16_t to_f16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int32_t exponent = static_cast<int32_t>(bits >> 23 & 0xff) - 127 + 15;
  if (exponent <= 0) return sign;
  const uint32_t mantissa = bits & 0x7fffff;
  uint32_t half = static_cast<uint32_t>(exponent) << 10 | mantissa >> 13;
  const uint32_t rest = mantissa & 0x1fff;
  if (rest > 0x1000 || (rest == 0x1000 && (half & 1) != 0)) ++half;
  return static_cast<uint16_t>(sign | half);
}

uint8_t to_code(float scaled, float max) {
  return static_cast<uint8_t>(std::clamp(std::nearbyint(scaled), 0.0F, max));
}

void put_nibbles(std::vector<uint8_t>& out, const std::array<uint8_t, 32>& codes) {
  for (size_t j = 0; j < 16; ++j) {
    out.push_back(static_cast<uint8_t>(codes[j] | codes[j + 16] << 4));
  }
}

// One block of 32 values, as ggml's reference quantiser writes it (up to the choice of rounding).
void put_block(std::vector<uint8_t>& out, TensorType type, std::span<const float> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float largest = std::max(std::fabs(*low), std::fabs(*high));
  std::array<uint8_t, 32> codes{};
  if (type == TensorType::q8_0) {
    const float d = largest / 127;
    GgufWriter::put(out, to_f16(d));
    for (const float value : values) {
      out.push_back(
          static_cast<uint8_t>(static_cast<int8_t>(d > 0 ? std::nearbyint(value / d) : 0)));
    }
  } else if (type == TensorType::q4_0) {
    const float d = (std::fabs(*low) > std::fabs(*high) ? *low : *high) / -8;
    GgufWriter::put(out, to_f16(d));
    for (size_t i = 0; i < 32; ++i) codes[i] = to_code(d != 0 ? values[i] / d + 8 : 8, 15);
    put_nibbles(out, codes);
  } else {
    const float d = (*high - *low) / 15;
    GgufWriter::put(out, to_f16(d));
    GgufWriter::put(out, to_f16(*low));
    for (size_t i = 0; i < 32; ++i) codes[i] = to_code(d > 0 ? (values[i] - *low) / d : 0, 15);
    put_nibbles(out, codes);
  }
}

// The other types' blocks.
template <class Format>
std::vector<uint8_t> encode_blocks(std::span<const float> values) {
  static const BlockWriter<Format> writer;
  const size_t n_blocks = values.size() / Format::kElements;
  std::vector<uint8_t> bytes(n_blocks * Format::kBytes);
  for (size_t b = 0; b < n_blocks; ++b) {
    writer.write(values.subspan(b * Format::kElements, Format::kElements),
                 bytes.data() + b * Format::kBytes);
  }
  return bytes;
}

}  // namespace

std::vector<uint8_t> encode(TensorType type, std::span<const float> values) {
  const TensorFormat& format = format_of(type);
  PARKD_CHECK(values.size() % static_cast<size_t>(format.block_elements) == 0,
              "the tests' encoder wants whole blocks");
  std::vector<uint8_t> bytes;
  if (type == TensorType::q4_0 || type == TensorType::q4_1 || type == TensorType::q8_0) {
    for (size_t i = 0; i < values.size(); i += 32) put_block(bytes, type, values.subspan(i, 32));
    return bytes;
  }
  if (format.is_quantised()) {
    return blocks::with_blocks(
        type, bytes, [&](auto blocks) { return encode_blocks<decltype(blocks)>(values); });
  }
  for (const float value : values) {
    if (type == TensorType::f32) {
      GgufWriter::put(bytes, value);
    } else {
      GgufWriter::put(bytes, type == TensorType::f16 ? to_f16(value) : to_bf16(value));
    }
  }
  return bytes;
}

}  // namespace parkd::testing
