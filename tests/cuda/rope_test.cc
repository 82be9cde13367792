// Norms of heads, rotation and KV write against float64, with every KV type.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Errors;
using testing::finish;

TEST(CudaRopeTable, holds_the_sines_of_far_positions) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("rope_table", 0x1p-23, 1e-9);
  for (const int32_t head_dim : {8, 64, 80, 128}) {
    const testing::Step step(random, {{0, 1}, {131071, 1}, {1000, 30}, {0, 5}}, 32, 4);
    testing::OpCase in_part;
    in_part.heads.head_dim = head_dim;
    in_part.layout = RopeLayout::split_half;
    in_part.rotates_in_part = head_dim != 64;
    const Rope rope = in_part.rope();
    const DeviceArray<float> inv_freq_array(rope.inv_freq);
    const DeviceArray<float> cos_sin(
        std::vector<float>(static_cast<size_t>(step.device.rows_max * head_dim)));
    finish(launch_rope_table(
        {step.device, inv_freq_array.get(), head_dim, rope.amplitude, cos_sin.get()}, nullptr));
    const std::vector<float> got = cos_sin.read();
    for (int32_t row = 0; row < step.n_rows(); ++row) {
      const std::vector<double> wanted =
          testing::reference::rotation(step.positions[static_cast<size_t>(row)], rope);
      for (size_t i = 0; i < wanted.size(); ++i) {
        errors.check(got[static_cast<size_t>(row * head_dim) + i], wanted[i],
                     i % 2 == 0 ? "cos" : "sin");
      }
    }
  }
}

constexpr float kEps = 1e-3F;  // large enough to show

void check_rope(std::mt19937_64& random, const testing::OpCase& rope_case, Element element,
                Errors& errors) {
  const testing::Heads& c = rope_case.heads;
  const testing::Step step(random, rope_case.sequences, c.block_size, 3);
  const int32_t n_layers = 2;
  const int32_t layer = 1;
  const int64_t slots = int64_t{n_layers} * step.n_blocks * 2 * c.n_kv_heads * c.block_size;
  const DeviceArray<uint8_t> kv(testing::to_elements(
      element, std::vector<float>(static_cast<size_t>(slots * c.head_dim), -9.0F)));
  const int32_t columns = c.columns();
  const std::vector<float> in = testing::random_floats(random, int64_t{step.n_rows()} * columns);
  const DeviceArray<float> qkv(in);
  const Rope rope = rope_case.rope();
  const DeviceArray<float> inv_freq(rope.inv_freq);
  const DeviceArray<float> cos_sin(
      std::vector<float>(static_cast<size_t>(step.device.rows_max * c.head_dim)));
  finish(launch_rope_table({step.device, inv_freq.get(), c.head_dim, rope.amplitude, cos_sin.get()},
                           nullptr));
  const KvMemory memory = {kv.get(),     element,      n_layers,  step.n_blocks,
                           c.n_kv_heads, c.block_size, c.head_dim};
  const std::vector<float> q_weights = testing::random_floats(random, c.head_dim);
  const std::vector<float> k_weights = testing::random_floats(random, c.head_dim);
  const DeviceArray<float> q_norm(q_weights);
  const DeviceArray<float> k_norm(k_weights);
  const std::vector<float> biases = testing::random_floats(random, columns);  // q's, k's, v's
  const auto q_columns = static_cast<std::ptrdiff_t>(c.n_heads) * c.head_dim;
  const auto kv_columns = static_cast<std::ptrdiff_t>(c.n_kv_heads) * c.head_dim;
  const auto bias_at = [&](std::ptrdiff_t first, std::ptrdiff_t n) {
    const auto from = biases.begin() + first;
    return DeviceArray<float>(std::vector<float>(from, from + n));
  };
  const DeviceArray<float> q_bias = bias_at(0, q_columns);
  const DeviceArray<float> k_bias = bias_at(q_columns, kv_columns);
  const DeviceArray<float> v_bias = bias_at(q_columns + kv_columns, kv_columns);
  finish(launch_rope_and_store(
      {step.device, memory, layer, c.n_heads, rope_case.layout == RopeLayout::interleaved,
       rope_case.rotates ? cos_sin.get() : nullptr, qkv.get(),
       rope_case.norms ? q_norm.get() : nullptr, rope_case.norms ? k_norm.get() : nullptr, kEps,
       rope_case.biases ? q_bias.get() : nullptr, rope_case.biases ? k_bias.get() : nullptr,
       rope_case.biases ? v_bias.get() : nullptr, rope_case.query_scale.beta,
       rope_case.query_scale.period},
      nullptr));
  const std::vector<float> factors = cos_sin.read();
  const std::vector<float> out = qkv.read();
  std::vector<float> stored = testing::from_elements(element, kv.read());
  for (int32_t row = 0; row < step.n_rows(); ++row) {
    const float* from = in.data() + int64_t{row} * columns;
    const float* at = factors.data() + int64_t{row} * c.head_dim;
    for (int32_t head = 0; head < c.n_heads + 2 * c.n_kv_heads; ++head) {
      const float* in_head = from + head * c.head_dim;
      const bool is_value = head >= c.n_heads + c.n_kv_heads;
      std::vector<double> wanted(in_head, in_head + c.head_dim);
      const float* weights = head < c.n_heads ? q_weights.data() : k_weights.data();
      const auto head_dim = static_cast<size_t>(c.head_dim);
      for (size_t d = 0; rope_case.biases && d < head_dim; ++d) {
        wanted[d] += double{biases[static_cast<size_t>(head) * head_dim + d]};
      }
      if (!is_value && rope_case.norms) {
        wanted =
            testing::reference::rms_norm(std::span<const double>(wanted),
                                         std::span<const float>(weights, head_dim), double{kEps});
      }
      if (!is_value && rope_case.rotates) {
        wanted =
            testing::reference::rotated(std::span<const double>(wanted),
                                        std::span<const float>(at, head_dim), rope_case.layout);
      }
      for (double& x : wanted) {
        if (head >= c.n_heads) break;
        x *= testing::reference::query_factor(rope_case.query_scale,
                                              step.positions[static_cast<size_t>(row)]);
      }
      const float* got = out.data() + int64_t{row} * columns + head * c.head_dim;
      if (head >= c.n_heads) {
        const int32_t position = step.positions[static_cast<size_t>(row)];
        const int64_t block =
            step.block_of(step.sequence_of_row[static_cast<size_t>(row)], position / c.block_size);
        const int32_t kv_head = (head - c.n_heads) % c.n_kv_heads;
        const int64_t slot =
            (((layer * int64_t{step.n_blocks} + block) * 2 + (is_value ? 1 : 0)) * c.n_kv_heads +
             kv_head) *
                c.block_size +
            position % c.block_size;
        got = stored.data() + slot * c.head_dim;
      }
      for (int32_t i = 0; i < c.head_dim; ++i) {
        errors.check(got[i], wanted[static_cast<size_t>(i)],
                     "row " + std::to_string(row) + " head " + std::to_string(head));
      }
      if (head >= c.n_heads) std::fill_n(const_cast<float*>(got), c.head_dim, -9.0F);
    }
  }
  // Nothing else was written.
  EXPECT_TRUE(std::all_of(stored.begin(), stored.end(), [](float x) { return x == -9.0F; }));
}

