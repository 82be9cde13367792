// F8_E4M3: numbers of 8 bits, as models in safetensors are quantised to them, with a scale for each
// block of a matrix, or one for all of it. They are made floats when a model is loaded.
// Source: Micikevicius et al., "FP8 formats for deep learning" (2022), E4M3: no infinities, NaN in
// the two codes of all ones. Pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lib/base/status.h"
#include "lib/weights/tensor.h"

namespace parkd {

// A matrix's codes where they lie in the file.
struct Float8Tensor {
  std::string_view name;
  int64_t rows = 0;
  int64_t columns = 0;
  std::span<const uint8_t> codes;  // (rows, columns)
};

// What its codes are multiplied by.
struct Float8Scales {
  TensorView scales;  // (ceil(rows / block_rows), ceil(columns / block_columns)) of plain numbers
  int64_t block_rows = 0;
  int64_t block_columns = 0;
};

// What a model says of its matrices: how many rows and columns of one have a scale together.
struct Float8Blocks {
  int32_t rows = 0;  // 0: all of a matrix, as of columns
  int32_t columns = 0;
  bool is_left_out = false;  // these are the default sizes: a matrix may have one scale for all
};

float float8_to_float(uint8_t code);

// The numbers of `tensor`, whose float8 is set and whose bytes are its codes, each a product in
// float. to: (rows, columns). Errors: invalid for one that is not finite, by a code of NaN or its
// scale; it names the tensor, the row and the column.
Status dequantise_float8(const TensorView& tensor, float* to);

}  // namespace parkd
