// Tensors as a file of weights holds them: element type (kernels/common/tensor_type.h), shape and
// bytes. Values, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "kernels/common/tensor_type.h"

namespace parkd {

struct Float8Scales;

// A tensor where it lies in the mapped file: `rows` of `columns` elements, columns contiguous, that
// is (rows, columns) = (out_features, in_features).
struct TensorView {
  std::string_view name;
  TensorType type = TensorType::f32;
  int64_t rows = 0;
  int64_t columns = 0;
  std::span<const uint8_t> bytes;
  // Set: `bytes` are codes of F8_E4M3 (float8.h), and `type`, F32, is of what load_weights() makes
  // of them; no backend sees such a tensor.
  std::shared_ptr<const Float8Scales> float8{};
  // Of the file's tensor, where this is a part of one, as q is of qkv; scales and errors count by
  // it.
  int64_t first_row = 0;
};

}  // namespace parkd
