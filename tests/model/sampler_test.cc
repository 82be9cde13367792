// The generator's known answers and the sampler's rules.
#include "lib/model/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "kernels/common/counter_rng.h"
#include "tests/support/random_data.h"

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
    while (weight.back() < static_cast<double>(c.min_p)) weight.pop_back();
    if (c.top_k > 0) {
      weight.resize(std::min<size_t>(weight.size(), static_cast<size_t>(c.top_k)));
    }
    double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    double sum = 0;
    size_t kept = 0;
    while (kept < weight.size() && (kept == 0 || sum < static_cast<double>(c.top_p) * total)) {
      sum += weight[kept++];
    }
    if (c.top_p < 1) weight.resize(kept);
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

// Step 0 as its header states it, in double, from the texts themselves.
double edited_in_double(float logit, TokenId token, const SamplingParams& params,
                        const std::vector<TokenId>& prompt, const std::vector<TokenId>& output) {
  auto x = static_cast<double>(logit);
  for (const TokenBias& bias : params.logit_bias) {
    if (bias.token == token) x += static_cast<double>(bias.bias);
  }
  const auto in_prompt = std::count(prompt.begin(), prompt.end(), token);
  const auto in_output = std::count(output.begin(), output.end(), token);
  const auto repetition = static_cast<double>(params.repetition_penalty);
  if (in_prompt + in_output > 0) x = x > 0 ? x / repetition : x * repetition;
  x -= static_cast<double>(params.frequency_penalty) * static_cast<double>(in_output);
  if (in_output > 0) x -= static_cast<double>(params.presence_penalty);
  return x;
}

SamplingParams random_edits(std::mt19937_64& random, int32_t vocab) {
  std::uniform_real_distribution<float> uniform(-2.0F, 2.0F);
  SamplingParams params;
  if (random() % 3 != 0) params.presence_penalty = uniform(random);
  if (random() % 3 != 0) params.frequency_penalty = uniform(random);
  if (random() % 3 != 0) params.repetition_penalty = std::exp(uniform(random));
  for (TokenId token = 0; token < vocab; ++token) {
    if (random() % 8 == 0) params.logit_bias.push_back({token, 50 * uniform(random)});
  }
  std::shuffle(params.logit_bias.begin(), params.logit_bias.end(), random);
  return params;
}

std::vector<TokenId> random_tokens(std::mt19937_64& random, size_t n, int32_t vocab) {
  std::vector<TokenId> tokens(n);
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return tokens;
}

TEST(LogitEdits, list_and_formula_are_those_of_a_plain_count_in_double) {
  std::mt19937_64 random(testing::fresh_seed());
  const int32_t vocab = 100;
  int n_close = 0;
  for (int round = 0; round < 300; ++round) {
    SamplingParams params = random_edits(random, vocab);
    const std::vector<TokenId> prompt = random_tokens(random, random() % 60, vocab);
    const std::vector<TokenId> output = random_tokens(random, random() % 60, vocab);
    if (!LogitEdits::wanted(params)) continue;
    LogitEdits edits(params, prompt);
    for (const TokenId token : output) edits.add(token);
    const std::vector<float> logits = testing::random_floats(random, vocab, 4.0F);
    std::vector<float> got = logits;
    TokenId last = -1;
    for (const LogitEdit& edit : edits.list()) {
      ASSERT_GT(edit.token, last) << "each once, ascending";
      last = edit.token;
      got[static_cast<size_t>(edit.token)] =
          edited_logit(logits[static_cast<size_t>(edit.token)], edit, params);
    }
    std::vector<double> wanted;
    for (TokenId token = 0; token < vocab; ++token) {
      const auto i = static_cast<size_t>(token);
      wanted.push_back(edited_in_double(logits[i], token, params, prompt, output));
      // Four roundings of values up to 200 + 120 + 100.
      ASSERT_NEAR(static_cast<double>(got[i]), wanted[i], 1e-4) << "token " << token;
    }
    const auto best = std::max_element(wanted.begin(), wanted.end()) - wanted.begin();
    std::vector<double> sorted = wanted;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    if (sorted[0] - sorted[1] < 2e-4) {
      ++n_close;
      continue;
    }
    params.temperature = 0;
    Sampler sampler(vocab);
    SampledToken out;
    sampler.sample_row(logits, {&params, 0, 0, edits.list()}, out);
    EXPECT_EQ(out.token, best);
  }
  EXPECT_LT(n_close, 30);
}