// The Lane shows what becomes of q (tests/ops); here the blocks are looked into.
TEST(CudaRopeAndStore, puts_k_and_v_into_their_slots_and_writes_nothing_else) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : testing::kElements) {
    // Two products and a sum of values up to about 5, before them a norm's root, division and
    // products; then the KV type's rounding.
    Errors errors(std::string("rope_and_store ") + testing::to_string(element),
                  testing::rounding(element), 1e-6);
    Errors with_norms(
        std::string("rope_and_store with norms, biases ") + testing::to_string(element),
        testing::rounding(element), 5e-6);
    std::vector<testing::OpCase> cases = testing::device_cases(testing::Op::rope_and_store);
    // What the kernel can do and no attention wants.
    testing::OpCase narrow = cases.front();
    narrow.heads = {8, 2, 1, 64};
    narrow.norms = false;
    testing::OpCase wide = cases.front();
    wide.heads = {256, 3, 1, 8};
    wide.norms = true;
    cases.insert(cases.end(), {narrow, wide});
    for (const testing::OpCase& c : cases) {
      check_rope(random, c, element,
                 c.norms || c.biases || c.query_scale.beta != 0 ? with_norms : errors);
    }
  }
}

TEST(CudaRopeAndStore, norms_that_a_warp_cannot_do_are_refused) {
  std::mt19937_64 random(1);
  const testing::Step step(random, {{0, 1}}, 8, 1);
  const DeviceArray<float> floats(std::vector<float>(4096));
  const DeviceArray<uint8_t> kv(std::vector<uint8_t>(size_t{1} << 16));
  const auto launch = [&](int32_t head_dim, const float* q_norm, const float* k_norm,
                          const float* q_bias = nullptr) {
    const KvMemory memory = {kv.get(), Element::f16, 1, step.n_blocks, 1, 8, head_dim};
    return launch_rope_and_store({step.device, memory, 0, 1, false, floats.get(), floats.get(),
                                  q_norm, k_norm, kEps, q_bias, nullptr, nullptr, 0, 1},
                                 nullptr);
  };
  EXPECT_EQ(launch(264, floats.get(), floats.get()), cudaErrorInvalidValue);
  EXPECT_EQ(launch(64, floats.get(), nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(launch(64, nullptr, floats.get()), cudaErrorInvalidValue);
  EXPECT_EQ(launch(64, nullptr, nullptr, floats.get()), cudaErrorInvalidValue) << "no bias of k";
  EXPECT_EQ(launch(64, floats.get() + 1, floats.get()), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace parkd::cuda
