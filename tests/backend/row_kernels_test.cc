// Quantisation and rounding of rows against their formulas, and equal bits on every instruction
// set. Norm, gate and rope: tests/ops.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/half.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(RowKernels, quantised_rows_are_within_half_a_step_and_their_sums_exact) {
  std::mt19937_64 random(testing::fresh_seed());
  std::vector<float> in = testing::random_floats(random, 32 * 20);
  for (size_t i = 0; i < 32; ++i) in[32 + i] = 0;        // a block of zeros
  for (size_t i = 0; i < 32; ++i) in[64 + i] *= 1e-42F;  // of subnormals
  std::vector<int8_t> first;
  for (const cpu::Isa isa : testing::available_isas()) {
    std::vector<int8_t> q8(in.size(), 99);
    std::vector<cpu::ActivationBlock> blocks(in.size() / 32);
    cpu::kernels_of(isa).quantise_row(in.data(), static_cast<int64_t>(in.size()), q8.data(),
                                      blocks.data());
    for (size_t b = 0; b < blocks.size(); ++b) {
      int32_t sum = 0;
      int32_t second = 0;  // of the block's second half
      const auto scale = static_cast<double>(blocks[b].scale);
      for (size_t i = b * 32; i < b * 32 + 32; ++i) {
        sum += q8[i];
        if (i % 32 >= 16) second += q8[i];
        // Half a step, and a rounding of x / scale; subnormal blocks become zeros.
        ASSERT_NEAR(scale * q8[i], static_cast<double>(in[i]), scale * 0.50002 + 2e-38);
      }
      const int32_t sums[] = {sum, sum - second, second};
      for (size_t s = 0; s < 3; ++s) {
        EXPECT_EQ(blocks[b].minus_sums[s], -sums[s]);
        EXPECT_EQ(blocks[b].scaled_sums[s], blocks[b].scale * static_cast<float>(sums[s]));
      }
    }
    if (first.empty()) first = q8;
    EXPECT_EQ(q8, first) << cpu::to_string(isa);
  }
}

TEST(RowKernels, a_nan_activation_makes_its_block_nan_not_silence) {
  for (const cpu::Isa isa : testing::available_isas()) {
    std::vector<float> in(32, 1.0F);
    in[7] = kNan;
    std::vector<int8_t> q8(32);
    cpu::ActivationBlock block;
    cpu::kernels_of(isa).quantise_row(in.data(), 32, q8.data(), &block);
    EXPECT_TRUE(std::isnan(block.scale));
  }
}

TEST(RowKernels, bf16_rounds_to_nearest_even) {
  std::mt19937_64 random(testing::fresh_seed());
  std::vector<float> in = testing::random_floats(random, 1000);
  in.insert(in.end(), {bits_to_float(0x3F808000), bits_to_float(0x3F818000), 3.4e38F,
                       std::numeric_limits<float>::infinity(), 0.0F, -0.0F});
  for (const cpu::Isa isa : testing::available_isas()) {
    std::vector<uint16_t> out(in.size());
    cpu::kernels_of(isa).to_bf16(in.data(), static_cast<int64_t>(in.size()), out.data());
    for (size_t i = 0; i < in.size(); ++i) {
      const uint32_t bits = float_to_bits(in[i]);
      const uint32_t low = bits & 0xFFFFU;
      const bool up = low > 0x8000U || (low == 0x8000U && ((bits >> 16) & 1U) != 0);
      EXPECT_EQ(out[i], static_cast<uint16_t>((bits >> 16) + (up ? 1 : 0)));
    }
    const float nan = kNan;
    uint16_t half;
    cpu::kernels_of(isa).to_bf16(&nan, 1, &half);
    EXPECT_TRUE(std::isnan(bf16_to_float(half)));
  }
}

TEST(RowKernels, f16_conversions_agree_with_arithmetic) {
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = f16_to_float(half);
    ASSERT_EQ(float_to_f16(value), half);
    if (bits + 1 == 0x7C00) continue;
    // A tie goes to the even neighbour, anything past it to the nearer.
    const float next = f16_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(float_to_f16(middle), bits + (bits & 1U));
    ASSERT_EQ(float_to_f16(std::nextafter(middle, next)), bits + 1);
    ASSERT_EQ(float_to_f16(std::nextafter(middle, value)), bits);
  }
  EXPECT_EQ(float_to_f16(65519.0F), 0x7BFF);
  EXPECT_EQ(float_to_f16(65520.0F), 0x7C00);
  EXPECT_EQ(float_to_f16(-1e9F), 0xFC00);
}

}  // namespace
}  // namespace parkd
