// Norm, gate, rope and quantisation of rows against double, and equal bits on every instruction
// set.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/half.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(RowKernels, rms_norm_equals_its_formula) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const int64_t n : {1, 15, 16, 17, 576, 577}) {
    const std::vector<float> in = testing::random_floats(random, n);
    const std::vector<float> weight = testing::random_floats(random, n);
    double squares = 0;
    for (const float x : in) squares += static_cast<double>(x) * static_cast<double>(x);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    std::vector<float> first;
    for (const cpu::Isa isa : testing::available_isas()) {
      std::vector<float> out(in.size());
      cpu::kernels_of(isa).rms_norm(in.data(), weight.data(), n, 1e-5F, out.data());
      for (size_t i = 0; i < in.size(); ++i) {
        const double wanted = static_cast<double>(in[i]) * factor * static_cast<double>(weight[i]);
        // Sums of 40 terms a lane, a root, a division and two products: some 40 half ulps.
        ASSERT_NEAR(static_cast<double>(out[i]), wanted, std::fabs(wanted) * 3e-6 + 1e-12);
      }
      if (first.empty()) first = out;
      EXPECT_EQ(out, first) << cpu::to_string(isa);
    }
  }
}

TEST(RowKernels, silu_mul_equals_its_formula_also_far_out) {
  std::mt19937_64 random(testing::fresh_seed());
  std::vector<float> gate = testing::random_floats(random, 997, 5.0F);
  gate.insert(gate.end(), {0.0F, -0.0F, 87.0F, -87.0F, 300.0F, -300.0F, 1e30F, -1e30F});
  const std::vector<float> up = testing::random_floats(random, static_cast<int64_t>(gate.size()));
  std::vector<float> first;
  for (const cpu::Isa isa : testing::available_isas()) {
    std::vector<float> out(gate.size());
    cpu::kernels_of(isa).silu_mul(gate.data(), up.data(), static_cast<int64_t>(gate.size()),
                                  out.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      const auto g = static_cast<double>(gate[i]);
      const double wanted = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      // exp within 2 ulp, one sum, one division, one product. e^x is clamped at e^88, so below -88
      // the gate is -|g| e^-88 at most: 1e-8 even for 1e30.
      ASSERT_NEAR(static_cast<double>(out[i]), wanted, std::fabs(wanted) * 6e-7 + 1e-7)
          << "gate " << g;
    }
    if (first.empty()) first = out;
    EXPECT_EQ(out, first) << cpu::to_string(isa);
  }
}

TEST(RowKernels, rope_rotates_pairs_in_both_layouts) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t heads = 3;
  for (const int64_t head_dim : {16, 64, 80, 96, 128}) {
    for (const bool interleaved : {true, false}) {
      std::vector<float> table;
      for (int64_t i = 0; i < head_dim / 2; ++i) {
        const double angle = 0.37 * static_cast<double>(i + 1);
        table.push_back(static_cast<float>(std::cos(angle)));
        table.push_back(static_cast<float>(std::sin(angle)));
      }
      const std::vector<float> in = testing::random_floats(random, heads * head_dim);
      std::vector<float> first;
      for (const cpu::Isa isa : testing::available_isas()) {
        std::vector<float> out = in;
        cpu::kernels_of(isa).rope(out.data(), heads, head_dim, table.data(), interleaved);
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t i = 0; i < head_dim / 2; ++i) {
            const auto a = static_cast<size_t>(h * head_dim + (interleaved ? 2 * i : i));
            const auto b =
                static_cast<size_t>(h * head_dim + (interleaved ? 2 * i + 1 : i + head_dim / 2));
            const auto c = static_cast<double>(table[static_cast<size_t>(2 * i)]);
            const auto s = static_cast<double>(table[static_cast<size_t>(2 * i + 1)]);
            const auto x = static_cast<double>(in[a]);
            const auto y = static_cast<double>(in[b]);
            ASSERT_NEAR(static_cast<double>(out[a]), x * c - y * s, 1e-6);
            ASSERT_NEAR(static_cast<double>(out[b]), x * s + y * c, 1e-6);
          }
        }
        if (first.empty()) first = out;
        EXPECT_EQ(out, first) << cpu::to_string(isa);
      }
    }
  }
}

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
      int sum = 0;
      const auto scale = static_cast<double>(blocks[b].scale);
      for (size_t i = b * 32; i < b * 32 + 32; ++i) {
        sum += q8[i];
        // Half a step, and a rounding of x / scale; subnormal blocks become zeros.
        ASSERT_NEAR(scale * q8[i], static_cast<double>(in[i]), scale * 0.50002 + 2e-38);
      }
      EXPECT_EQ(blocks[b].minus_8_sum, -8 * sum);
      EXPECT_EQ(blocks[b].minus_128_sum, -128 * sum);
      EXPECT_EQ(blocks[b].scaled_sum, blocks[b].scale * static_cast<float>(sum));
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
  in.insert(in.end(), {cpu::bits_to_float(0x3F808000), cpu::bits_to_float(0x3F818000), 3.4e38F,
                       std::numeric_limits<float>::infinity(), 0.0F, -0.0F});
  for (const cpu::Isa isa : testing::available_isas()) {
    std::vector<uint16_t> out(in.size());
    cpu::kernels_of(isa).to_bf16(in.data(), static_cast<int64_t>(in.size()), out.data());
    for (size_t i = 0; i < in.size(); ++i) {
      const uint32_t bits = cpu::float_to_bits(in[i]);
      const uint32_t low = bits & 0xFFFFU;
      const bool up = low > 0x8000U || (low == 0x8000U && ((bits >> 16) & 1U) != 0);
      EXPECT_EQ(out[i], static_cast<uint16_t>((bits >> 16) + (up ? 1 : 0)));
    }
    const float nan = kNan;
    uint16_t half;
    cpu::kernels_of(isa).to_bf16(&nan, 1, &half);
    EXPECT_TRUE(std::isnan(cpu::bf16_to_float(half)));
  }
}

TEST(RowKernels, f16_conversions_agree_with_arithmetic) {
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = cpu::f16_to_float(half);
    ASSERT_EQ(cpu::float_to_f16(value), half);
    if (bits + 1 == 0x7C00) continue;
    // A tie goes to the even neighbour, anything past it to the nearer.
    const float next = cpu::f16_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(cpu::float_to_f16(middle), bits + (bits & 1U));
    ASSERT_EQ(cpu::float_to_f16(std::nextafter(middle, next)), bits + 1);
    ASSERT_EQ(cpu::float_to_f16(std::nextafter(middle, value)), bits);
  }
  EXPECT_EQ(cpu::float_to_f16(65519.0F), 0x7BFF);
  EXPECT_EQ(cpu::float_to_f16(65520.0F), 0x7C00);
  EXPECT_EQ(cpu::float_to_f16(-1e9F), 0xFC00);
}

}  // namespace
}  // namespace parkd
