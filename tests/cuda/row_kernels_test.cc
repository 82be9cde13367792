// The kernels on single rows: what they leave alone, what they refuse, and what no op of the Lane
// shows (tokens fed back). The values of the ops: tests/ops.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Errors;
using testing::finish;
using testing::kElements;
using testing::RowCount;

std::string place(int64_t row, int64_t column) {
  return "row " + std::to_string(row) + " column " + std::to_string(column);
}

Gate gate_of(Activation activation) {
  return activation == Activation::gelu_tanh ? Gate::gelu_tanh : Gate::silu;
}

// Rows beyond the count must stay as they were.
constexpr uint8_t kUntouched = 0xA5;

std::vector<uint8_t> untouched(Element element, int64_t n) {
  return std::vector<uint8_t>(static_cast<size_t>(n * element_bytes(element)), kUntouched);
}

bool is_untouched(const std::vector<uint8_t>& bytes, size_t first) {
  return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(first), bytes.end(),
                     [](uint8_t byte) { return byte == kUntouched; });
}

TEST(CudaGateMul, leaves_rows_beyond_the_count_alone) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : kElements) {
    // e^x within 2 ulp (of gelu_tanh: of up to 88, rounded), a sum, a division, a product.
    Errors errors(std::string("gate_mul ") + testing::to_string(element),
                  4.3e-5 + testing::rounding(element), element == Element::f16 ? 0x1p-25 : 1e-35);
    for (const testing::OpCase& c : testing::device_cases(testing::Op::gate_mul)) {
      const int32_t ffn = c.columns;
      for (const int32_t rows : {1, 3}) {
        const int32_t rows_max = rows + 2;
        const std::vector<float> in = testing::random_floats(random, int64_t{rows} * 2 * ffn, 4.0F);
        const RowCount count(rows);
        const DeviceArray<float> gate_up(in);
        const DeviceArray<uint8_t> out(untouched(element, int64_t{rows_max} * ffn));
        finish(launch_gate_mul(
            {count.get(), rows_max, ffn, gate_up.get(), out.get(), element, gate_of(c.activation)},
            nullptr));
        const std::vector<uint8_t> bytes = out.read();
        EXPECT_TRUE(is_untouched(bytes, static_cast<size_t>(rows * ffn * element_bytes(element))));
        const std::vector<float> got = testing::from_elements(element, bytes);
        for (int32_t row = 0; row < rows; ++row) {
          for (int32_t i = 0; i < ffn; ++i) {
            const auto gate = static_cast<double>(in[static_cast<size_t>(row * 2 * ffn + i)]);
            const auto up = static_cast<double>(in[static_cast<size_t>((row * 2 + 1) * ffn + i)]);
            errors.check(got[static_cast<size_t>(row * ffn + i)],
                         testing::reference::gate_mul(c.activation, gate, up), place(row, i));
          }
        }
      }
    }
  }
}

TEST(CudaRmsNorm, leaves_its_input_and_rows_beyond_the_count_alone) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : kElements) {
    // Up to 32 squares a thread and three trees, a root, two divisions, two products.
    Errors errors(std::string("rms_norm ") + testing::to_string(element),
                  2e-6 + testing::rounding(element), element == Element::f16 ? 0x1p-25 : 1e-30);
    for (const testing::OpCase& c : testing::device_cases(testing::Op::rms_norm)) {
      const int32_t columns = c.columns == 1032 ? 1028 : c.columns == 8 ? 4 : c.columns;
      const int32_t rows = 1 + static_cast<int32_t>(random() % 4);
      const int32_t rows_max = rows + 1;
      const std::vector<float> x = testing::random_floats(random, int64_t{rows_max} * columns);
      const std::vector<float> weight = testing::random_floats(random, columns);
      const RowCount count(rows);
      const DeviceArray<float> in_array(x);
      const DeviceArray<float> weight_array(weight);
      const DeviceArray<uint8_t> out(untouched(element, int64_t{rows_max} * columns));
      finish(launch_rms_norm({count.get(), rows_max, columns, 1e-5F, in_array.get(),
                              weight_array.get(), out.get(), element, false},
                             nullptr));
      EXPECT_EQ(in_array.read(), x);
      const std::vector<uint8_t> bytes = out.read();
      EXPECT_TRUE(
          is_untouched(bytes, static_cast<size_t>(rows * columns * element_bytes(element))));
      const std::vector<float> got = testing::from_elements(element, bytes);
      for (int32_t row = 0; row < rows; ++row) {
        const std::vector<double> wanted = testing::reference::rms_norm(
            std::span<const float>(x).subspan(static_cast<size_t>(row * columns),
                                              static_cast<size_t>(columns)),
            std::span<const float>(weight), double{1e-5F});
        for (int32_t i = 0; i < columns; ++i) {
          errors.check(got[static_cast<size_t>(row * columns + i)], wanted[static_cast<size_t>(i)],
                       place(row, i));
        }
      }
    }
  }
}