TEST(LogitEdits, nothing_is_kept_that_nothing_asks_for) {
  const std::vector<TokenId> prompt = {3, 1, 3};
  SamplingParams params;
  EXPECT_FALSE(LogitEdits::wanted(params));
  params.logit_bias = {{8, 1.0F}, {2, -1.0F}};
  LogitEdits biases(params, prompt);
  biases.add(5);
  ASSERT_EQ(biases.list().size(), 2U);
  EXPECT_EQ(biases.list()[0].token, 2);
  EXPECT_EQ(biases.list()[0].in_output, -1);
  EXPECT_FALSE(biases.counts());
  params.frequency_penalty = 1;
  LogitEdits output(params, prompt);
  output.add(5);
  output.add(5);
  output.add(8);
  ASSERT_EQ(output.list().size(), 3U) << "the prompt is nothing to a frequency";
  EXPECT_EQ(output.list()[1].in_output, 2);
  EXPECT_EQ(output.list()[2].in_output, 1);
  EXPECT_EQ(output.list()[2].bias, 1.0F);
}

TEST(LogitEdits, products_are_rounded_before_they_are_subtracted) {
  std::mt19937_64 random(testing::fresh_seed());
  int n_told_apart = 0;
  for (int i = 0; i < 1000; ++i) {
    const SamplingParams params = random_edits(random, 0);
    const LogitEdit edit = {0, static_cast<int32_t>(1 + random() % 9), 0.5F};
    const float logit = testing::random_floats(random, 1, 4.0F)[0];
    volatile float x = logit + edit.bias;
    x = x > 0 ? x / params.repetition_penalty : x * params.repetition_penalty;
    const float fused = std::fma(-params.frequency_penalty, static_cast<float>(edit.in_output), x);
    volatile float product = params.frequency_penalty * static_cast<float>(edit.in_output);
    x = x - product;
    n_told_apart += x != fused ? 1 : 0;
    x = x - params.presence_penalty;
    EXPECT_EQ(edited_logit(logit, edit, params), x);
  }
  EXPECT_GT(n_told_apart, 10);
}

TEST(LogitEdits, extreme_params_keep_every_logit_finite_and_leave_a_bad_row_bad) {
  for (const float penalty : {0.01F, 100.0F}) {
    for (const float sign : {-1.0F, 1.0F}) {
      SamplingParams params;
      params.repetition_penalty = penalty;
      params.frequency_penalty = params.presence_penalty = 2 * sign;
      for (const float logit : {1e36F, -1e36F, 0.0F, 1e-40F}) {
        EXPECT_TRUE(std::isfinite(edited_logit(logit, {0, 1 << 20, -100 * sign}, params)));
      }
      EXPECT_EQ(edited_logit(-kInfinity, {0, 7, 100.0F}, params), -kInfinity);
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
        std::vector<float> logits(100, 1.0F);
        logits[70] = bad;
        const std::vector<LogitEdit> edits = {{70, 3, -100.0F}};
        Sampler sampler(100);
        SampledToken out;
        sampler.sample_row(logits, {&params, 0, 0, edits}, out);
        EXPECT_EQ(out.token, -1);
      }
    }
  }
}

TEST(LogitEdits, a_bias_of_100_forces_a_token_and_minus_100_bans_it) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits = testing::random_floats(random, 200, 3.0F);
  SamplingParams params;
  params.temperature = 2;
  const TokenId best = sample(logits, greedy()).token;
  const std::vector<LogitEdit> banned = {{best, -1, -100.0F}};
  const std::vector<LogitEdit> forced = {{17, -1, 100.0F}};
  Sampler sampler(200);
  SampledToken out;
  for (int32_t i = 0; i < 2000; ++i) {
    sampler.sample_row(logits, {&params, 0, i, banned}, out);
    ASSERT_NE(out.token, best);
    sampler.sample_row(logits, {&params, 0, i, forced}, out);
    ASSERT_EQ(out.token, 17);
  }
}

TEST(LogitEdits, log_probabilities_stay_those_of_the_raw_row) {
  std::mt19937_64 random(testing::fresh_seed());
  const std::vector<float> logits = testing::random_floats(random, 300, 3.0F);
  SamplingParams params = greedy();
  params.logprobs = true;
  params.top_logprobs = 5;
  const SampledToken plain = sample(logits, params);
  const std::vector<LogitEdit> edits = {{plain.token, -1, -100.0F}, {123, -1, 100.0F}};
  Sampler sampler(300);
  SampledToken out;
  sampler.sample_row(logits, {&params, 0, 0, edits}, out);
  EXPECT_EQ(out.token, 123);
  ASSERT_EQ(out.top.size(), plain.top.size());
  for (size_t i = 0; i < out.top.size(); ++i) {
    EXPECT_EQ(out.top[i].token, plain.top[i].token);
    EXPECT_EQ(out.top[i].logprob, plain.top[i].logprob);
  }
  const double difference = static_cast<double>(logits[123]) -
                            static_cast<double>(logits[static_cast<size_t>(plain.token)]);
  EXPECT_NEAR(static_cast<double>(out.logprob - plain.logprob), difference, 1e-5);
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
