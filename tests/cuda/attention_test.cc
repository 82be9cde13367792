// Paged attention's kernels where the Lane does not lead: splits, rows that are not theirs. The
// rest: tests/ops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Errors;
using testing::finish;
using testing::SequenceCase;
using testing::Step;

using testing::Heads;

constexpr float kValueMax = 5;  // |V|

// A step's queries and the KV of all its sequences. Slots without a token hold NaN.
class Problem {
 public:
  Problem(std::mt19937_64& random, const Heads& h, Element element, const Step& s, int32_t window)
      : heads(h), step(s), element_(element), window_(window) {
    columns_ = (h.n_heads + 2 * h.n_kv_heads) * h.head_dim;
    qkv_ = testing::random_floats(random, int64_t{s.n_rows()} * columns_);
    // Large queries make peaked softmaxes, where a wrong maximum shows.
    for (size_t i = 0; i < qkv_.size(); ++i) qkv_[i] *= i / 97 % 3 == 0 ? 4.0F : 1.0F;
    const int64_t n = int64_t{kLayers} * s.n_blocks * 2 * h.n_kv_heads * h.block_size * h.head_dim;
    kv_.assign(static_cast<size_t>(n), testing::kNan);
    for (size_t i = 0; i < s.sequences.size(); ++i) {
      for (int32_t t = 0; t < s.sequences[i].context + s.sequences[i].rows; ++t) {
        for (int32_t head = 0; head < h.n_kv_heads; ++head) {
          for (const bool is_value : {false, true}) {
            const std::vector<float> values = testing::random_floats(random, h.head_dim);
            for (int32_t d = 0; d < h.head_dim; ++d) {
              kv_[slot(static_cast<int32_t>(i), t, head, is_value) + static_cast<size_t>(d)] =
                  testing::rounded(
                      element, std::clamp(values[static_cast<size_t>(d)], -kValueMax, kValueMax));
            }
          }
        }
      }
    }
  }

  void round_queries() {
    for (float& x : qkv_) x = testing::rounded(element_, x);
  }

  // What `launched` wrote, as floats; rows it must not touch hold -9.
  template <class Launch>
  std::vector<float> run(Launch launched, int32_t n_splits, bool tensor_cores) const {
    const DeviceArray<float> qkv(qkv_);
    const DeviceArray<uint8_t> kv(testing::to_elements(element_, kv_));
    const auto n_out = static_cast<size_t>(step.device.rows_max) *
                       static_cast<size_t>(heads.n_heads * heads.head_dim);
    const DeviceArray<uint8_t> out(
        testing::to_elements(element_, std::vector<float>(n_out, -9.0F)));
    // Tiles of prefill have a row at least.
    const int64_t floats = std::max(
        attention_workspace_floats(step.device.decode_max, heads.n_heads, heads.head_dim, n_splits),
        prefill_workspace_floats(step.device.rows_max * heads.n_kv_heads * n_splits, heads.head_dim,
                                 true));
    const DeviceArray<float> workspace(
        std::vector<float>(static_cast<size_t>(floats), testing::kNan));
    AttentionParams params = {};
    params.step = step.device;
    params.kv = {kv.get(),         element_,         kLayers,       step.n_blocks,
                 heads.n_kv_heads, heads.block_size, heads.head_dim};
    params.layer = kLayer;
    params.n_heads = heads.n_heads;
    params.scale = scale();
    params.window = window_;
    params.qkv = qkv.get();
    params.out = out.get();
    params.element = element_;
    params.n_splits = params.prefill_splits = n_splits;
    params.workspace = workspace.get();
    params.tensor_cores = tensor_cores;
    finish(launched(params, nullptr));
    return testing::from_elements(element_, out.read());
  }

  // The output of one row and head.
  std::vector<double> expected(int32_t row, int32_t head) const {
    const int32_t sequence = step.sequence_of_row[static_cast<size_t>(row)];
    const int32_t n = step.positions[static_cast<size_t>(row)] + 1;
    const int32_t kv_head = head / (heads.n_heads / heads.n_kv_heads);
    const float* q = qkv_.data() + int64_t{row} * columns_ + int64_t{head} * heads.head_dim;
    return testing::reference::attention(
        std::span<const float>(q, static_cast<size_t>(heads.head_dim)),
        testing::reference::first_seen(window_, n - 1), n, double{scale()},
        [&](int32_t t) { return kv_.data() + slot(sequence, t, kv_head, false); },
        [&](int32_t t) { return kv_.data() + slot(sequence, t, kv_head, true); });
  }

