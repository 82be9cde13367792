// The element types of tensors, in one table: number, name, elements of a block and its bytes.
// Source: ggml.h (enum ggml_type) and ggml-common.h (block_q4_0 ...). A type is added here, in
// TensorType, as a layout in kernels/common/block_formats.h and in tests/golden/formats.json.
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

inline constexpr std::array<TensorFormat, 16> kTensorFormats = {{
    {TensorType::f32, "F32", 1, 4},
    {TensorType::f16, "F16", 1, 2},
    {TensorType::bf16, "BF16", 1, 2},
    {TensorType::q4_0, "Q4_0", 32, 18},
    {TensorType::q4_1, "Q4_1", 32, 20},
    {TensorType::q5_0, "Q5_0", 32, 22},
    {TensorType::q5_1, "Q5_1", 32, 24},
    {TensorType::q8_0, "Q8_0", 32, 34},
    {TensorType::q2_k, "Q2_K", 256, 84},
    {TensorType::q3_k, "Q3_K", 256, 110},
    {TensorType::q4_k, "Q4_K", 256, 144},
    {TensorType::q5_k, "Q5_K", 256, 176},
    {TensorType::q6_k, "Q6_K", 256, 210},
    {TensorType::iq4_nl, "IQ4_NL", 32, 18},
    {TensorType::iq4_xs, "IQ4_XS", 256, 136},
    {TensorType::mxfp4, "MXFP4", 32, 17},
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

// The name of one of ggml's other types, so that a refusal can say what a file needs: "IQ2_XXS", or
// "type 99" of one that it has not either.
std::string unread_type_name(uint32_t number);

}  // namespace parkd
