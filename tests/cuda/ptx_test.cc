// ptx.h, its host twins here and its instructions on a GPU, against a second source: CuTe's layouts
// of the same instruction (NVIDIA CUTLASS, mma_traits_sm80.hpp, SM80_16x8x16_F32F16F16F32_TN),
// which give the index in a column-major matrix of a lane's i-th value by strides instead of the
// PTX ISA's tables.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "tests/cuda/kernel_data.h"
#include "tests/cuda/ptx_probe.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::finish;

// ((4, 8), (2, 2, 2)) : ((32, 1), (16, 8, 128)) on (16 rows, 16 columns)
int a_index(int lane, int i) {
  return lane % 4 * 32 + lane / 4 + i % 2 * 16 + i / 2 % 2 * 8 + i / 4 * 128;
}
// ((4, 8), (2, 2)) : ((16, 1), (8, 64)) on (8 columns of B, 16)
int b_index(int lane, int i) {
  return lane % 4 * 16 + lane / 4 + i % 2 * 8 + i / 2 * 64;
}
// ((4, 8), (2, 2)) : ((32, 1), (16, 8)) on (16 rows, 8 columns)
int c_index(int lane, int i) {
  return lane % 4 * 32 + lane / 4 + i % 2 * 16 + i / 2 * 8;
}

void put(std::vector<uint32_t>& registers, size_t element, uint16_t half) {
  registers[element / 2] |= uint32_t{half} << (element % 2 * 16);
}

TEST(PtxTwins, multiply_as_cutes_layouts_say) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : {Element::f16, Element::bf16}) {
    std::vector<float> a = testing::random_floats(random, 256);        // a[m + 16 k]
    std::vector<float> b = testing::random_floats(random, 128);        // b[n + 8 k]
    const std::vector<float> c = testing::random_floats(random, 128);  // c[m + 16 n]
    for (float& x : a) x = testing::rounded(element, x);
    for (float& x : b) x = testing::rounded(element, x);
    std::vector<uint32_t> a_registers(128);
    std::vector<uint32_t> b_registers(64);
    std::vector<float> d_registers(128);
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 8; ++i) {
        put(a_registers, static_cast<size_t>(lane * 8 + i),
            testing::to_half(element, a[static_cast<size_t>(a_index(lane, i))]));
      }
      for (int i = 0; i < 4; ++i) {
        put(b_registers, static_cast<size_t>(lane * 4 + i),
            testing::to_half(element, b[static_cast<size_t>(b_index(lane, i))]));
        d_registers[static_cast<size_t>(lane * 4 + i)] = c[static_cast<size_t>(c_index(lane, i))];
      }
    }
    const DeviceArray<uint32_t> a_array(a_registers);
    const DeviceArray<uint32_t> b_array(b_registers);
    const DeviceArray<float> d_array(d_registers);
    finish(launch_probe(
        MmaProbe{a_array.get(), b_array.get(), d_array.get(), element == Element::f16}));
    const std::vector<float> got = d_array.read();
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int index = c_index(lane, i);
        double wanted = c[static_cast<size_t>(index)];
        for (int k = 0; k < 16; ++k) {
          wanted += double{a[static_cast<size_t>(index % 16 + 16 * k)]} *
                    double{b[static_cast<size_t>(index / 16 + 8 * k)]};
        }
        ASSERT_NEAR(double{got[static_cast<size_t>(lane * 4 + i)]}, wanted, 1e-5);
      }
    }
  }
}

// What ldmatrix is for: an A fragment from a row-major matrix and, transposed, a B fragment from
// one whose rows are k.
TEST(PtxTwins, loads_give_the_fragments_that_products_take) {
  std::vector<uint16_t> rows(256);  // of lane l: row l % 8 of matrix l / 8
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint16_t>(i);
  const DeviceArray<uint16_t> row_array(rows);
  for (const bool transposed : {false, true}) {
    const DeviceArray<uint32_t> to(static_cast<size_t>(128));
    finish(launch_probe(LoadMatricesProbe{row_array.get(), to.get(), transposed}));
    const std::vector<uint32_t> got = to.read();
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 8; ++i) {
        const int matrix = i / 2;
        const uint32_t pair = got[static_cast<size_t>(lane * 4 + matrix)];
        const auto value = static_cast<int>(pair >> (i % 2 * 16) & 0xFFFFU);
        // Rows and columns of an A fragment's quarter are those of B's, swapped.
        const int in_quarter = a_index(lane, i % 2);
        const int row = transposed ? in_quarter / 16 : in_quarter % 16;
        const int column = transposed ? in_quarter % 16 : in_quarter / 16;
        EXPECT_EQ(value, matrix * 64 + row * 8 + column) << "lane " << lane << " element " << i;
      }
    }
  }
}

TEST(PtxTwins, exponentials_are_right_to_22_bits_and_0_below_the_normal_numbers) {
  std::mt19937_64 random(testing::fresh_seed());
  std::uniform_real_distribution<float> exponent(-125.9F, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> x = {-INFINITY, -127, -149, -1000, 0, -0.0F, -1e-40F, 127};
    while (x.size() < 32) x.push_back(exponent(random));
    const DeviceArray<float> from(x);
    const DeviceArray<float> to(x.size());
    finish(launch_probe(Exp2Probe{from.get(), to.get()}));
    const std::vector<float> y = to.read();
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(y[i], 0.0F) << x[i];
    for (size_t i = 4; i < x.size(); ++i) {
      const double exact = std::exp2(double{x[i]});
      EXPECT_LE(std::abs(double{y[i]} - exact), 0x1p-21 * exact) << x[i];
    }
  }
}

}  // namespace
}  // namespace parkd::cuda
