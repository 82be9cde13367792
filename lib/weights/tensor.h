// Tensors as a file of weights holds them: element type, shape and bytes. Values, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace parkd {

// GGUF's tensor types that we read (ggml.h's numbers).
enum class TensorType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q8_0 = 8,
  bf16 = 30,
};

// A tensor where it lies in the mapped file: `rows` of `columns` elements, columns contiguous, that
// is (rows, columns) = (out_features, in_features).
struct TensorView {
  std::string_view name;
  TensorType type = TensorType::f32;
  int64_t rows = 0;
  int64_t columns = 0;
  std::span<const uint8_t> bytes;
};

}  // namespace parkd
