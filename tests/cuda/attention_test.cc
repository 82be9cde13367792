// Paged attention against float64 on the same rounded KV: decode and prefill, every KV type.
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
using testing::SequenceCase;
using testing::Step;

struct Heads {
  int32_t head_dim;
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t block_size;
};

constexpr float kValueMax = 5;  // |V|

// A step's queries and the KV of all its sequences. Slots without a token hold NaN.
class Problem {
 public:
  Problem(std::mt19937_64& random, const Heads& h, Element element, const Step& s)
      : heads(h), step(s), element_(element) {
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
    const DeviceArray<float> workspace(
        std::vector<float>(static_cast<size_t>(attention_workspace_floats(
                               step.device.decode_max, heads.n_heads, heads.head_dim, n_splits)),
                           testing::kNan));
    AttentionParams params = {};
    params.step = step.device;
    params.kv = {kv.get(),         element_,         kLayers,       step.n_blocks,
                 heads.n_kv_heads, heads.block_size, heads.head_dim};
    params.layer = kLayer;
    params.n_heads = heads.n_heads;
    params.scale = scale();
    params.qkv = qkv.get();
    params.out = out.get();
    params.element = element_;
    params.n_splits = n_splits;
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
    std::vector<double> score(static_cast<size_t>(n));
    double maximum = -1e300;
    for (int32_t t = 0; t < n; ++t) {
      const float* k = kv_.data() + slot(sequence, t, kv_head, false);
      double dot = 0;
      for (int32_t d = 0; d < heads.head_dim; ++d) dot += double{q[d]} * double{k[d]};
      score[static_cast<size_t>(t)] = dot * double{scale()};
      maximum = std::max(maximum, score[static_cast<size_t>(t)]);
    }
    double sum = 0;
    std::vector<double> out(static_cast<size_t>(heads.head_dim));
    for (int32_t t = 0; t < n; ++t) {
      const double p = std::exp(score[static_cast<size_t>(t)] - maximum);
      const float* v = kv_.data() + slot(sequence, t, kv_head, true);
      sum += p;
      for (size_t d = 0; d < out.size(); ++d) out[d] += p * double{v[d]};
    }
    for (double& x : out) x /= sum;
    return out;
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

TEST(CudaAttentionDecode, equals_float64_around_every_edge) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : testing::kElements) {
    Errors errors = errors_of("attention_decode", element);
    for (const Heads& heads : {Heads{64, 9, 3, 32}, Heads{64, 8, 8, 8}, Heads{80, 2, 1, 16},
                               Heads{96, 12, 3, 24}, Heads{128, 5, 1, 32}, Heads{128, 14, 2, 64}}) {
      // Lengths: context + 1. Edges of runs of 8, of blocks, of a block's turn of 32, of splits.
      std::vector<SequenceCase> cases;
      for (const int32_t context : {0, 6, 7, 8, 31, 32, 127, 128, 129, 300}) {
        cases.push_back({context, 1});
      }
      const Step step(random, cases, heads.block_size, 2);
      const Problem problem(random, heads, element, step);
      for (const int32_t n_splits : {1, 3}) {
        problem.check(problem.run(launch_attention_decode, n_splits, false), true, errors);
      }
    }
  }
}

// More than 16 runs of 8 tokens a split, the least there are: 384 tokens fill 3 splits of 16.
TEST(CudaAttentionDecode, equals_float64_with_long_splits) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : {Element::f32, Element::bf16}) {
    Errors errors = errors_of("attention_decode", element);
    for (const Heads& heads : {Heads{64, 9, 3, 32}, Heads{128, 4, 1, 16}}) {
      const Step step(random, {{383, 1}, {384, 1}, {391, 1}, {700, 1}, {1100, 1}}, heads.block_size,
                      1);
      const Problem problem(random, heads, element, step);
      for (const int32_t n_splits : {2, 3}) {
        problem.check(problem.run(launch_attention_decode, n_splits, false), true, errors);
      }
    }
  }
}

