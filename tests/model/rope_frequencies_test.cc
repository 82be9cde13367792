// Frequencies of scaled ropes against transformers' modeling_rope_utils.py (float32), where their
// bands begin, end and are in between.
#include "lib/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace parkd {
namespace {

using Values = std::map<size_t, double>;

void expect_values(const std::vector<float>& got, size_t n, const Values& wanted) {
  ASSERT_EQ(got.size(), n);
  for (const auto& [i, value] : wanted) {
    // transformers raises the base to a power and divides in float32.
    EXPECT_NEAR(double{got[i]}, value, value * 3e-6) << "pair " << i;
  }
}

TEST(RopeFrequencies, plain_and_linear_ones_are_powers_of_the_base) {
  const std::vector<float> plain = plain_rope(64, 1e6);
  expect_values(plain, 32, {{0, 1.0}, {1, 0.6493816375732422}, {8, 0.0316227766016838}});
  expect_values(linear_rope(64, 1e6, 8), 32,
                {{0, 0.125}, {1, 0.08117270469665527}, {20, 2.2228492525755428e-05}});
  EXPECT_EQ(linear_rope(64, 1e6, 1), plain);
}

// Llama 3.1 8B and Llama 3.2 3B (with its head halved).
TEST(RopeFrequencies, llama3s_slow_down_long_waves) {
  Llama3Rope scaling;
  expect_values(llama3_rope(128, 5e5, scaling), 64,
                {{0, 1.0},
                 {1, 0.8146172165870667},
                 {28, 0.0032114461064338684},
                 {29, 0.0021665706299245358},
                 {30, 0.0013718936825171113},
                 {35, 9.556212171446532e-05},
                 {36, 7.784655463183299e-05},
                 {63, 3.068925877869333e-07}});
  scaling.factor = 32;
  expect_values(
      llama3_rope(64, 5e5, scaling), 32,
      {{8, 0.03760603070259094}, {20, 8.570255886297673e-06}, {31, 9.418306490260875e-08}});
  scaling.factor = 1;
  EXPECT_EQ(llama3_rope(64, 5e5, scaling), plain_rope(64, 5e5));
}

// Ministral-3 3B.
TEST(RopeFrequencies, yarns_ramp_between_the_pairs_that_turn_often_and_once) {
  YarnRope scaling;
  scaling.factor = 16;
  scaling.original_context = 16384;
  scaling.mscale = scaling.mscale_all_dim = 1;
  expect_values(yarn_rope(128, 1e6, scaling), 64,
                {{0, 1.0},
                 {1, 0.8058422207832336},
                 {20, 0.01333521492779255},
                 {21, 0.010153464041650295},
                 {28, 0.0013251795899122953},
                 {36, 4.9611349822953343e-05},
                 {37, 2.123880221915897e-05},
                 {63, 7.75586102008674e-08}});
  EXPECT_EQ(yarn_attention_factor(scaling), 1.0);
  scaling = {};
  scaling.factor = 4;
  scaling.original_context = 32768;
  expect_values(
      yarn_rope(64, 1e6, scaling), 32,
      {{8, 0.03162277862429619}, {20, 4.4456985051510856e-05}, {31, 3.8498163235090033e-07}});
  EXPECT_NEAR(yarn_attention_factor(scaling), 1.138629436111989, 1e-12);
  scaling.attention_factor = 1.5;
  EXPECT_EQ(yarn_attention_factor(scaling), 1.5);
}

TEST(RopeFrequencies, a_yarn_without_a_ramp_has_a_step) {
  YarnRope scaling;
  scaling.factor = 2;
  scaling.original_context = 1;  // every pair turns less than once
  const std::vector<float> plain = plain_rope(8, 1e4);
  const std::vector<float> got = yarn_rope(8, 1e4, scaling);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(std::isfinite(got[i]));
    EXPECT_LE(got[i], plain[i]);
  }
}

}  // namespace
}  // namespace parkd
