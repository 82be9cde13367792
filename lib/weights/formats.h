// The element types of tensors, in one table: number, name, elements of a block and its bytes.
// Source: ggml.h (enum ggml_type) and ggml-common.h (block_q4_0 ...). A type is added here, in
// TensorType, in each backend's loading (cpu_weights.cc, dequantise.cu) and in the tests' encoder.
// Constants, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/weights/tensor.h"

namespace parkd {

struct TensorFormat {
  TensorType type;
  std::string_view name;       // as files and people write it: "Q4_1"
  int64_t block_elements = 1;  // that share a scale; 1: a plain number each
  int64_t block_bytes = 0;

  constexpr bool is_quantised() const { return block_elements > 1; }
};

inline constexpr std::array<TensorFormat, 6> kTensorFormats = {{
    {TensorType::f32, "F32", 1, 4},
    {TensorType::f16, "F16", 1, 2},
    {TensorType::bf16, "BF16", 1, 2},
    {TensorType::q4_0, "Q4_0", 32, 18},
    {TensorType::q4_1, "Q4_1", 32, 20},
    {TensorType::q8_0, "Q8_0", 32, 34},
}};

// By ggml's number; null: not a type that we read.
constexpr const TensorFormat* find_format(uint32_t number) {
  for (const TensorFormat& format : kTensorFormats) {
    if (static_cast<uint32_t>(format.type) == number) return &format;
  }
  return nullptr;
}
constexpr const TensorFormat* find_format(TensorType type) {
  return find_format(static_cast<uint32_t>(type));
}
// Requires a type of the table, as every TensorView that came out of a file has.
const TensorFormat& format_of(TensorType type);

// The name of one of ggml's other types, so that a refusal can say what a file needs: "Q4_K", or
// "type 99" of one that it has not either.
std::string unread_type_name(uint32_t number);

}  // namespace parkd