  void check(const std::vector<float>& got, bool wants_decode, Errors& errors) const {
    for (int32_t row = 0; row < step.device.rows_max; ++row) {
      const bool exists = row < step.n_rows();
      const bool is_decode =
          exists &&
          step.sequences[static_cast<size_t>(step.sequence_of_row[static_cast<size_t>(row)])]
                  .rows == 1;
      for (int32_t head = 0; head < heads.n_heads; ++head) {
        const float* at = got.data() + (int64_t{row} * heads.n_heads + head) * heads.head_dim;
        if (!exists || is_decode != wants_decode) {
          ASSERT_EQ(std::count(at, at + heads.head_dim, -9.0F), heads.head_dim)
              << "row " << row << " is not this kernel's";
          continue;
        }
        const std::vector<double> wanted = expected(row, head);
        for (int32_t d = 0; d < heads.head_dim; ++d) {
          errors.check(at[d], wanted[static_cast<size_t>(d)],
                       "head_dim " + std::to_string(heads.head_dim) + " heads " +
                           std::to_string(heads.n_heads) + "/" + std::to_string(heads.n_kv_heads) +
                           " row " + std::to_string(row) + " position " +
                           std::to_string(step.positions[static_cast<size_t>(row)]) + " head " +
                           std::to_string(head) + " dim " + std::to_string(d));
        }
      }
    }
  }

  const Heads heads;
  const Step& step;

 private:
  static constexpr int32_t kLayers = 2;
  static constexpr int32_t kLayer = 1;

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(heads.head_dim)); }
  size_t slot(int32_t sequence, int32_t token, int32_t head, bool is_value) const {
    const int64_t block = step.block_of(sequence, token / heads.block_size);
    const int64_t tile = (kLayer * int64_t{step.n_blocks} + block) * 2 + (is_value ? 1 : 0);
    return static_cast<size_t>(
        ((tile * heads.n_kv_heads + head) * heads.block_size + token % heads.block_size) *
        heads.head_dim);
  }

  Element element_;
  int32_t window_;
  int32_t columns_;
  std::vector<float> qkv_;
  std::vector<float> kv_;
};

// Of the largest value of V, before the output's rounding. Scores (some 20 here) are sums of
// head_dim products in float, off by some 1e-6, and a probability by as much of itself. Seen under
// the emulator in ten runs: 0.4e-6 (decode), 1.4e-6 (prefill); a GPU adds its own order of sums.
constexpr double kErrorOfLargestValue = 4e-6;

Errors errors_of(const char* kernel, Element element) {
  return Errors(std::string(kernel) + " " + testing::to_string(element), testing::rounding(element),
                kErrorOfLargestValue * double{kValueMax});
}

// The cases of the list whose sequences decode, in splits that no device of the emulator would make
// of them; and rows that are not the kernel's, beyond the counts or of a chunk.
TEST(CudaAttentionDecode, equals_float64_in_any_number_of_splits_and_leaves_other_rows_alone) {
  std::mt19937_64 random(testing::fresh_seed());
  std::map<Element, std::unique_ptr<Errors>> errors;
  for (const Element element : testing::kElements) {
    errors[element].reset(new Errors(errors_of("attention_decode", element)));
  }
  for (const testing::OpCase& c : testing::device_cases(testing::Op::attention)) {
    const auto decodes = [](const SequenceCase& s) { return s.rows == 1; };
    const auto n_decode = std::count_if(c.sequences.begin(), c.sequences.end(), decodes);
    if (n_decode == 0 || c.rotates || c.biases || c.values == testing::Values::far) continue;
    // More than 16 runs of 8 tokens a split, the least there are: 384 tokens fill 3 splits of 16.
    const bool is_long = c.sequences.back().context > 1000;
    for (const Element element : testing::kElements) {
      if (!c.every_dtype && element != Element::bf16) continue;
      const Step step(random, c.sequences, c.heads.block_size, 2);
      const Problem problem(random, c.heads, element, step, c.window);
      for (const int32_t n_splits : {2, 3}) {
        if (n_splits == 2 && !is_long) continue;
        problem.check(problem.run(launch_attention_decode, n_splits, false), true,
                      *errors[element]);
      }
    }
  }
}

TEST(CudaAttentionPrefill, leaves_rows_that_are_not_its_own_alone) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors = errors_of("attention_prefill", Element::bf16);
  Errors errors_mma("attention_prefill_mma bf16", testing::rounding(Element::bf16),
                    double{kValueMax} * testing::rounding(Element::bf16));
  const std::vector<testing::OpCase> cases = testing::device_cases(testing::Op::attention);
  const auto beside = std::find_if(cases.begin(), cases.end(), [](const testing::OpCase& c) {
    return c.name.starts_with("beside each other") && c.heads.group() == 3;
  });
  ASSERT_NE(beside, cases.end());
  const Step step(random, beside->sequences, beside->heads.block_size, 2);
  Problem problem(random, beside->heads, Element::bf16, step, 0);
  problem.check(problem.run(launch_attention_prefill, 1, false), false, errors);
  problem.round_queries();
  problem.check(problem.run(launch_attention_prefill, 1, true), false, errors_mma);
}

