// F8_E4M3 against torch's float8_e4m3fn (tools/golden/float8.py prints the constants).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "lib/weights/float8.h"

namespace parkd {
namespace {

template <class T>
std::span<const uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

std::string hash_of(const std::vector<float>& values) {
  const auto bytes = bytes_of(values);
  return to_hex(fnv1a64({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

TEST(Float8, every_code_is_torchs_number) {
  std::vector<float> values;
  for (int code = 0; code < 256; ++code) {
    float value = float8_to_float(static_cast<uint8_t>(code));
    EXPECT_EQ(std::isnan(value), (code & 127) == 127) << code;
    const uint32_t quiet = 0x7FC00000;
    if (std::isnan(value)) std::memcpy(&value, &quiet, sizeof value);
    values.push_back(value);
  }
  EXPECT_EQ(values[0x01], 0x1p-9F);
  EXPECT_EQ(values[0x38], 1.0F);
  EXPECT_EQ(values[0x7E], 448.0F) << "the largest";
  EXPECT_EQ(values[0xFE], -448.0F);
  EXPECT_TRUE(std::signbit(values[0x80])) << "-0";
  EXPECT_EQ(hash_of(values), "dad1d9c50f749ca5");
}

TEST(Float8, blocks_have_their_scale_and_those_at_the_edges_are_cut) {
  std::vector<uint8_t> codes;
  for (int row = 0; row < 130; ++row) {
    for (int column = 0; column < 200; ++column) {
      codes.push_back(
          static_cast<uint8_t>((row * 37 + column * 11) % 127 + (row + column) % 2 * 128));
    }
  }
  const std::vector<float> scales = {0.0123F, 1.75F, 3.1e-5F, 0.9F};
  auto by = std::make_shared<Float8Scales>();
  by->scales = {"scales", TensorType::f32, 2, 2, bytes_of(scales)};
  by->block_rows = by->block_columns = 128;
  TensorView tensor{"codes", TensorType::f32, 130, 200, codes};
  tensor.float8 = by;
  std::vector<float> values(codes.size());
  ASSERT_TRUE(dequantise_float8(tensor, values.data()).ok());
  EXPECT_EQ(hash_of(values), "64b34014258fa46e");
}

TEST(Float8, a_number_that_is_not_finite_is_refused_by_row_and_column) {
  std::vector<float> scales = {1.0F, 2.0F};
  auto by = std::make_shared<Float8Scales>();
  by->scales = {"scales", TensorType::f32, 1, 2, bytes_of(scales)};
  by->block_rows = by->block_columns = 2;
  std::vector<uint8_t> codes(8, 0x7E);
  TensorView tensor{"w", TensorType::f32, 2, 4, codes};
  tensor.float8 = by;
  std::vector<float> values(codes.size());
  EXPECT_TRUE(dequantise_float8(tensor, values.data()).ok());
  for (const uint8_t nan : {uint8_t{0x7F}, uint8_t{0xFF}}) {
    codes[6] = nan;
    const Status status = dequantise_float8(tensor, values.data());
    EXPECT_EQ(status.code(), StatusCode::invalid);
    EXPECT_EQ(status.message(),
              "tensor w: the number at row 1, column 2 is not finite (F8_E4M3 code " +
                  std::to_string(nan) + " by its scale)");
  }
  codes[6] = 0x7E;
  scales[1] = 1e37F;  // 448 of it are more than a float holds
  EXPECT_EQ(
      dequantise_float8(tensor, values.data()).message(),
      "tensor w: the number at row 0, column 2 is not finite (F8_E4M3 code 126 by its scale)");
}

}  // namespace
}  // namespace parkd