TEST(CudaRmsNorm, where_it_adds_leaves_rows_beyond_the_count_alone) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const testing::OpCase& c : testing::device_cases(testing::Op::rms_norm_add)) {
    const int32_t columns = c.columns == 8 ? 4 : c.columns;
    constexpr int32_t kRows = 2;
    const std::vector<float> in = testing::random_floats(random, int64_t{kRows + 1} * columns);
    const std::vector<float> before = testing::random_floats(random, int64_t{kRows + 1} * columns);
    const RowCount count(kRows);
    const DeviceArray<float> in_array(in);
    const DeviceArray<float> weight(testing::random_floats(random, columns));
    const DeviceArray<float> sum(before);
    finish(launch_rms_norm({count.get(), kRows + 1, columns, 1e-5F, in_array.get(), weight.get(),
                            sum.get(), Element::f32, true},
                           nullptr));
    EXPECT_EQ(in_array.read(), in);
    const std::vector<float> after = sum.read();
    const int32_t n = kRows * columns;
    EXPECT_TRUE(std::equal(after.begin() + n, after.end(), before.begin() + n)) << columns;
    EXPECT_NE(after, before);
  }
}

TEST(CudaGatherRows, copies_the_rows_whose_logits_are_wanted_and_no_other) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("gather_rows", 0, 0);
  for (const testing::OpCase& c : testing::device_cases(testing::Op::gather_logit_rows)) {
    const int32_t columns = c.columns == 8 ? 4 : c.columns;
    testing::Step step(random, c.sequences, 8, 2);
    const std::vector<float> in = testing::random_floats(random, int64_t{step.n_rows()} * columns);
    const DeviceArray<float> in_array(in);
    const auto n_out = static_cast<size_t>(step.device.logit_rows_max * columns);
    const DeviceArray<float> out(std::vector<float>(n_out, -7.0F));
    finish(launch_gather_rows({step.device, in_array.get(), out.get(), columns}, nullptr));
    const std::vector<float> got = out.read();
    for (size_t i = 0; i < n_out; ++i) {
      const size_t row = i / static_cast<size_t>(columns);
      const float wanted = row < step.logit_rows.size()
                               ? in[static_cast<size_t>(step.logit_rows[row] * columns) +
                                    i % static_cast<size_t>(columns)]
                               : -7.0F;
      errors.check(got[i], double{wanted}, std::to_string(i));
    }
  }
}

TEST(CudaFeedTokens, takes_what_the_last_step_chose_and_0_for_a_failed_row) {
  std::mt19937_64 random(testing::fresh_seed());
  testing::Step step(random, {{3, 1}, {0, 1}, {9, 1}, {2, 200}}, 8, 50);
  std::vector<int32_t> tokens(static_cast<size_t>(step.n_rows()));
  const std::vector<int32_t> sampled = {11, -1, 13};
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 50000);
  tokens[0] = -3;
  tokens[1] = -1;
  tokens[2] = -2;
  step.set_tokens(tokens);
  const DeviceArray<int32_t> sampled_array(sampled);
  finish(launch_feed_tokens({step.device, sampled_array.get()}, nullptr));
  tokens[0] = 13;
  tokens[1] = 11;
  tokens[2] = 0;
  const std::vector<int32_t> got = step.read_tokens();
  Errors errors("feed_tokens", 0, 0);
  for (size_t i = 0; i < tokens.size(); ++i) {
    errors.check(static_cast<float>(got[i]), tokens[i], std::to_string(i));
  }
}

TEST(CudaRowKernels, refuse_shapes_they_cannot_do) {
  const RowCount count(1);
  const DeviceArray<float> memory(std::vector<float>(64, 0.0F));
  float* at = memory.get();
  EXPECT_EQ(launch_gate_mul({count.get(), 1, 12, at, at, Element::f32, Gate::silu}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_gate_mul({count.get(), 1, 8, at, at, Element::f32, Gate(7)}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_gate_mul({count.get(), 1, 8, at + 1, at, Element::f32, Gate::silu}, nullptr),
            cudaErrorInvalidValue);
  float* out = at + 32;
  const auto norm = [&](int32_t rows, int32_t columns, const float* in, Element element,
                        bool adds) {
    return launch_rms_norm({count.get(), rows, columns, 1e-5F, in, at, out, element, adds},
                           nullptr);
  };
  for (const bool adds : {false, true}) {
    EXPECT_EQ(norm(1, 6, at, Element::f32, adds), cudaErrorInvalidValue) << adds;
    EXPECT_EQ(norm(1, 8, at + 1, Element::f32, adds), cudaErrorInvalidValue) << adds;
    EXPECT_EQ(norm(1, 8, at, Element(7), adds), cudaErrorInvalidValue) << adds;
    EXPECT_EQ(norm(0, 8, at, Element::f32, adds), cudaSuccess) << adds;
  }
  EXPECT_EQ(norm(1, 8, at, Element::bf16, true), cudaErrorInvalidValue);  // sums are float
  EXPECT_EQ(norm(1, 8, out, Element::f32, true), cudaErrorInvalidValue);  // and not the input
}

}  // namespace
}  // namespace parkd::cuda