// Few rows behind long prefixes, one of them a whole number of steps long, beside a prompt that is
// not split and a row that decodes.
TEST(CudaAttentionPrefill, equals_float64_in_any_number_of_splits) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<SequenceCase> sequences = {{40, 1}, {0, 3}, {767, 3}, {320, 4}};
  struct Case {
    Heads heads;
    int32_t window = 0;
    bool every_dtype = false;
  };
  const std::vector<Case> cases = {
      {{64, 4, 1, 32}, 0, true}, {{128, 3, 1, 16}}, {{80, 2, 2, 32}},
      {{256, 2, 1, 32}},         {{96, 5, 1, 8}},   {{64, 4, 1, 32}, 300},
  };
  for (const Element element : testing::kElements) {
    Errors errors = errors_of("split attention_prefill", element);
    Errors errors_mma(std::string("split attention_prefill_mma ") + testing::to_string(element),
                      testing::rounding(element), double{kValueMax} * testing::rounding(element));
    for (const Case& c : cases) {
      if (!c.every_dtype && element != Element::bf16) continue;
      const Step step(random, sequences, c.heads.block_size, 2);
      Problem problem(random, c.heads, element, step, c.window);
      for (const int32_t n_splits : {2, 3}) {
        problem.check(problem.run(launch_attention_prefill, n_splits, false), false, errors);
      }
      if (element == Element::f32 || c.window > 0 || c.heads.head_dim > 128) continue;
      problem.round_queries();
      for (const int32_t n_splits : {2, 3}) {
        problem.check(problem.run(launch_attention_prefill, n_splits, true), false, errors_mma);
      }
    }
  }
}

TEST(CudaAttention, splits_of_prefill_fill_the_device_and_stay_within_their_bounds) {
  constexpr int32_t kResident = 132 * 2;
  AttentionParams params = {};
  params.n_heads = 32;
  params.kv.n_kv_heads = 8;
  params.kv.head_dim = 128;
  params.kv.element = Element::bf16;
  params.tensor_cores = true;
  const auto splits = [&](int32_t rows, int32_t sequences, int32_t prefix) {
    params.step.rows_max = rows;
    params.step.sequences_max = sequences;
    const int32_t n = prefill_splits(params, prefix, kResident);
    const int32_t tiles = (rows + sequences * 15) / 16;
    EXPECT_TRUE(n == 1 || tiles * 8 * n <= kResident) << "more than the workspace holds";
    return n;
  };
  EXPECT_EQ(splits(16, 1, 32'768), 33) << "8 blocks without";
  EXPECT_EQ(splits(17, 1, 32'768), 16);
  EXPECT_EQ(splits(16, 1, 1024), 4) << "256 tokens each at least";
  EXPECT_EQ(splits(16, 1, 0), 1);
  EXPECT_EQ(splits(2048, 1, 32'768), 1);
  EXPECT_EQ(splits(0, 0, 0), 1);
  params.window = 512;  // the plain kernel, tiles of 8 tokens
  params.step.rows_max = 8;
  params.step.sequences_max = 1;
  EXPECT_EQ(prefill_splits(params, 32'768, kResident), 2)
      << "what is before the window is not read";
  for (const bool tensor_cores : {false, true}) {
    for (const Element element : testing::kElements) {
      if (tensor_cores && element == Element::f32) continue;
      int32_t n_blocks = 0;
      ASSERT_EQ(prefill_resident_blocks(element, 128, tensor_cores, &n_blocks), cudaSuccess);
      EXPECT_GE(n_blocks, 1);
    }
  }
  int32_t n_blocks = 0;
  EXPECT_EQ(prefill_resident_blocks(Element::f32, 128, true, &n_blocks), cudaErrorInvalidValue);
  EXPECT_EQ(prefill_resident_blocks(Element::bf16, 256, true, &n_blocks), cudaErrorInvalidValue);
}

TEST(CudaAttention, splits_fill_the_device_and_stay_within_their_bounds) {
  constexpr int32_t kResident = 132 * 3;
  EXPECT_EQ(attention_splits(256, 32, 8, 4096, kResident), 1);
  EXPECT_EQ(attention_splits(1, 32, 8, 8192, kResident), 49);
  EXPECT_EQ(attention_splits(1, 8, 8, 1 << 20, 132 * 8), 64);
  EXPECT_EQ(attention_splits(8, 32, 8, 8192, kResident), 6) << "7 would begin 52 blocks later";
  EXPECT_EQ(attention_splits(1, 128, 8, 8192, kResident), 24) << "two blocks have a kv head's";
  EXPECT_EQ(attention_splits(1, 32, 8, 100, kResident), 1);
  EXPECT_EQ(attention_splits(0, 32, 8, 100, kResident), 1);
  for (const Element element : testing::kElements) {
    for (const int32_t group : {1, 2, 4, 7, 16}) {
      int32_t n_blocks = 0;
      ASSERT_EQ(attention_resident_blocks(element, 128, group, &n_blocks), cudaSuccess);
      EXPECT_GE(n_blocks, 1) << testing::to_string(element) << " group " << group;
    }
  }
  int32_t n_blocks = 0;
  EXPECT_EQ(attention_resident_blocks(Element::bf16, 72, 4, &n_blocks), cudaErrorInvalidValue);
  EXPECT_TRUE(attention_supports(80, 7));
  EXPECT_TRUE(attention_supports(256, 4));
  EXPECT_FALSE(attention_supports(72, 7));
  EXPECT_FALSE(attention_supports(64, 17));
}

}  // namespace
}  // namespace parkd::cuda
