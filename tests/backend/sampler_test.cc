// The generator's known answers and the sampler's rules.
#include "lib/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "kernels/common/counter_rng.h"
#include "tests/backend/random_data.h"

namespace parkd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SampledToken sample(const std::vector<float>& logits, const SamplingParams& params,
                    int32_t choice_index = 0, int32_t position = 0) {
  Sampler sampler(static_cast<int64_t>(logits.size()));
  SampledToken out;
  sampler.sample_row(logits, {&params, choice_index, position}, out);
  return out;
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TEST(CounterRng, gives_the_known_answers_of_random123) {
  // kat_vectors of the Random123 distribution, lines "philox4x32 10".
  struct Case {
    PhiloxCounter counter;
    PhiloxKey key;
    PhiloxCounter answer;
  };
  const Case cases[] = {
      {{{0, 0, 0, 0}}, {{0, 0}}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {{0xffffffff, 0xffffffff}},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {{0xa4093822, 0x299f31d0}},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const Case& c : cases) {
    const PhiloxCounter got = philox4x32_10(c.counter, c.key);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(got.word[i], c.answer.word[i]);
  }
}

TEST(Sampler, greedy_takes_the_greatest_and_the_lowest_id_of_equals) {
  std::vector<float> logits(1000, -5.0F);
  logits[300] = logits[77] = logits[999] = 2.5F;
  EXPECT_EQ(sample(logits, greedy()).token, 77);
  SamplingParams params;
  params.top_k = 1;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    EXPECT_EQ(sample(logits, params).token, 77);
  }
}

TEST(Sampler, the_same_key_gives_the_same_token_and_each_part_of_the_key_matters) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits(5000, 1.0F);  // uniform: tokens are the noise itself
  SamplingParams params;
  params.seed = random();
  const TokenId token = sample(logits, params, 3, 17).token;
  EXPECT_EQ(sample(logits, params, 3, 17).token, token);
  int same = 0;
  for (int32_t i = 1; i <= 20; ++i) {
    SamplingParams other = params;
    other.seed += static_cast<uint64_t>(i) << 32;
    same += sample(logits, other, 3, 17).token == token ? 1 : 0;
    same += sample(logits, params, 3 + i, 17).token == token ? 1 : 0;
    same += sample(logits, params, 3, 17 + i).token == token ? 1 : 0;
  }
  EXPECT_LE(same, 3);  // expected 60 / 5000; more than 3 has probability below 1e-8
}

// Chi-square of `draws` tokens against expected probabilities.
double chi_square(const std::vector<float>& logits, SamplingParams params,
                  const std::map<TokenId, double>& expected, int draws) {
  Sampler sampler(static_cast<int64_t>(logits.size()));
  std::map<TokenId, int> counts;
  SampledToken out;
  for (int i = 0; i < draws; ++i) {
    sampler.sample_row(logits, {&params, 0, i}, out);
    ++counts[out.token];
  }
  double sum = 0;
  for (const auto& [token, count] : counts) {
    if (expected.count(token) == 0) return std::numeric_limits<double>::infinity();
  }
  for (const auto& [token, probability] : expected) {
    const double want = probability * draws;
    const double difference = counts[token] - want;
    sum += difference * difference / want;
  }
  return sum;
}

// Above this a right sampler is found wrong once in about 10^7 runs (Wilson and Hilferty).
double chi_square_bound(size_t n_cells) {
  const auto freedom = static_cast<double>(n_cells - 1);
  const double a = 2 / (9 * freedom);
  return freedom * std::pow(1 - a + 5.2 * std::sqrt(a), 3);
}

struct Filtered {
  const char* name;
  float temperature;
  int32_t top_k;
  float top_p;
  float min_p;
};

TEST(Sampler, draws_from_the_filtered_distribution) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits = testing::random_floats(random, 200, 1.5F);
  std::vector<TokenId> best_first(logits.size());
  std::iota(best_first.begin(), best_first.end(), 0);
  std::sort(best_first.begin(), best_first.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  const Filtered cases[] = {
      {"plain", 1.0F, 0, 1.0F, 0.0F},       {"hot", 1.7F, 0, 1.0F, 0.0F},
      {"top_k", 0.8F, 12, 1.0F, 0.0F},      {"top_p", 0.9F, 0, 0.7F, 0.0F},
      {"top_p_long", 2.0F, 0, 0.95F, 0.0F}, {"min_p", 1.0F, 0, 1.0F, 0.1F},
      {"all", 1.2F, 40, 0.8F, 0.08F},
  };
  for (const Filtered& c : cases) {
    std::vector<double> weight;
    for (const TokenId token : best_first) {
      weight.push_back(std::exp(static_cast<double>(logits[static_cast<size_t>(token)] -
                                                    logits[static_cast<size_t>(best_first[0])]) /
                                static_cast<double>(c.temperature)));
    }
    if (c.top_k > 0) weight.resize(static_cast<size_t>(c.top_k));
    double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    double sum = 0;
    size_t kept = 0;
    while (kept < weight.size() && (kept == 0 || sum < static_cast<double>(c.top_p) * total)) {
      sum += weight[kept++];
    }
    if (c.top_p < 1) weight.resize(kept);
    while (weight.back() < static_cast<double>(c.min_p)) weight.pop_back();
    total = std::accumulate(weight.begin(), weight.end(), 0.0);
    std::map<TokenId, double> expected;
    for (size_t i = 0; i < weight.size(); ++i) expected[best_first[i]] = weight[i] / total;
    SamplingParams params;
    params.temperature = c.temperature;
    params.top_k = c.top_k;
    params.top_p = c.top_p;
    params.min_p = c.min_p;
    params.seed = random();
    EXPECT_LT(chi_square(logits, params, expected, 100000), chi_square_bound(expected.size()))
        << c.name;
  }
}

