#include "lib/weights/float8.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lib/base/check.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/tensor_check.h"

namespace parkd {
namespace {

std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15;
    const int mantissa = code & 7;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    if ((code & 0x7F) == 0x7F) value = std::numeric_limits<float>::quiet_NaN();
    table[static_cast<size_t>(code)] = code < 128 ? value : -value;
  }
  return table;
}

const std::array<float, 256> kTable = make_table();

}  // namespace

float float8_to_float(uint8_t code) {
  return kTable[code];
}

Status dequantise_float8(const TensorView& tensor, float* to) {
  PARKD_CHECK(tensor.float8 != nullptr, "a tensor of codes has its scales");
  const Float8Scales& by = *tensor.float8;
  std::vector<float> scales(static_cast<size_t>(by.scales.rows * by.scales.columns));
  dequantise(by.scales.type, by.scales.bytes.data(), static_cast<int64_t>(scales.size()),
             scales.data());
  const uint8_t* codes = tensor.bytes.data();
  for (int64_t row = 0; row < tensor.rows; ++row) {
    const float* of_row =
        scales.data() + (tensor.first_row + row) / by.block_rows * by.scales.columns;
    for (int64_t column = 0; column < tensor.columns; ++column) {
      to[column] = float8_to_float(codes[column]) * of_row[column / by.block_columns];
    }
    const int64_t at =
        first_not_finite(TensorType::f32, reinterpret_cast<const uint8_t*>(to), tensor.columns);
    if (at >= 0) {
      return tensor_error(tensor, "the number at row " + std::to_string(tensor.first_row + row) +
                                      ", column " + std::to_string(at) +
                                      " is not finite (F8_E4M3 code " + std::to_string(codes[at]) +
                                      " by its scale)");
    }
    to += tensor.columns;
    codes += tensor.columns;
  }
  return {};
}

}  // namespace parkd
