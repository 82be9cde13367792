// The tests' own encoder: what it writes of any type is that type, read back near the values.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"
#include "tests/support/encode_tensor.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

// Of normal values: the error's share of the deviation. A code of b bits over some 4 deviations
// would be about 8 / 2^b / sqrt(12); scales of few bits and uneven tables add to it.
double allowed_error(TensorType type) {
  switch (type) {
    case TensorType::q2_k:
      return 0.4;
    case TensorType::q3_k:
      return 0.25;
    case TensorType::q5_0:
    case TensorType::q5_1:
    case TensorType::q5_k:
      return 0.06;
    case TensorType::q6_k:
      return 0.03;
    case TensorType::q8_0:
      return 0.01;
    case TensorType::mxfp4:
      return 0.2;
    default:
      return format_of(type).is_quantised() ? 0.13 : 0.004;
  }
}

TEST(EncodeTensor, every_type_comes_back_near_its_values) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> values = testing::random_floats(random, 256 * 64, 0.1F);
  for (const TensorFormat& format : kTensorFormats) {
    const std::vector<uint8_t> bytes = testing::encode(format.type, values);
    ASSERT_EQ(static_cast<int64_t>(bytes.size()),
              static_cast<int64_t>(values.size()) / format.block_elements * format.block_bytes);
    EXPECT_EQ(first_not_finite(format.type, bytes.data(), static_cast<int64_t>(values.size())), -1);
    std::vector<float> back(values.size());
    dequantise(format.type, bytes.data(), static_cast<int64_t>(values.size()), back.data());
    double squares = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      squares += std::pow(static_cast<double>(back[i]) - static_cast<double>(values[i]), 2);
    }
    const double error = std::sqrt(squares / static_cast<double>(values.size())) / 0.1;
    EXPECT_LT(error, allowed_error(format.type)) << format.name;
    std::cout << format.name << ": " << error << "\n";
  }
}

TEST(EncodeTensor, zeros_are_zeros) {
  const std::vector<float> zeros(256);
  for (const TensorFormat& format : kTensorFormats) {
    const std::vector<uint8_t> bytes = testing::encode(format.type, zeros);
    std::vector<float> back(256, 1.0F);
    dequantise(format.type, bytes.data(), 256, back.data());
    EXPECT_EQ(back, zeros) << format.name;
  }
}

}  // namespace
}  // namespace parkd