TEST(Sampler, top_k_keeps_the_lowest_ids_of_equals) {
  std::vector<float> logits(500, 0.0F);
  logits[400] = 1.0F;
  SamplingParams params;
  params.top_k = 4;
  std::map<TokenId, int> seen;
  for (int32_t i = 0; i < 2000; ++i) ++seen[sample(logits, params, 0, i).token];
  EXPECT_EQ(seen.size(), 4U);
  for (const TokenId token : {400, 0, 1, 2}) EXPECT_GT(seen[token], 0) << token;
}

TEST(Sampler, log_probabilities_are_of_the_raw_softmax_and_best_first) {
  std::mt19937_64 random(testing::fresh_seed());
  std::vector<float> logits = testing::random_floats(random, 49152, 3.0F);
  logits[100] = logits[40000] = 30.0F;  // equal: the lower id first
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  SamplingParams params;
  params.temperature = 0.5F;
  params.top_k = 50;
  params.seed = random();
  params.logprobs = true;
  params.top_logprobs = 20;
  const SampledToken got = sample(logits, params);
  const auto wanted = [&](TokenId token) {
    return static_cast<double>(logits[static_cast<size_t>(token)]) - std::log(sum);
  };
  // Sums of 64 floats, each within 3 ulp, then in double.
  EXPECT_NEAR(static_cast<double>(got.logprob), wanted(got.token), 1e-5);
  ASSERT_EQ(got.top.size(), 20U);
  EXPECT_EQ(got.top[0].token, 100);
  EXPECT_EQ(got.top[1].token, 40000);
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (size_t i = 0; i < got.top.size(); ++i) {
    EXPECT_EQ(logits[static_cast<size_t>(got.top[i].token)], sorted[i]);
    EXPECT_NEAR(static_cast<double>(got.top[i].logprob), wanted(got.top[i].token), 1e-5);
  }
  params.top_logprobs = 0;
  params.logprobs = false;
  EXPECT_TRUE(sample(logits, params).top.empty());
}

TEST(Sampler, all_log_probabilities_of_a_small_row_sum_to_one) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits = testing::random_floats(random, 20, 2.0F);
  SamplingParams params = greedy();
  params.top_logprobs = 20;
  double sum = 0;
  for (const TokenLogprob& t : sample(logits, params).top) {
    sum += std::exp(static_cast<double>(t.logprob));
  }
  EXPECT_NEAR(sum, 1.0, 1e-5);
}

TEST(Sampler, a_row_that_cannot_be_sampled_gives_minus_one) {
  SamplingParams params;
  params.logprobs = true;
  params.top_logprobs = 5;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    for (const size_t at : {size_t{0}, size_t{70}, size_t{99}}) {
      std::vector<float> logits(100, 1.0F);
      logits[at] = bad;
      EXPECT_EQ(sample(logits, params).token, -1);
      EXPECT_EQ(sample(logits, greedy()).token, -1);
    }
  }
  EXPECT_EQ(sample(std::vector<float>(100, -kInfinity), params).token, -1);
}

TEST(Sampler, minus_infinity_is_never_chosen) {
  std::vector<float> logits(300, -kInfinity);
  logits[7] = -1e30F;
  logits[299] = -1e30F;
  SamplingParams params;
  params.temperature = 2.0F;
  params.top_logprobs = 5;
  for (const float top_p : {1.0F, 0.999F}) {
    params.top_p = top_p;
    for (int32_t i = 0; i < 200; ++i) {
      const SampledToken got = sample(logits, params, 0, i);
      EXPECT_TRUE(got.token == 7 || got.token == 299);
      EXPECT_EQ(got.top.size(), 2U);
    }
  }
}

TEST(Sampler, extreme_parameters_are_harmless) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits = testing::random_floats(random, 1000, 100.0F);
  const TokenId best = sample(logits, greedy()).token;
  SamplingParams params;
  params.temperature = 1e-44F;  // 1 / temperature is infinite
  EXPECT_EQ(sample(logits, params).token, best);
  params.temperature = 2e-5F;
  EXPECT_EQ(sample(logits, params).token, best);
  params.temperature = 2.0F;
  params.top_p = 1e-9F;
  EXPECT_EQ(sample(logits, params).token, best);
  params.top_p = 1.0F;
  params.min_p = 1.0F;
  EXPECT_EQ(sample(logits, params).token, best);
  params.top_k = 100000;
  EXPECT_EQ(sample(logits, params).token, best);
  EXPECT_EQ(sample({3.0F}, params).token, 0);
}

TEST(Sampler, weights_follow_the_exponential) {
  for (int i = 0; i <= 250000; ++i) {
    const float x = -25.0F * static_cast<float>(i) / 250000.0F;
    const double wanted = std::exp(static_cast<double>(x));
    // Products and sums rounded apart: a few ulp.
    ASSERT_NEAR(static_cast<double>(weight_exponential(x)), wanted, wanted * 4e-7);
  }
  EXPECT_EQ(weight_exponential(0.0F), 1.0F);
}

}  // namespace
}  // namespace parkd