TEST(CudaAttentionDecode, does_every_group_size_also_beside_chunks) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors = errors_of("attention_decode", Element::bf16);
  for (const int32_t group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
    const Heads heads = {group % 2 == 0 ? 64 : 128, group * 2, 2, 16};
    const Step step(random, {{40, 1}, {0, 5}, {150, 1}, {20, 3}}, heads.block_size, 1);
    const Problem problem(random, heads, Element::bf16, step);
    problem.check(problem.run(launch_attention_decode, 3, false), true, errors);
  }
}

TEST(CudaAttentionPrefill, equals_float64_around_every_edge) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : testing::kElements) {
    Errors errors = errors_of("attention_prefill", element);
    for (const Heads& heads : {Heads{64, 9, 3, 32}, Heads{64, 8, 8, 8}, Heads{80, 2, 1, 16},
                               Heads{96, 6, 1, 24}, Heads{128, 14, 2, 64}}) {
      // Chunks around a tile's tokens (32 / group) and KV's 32, from the start and from a context.
      const int32_t tokens = 32 / (heads.n_heads / heads.n_kv_heads);
      const Step step(random,
                      {{0, 2},
                       {9, 1},
                       {0, tokens - 1},
                       {0, tokens},
                       {31, tokens + 1},
                       {32, 2 * tokens},
                       {33, 2 * tokens + 1},
                       {130, 33}},
                      heads.block_size, 2);
      const Problem problem(random, heads, element, step);
      problem.check(problem.run(launch_attention_prefill, 1, false), false, errors);
    }
  }
}

// The tensor cores' path rounds q and the probabilities to the KV type; the reference rounds q too.
TEST(CudaAttentionPrefill, equals_float64_within_the_roundings_of_tensor_cores) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const Element element : {Element::f16, Element::bf16}) {
    // A weighted mean's error is its weights' rounding; the output's own is relative.
    Errors errors(std::string("attention_prefill_mma ") + testing::to_string(element),
                  testing::rounding(element), double{kValueMax} * testing::rounding(element));
    for (const Heads& heads :
         {Heads{64, 9, 3, 32}, Heads{80, 1, 1, 8}, Heads{96, 6, 1, 24}, Heads{128, 14, 2, 64}}) {
      const int32_t tokens = 64 / (heads.n_heads / heads.n_kv_heads);
      const Step step(random,
                      {{0, 2}, {9, 1}, {0, tokens - 1}, {62, tokens}, {63, tokens + 1}, {70, 17}},
                      heads.block_size, 2);
      Problem problem(random, heads, element, step);
      problem.round_queries();
      problem.check(problem.run(launch_attention_prefill, 1, true), false, errors);
    }
  }
}

TEST(CudaAttentionPrefill, does_every_group_size_and_many_sequences) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors = errors_of("attention_prefill", Element::bf16);
  for (const int32_t group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
    const Heads heads = {group % 2 == 0 ? 64 : 128, group * 2, 2, 16};
    std::vector<SequenceCase> cases = {{0, 35}, {17, 1}, {50, 3}};
    if (group == 4) cases.resize(40, {3, 2});  // more than the lanes of a warp
    const Step step(random, cases, heads.block_size, 1);
    const Problem problem(random, heads, Element::bf16, step);
    problem.check(problem.run(launch_attention_prefill, 1, false), false, errors);
  }
}

TEST(CudaAttention, splits_fill_the_device_and_stay_within_their_bounds) {
  EXPECT_EQ(attention_splits(256, 8, 4096, 132), 1);
  EXPECT_EQ(attention_splits(1, 8, 8192, 132), 64);
  EXPECT_EQ(attention_splits(8, 8, 8192, 132), 9);
  EXPECT_EQ(attention_splits(1, 8, 100, 132), 1);
  EXPECT_EQ(attention_splits(0, 8, 100, 132), 1);
  EXPECT_TRUE(attention_supports(80, 7));
  EXPECT_FALSE(attention_supports(72, 7));
  EXPECT_FALSE(attention_supports(64, 17));
}

}  // namespace
}  // namespace parkd::cuda
