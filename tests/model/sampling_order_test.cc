// The order of the sampler's steps, against vLLM's written down a second time (source and order:
// lib/model/sampler.h): in double, on the whole row, step after step, a dropped token's logit
// being -inf. Each draw must be the token that the same noise picks there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/common/counter_rng.h"
#include "lib/model/logit_edits.h"
#include "lib/model/sampler.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Of probabilities: floats, weights of 2^-30 and temperatures' roundings lie well within it.
constexpr double kMargin = 2e-5;

struct Text {
  std::vector<TokenId> prompt;
  std::vector<TokenId> output;
};

enum class Edits { bias_first, bias_last };
enum class MinP { before_top_p, after_top_p };

std::vector<double> softmax(const std::vector<double>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (const double x : logits) p.push_back(std::exp(x - max));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

class Reference {
 public:
  Reference(const std::vector<float>& logits, const SamplingParams& params)
      : params_(params), x_(logits.begin(), logits.end()) {}

  void edit(const Text& text, Edits order) {
    if (order == Edits::bias_first) add_biases();
    for (size_t i = 0; i < x_.size(); ++i) {
      const auto token = static_cast<TokenId>(i);
      const auto in_prompt = std::count(text.prompt.begin(), text.prompt.end(), token);
      const auto in_output = std::count(text.output.begin(), text.output.end(), token);
      const double repetition = double{params_.repetition_penalty};
      if (in_prompt + in_output > 0) x_[i] = x_[i] > 0 ? x_[i] / repetition : x_[i] * repetition;
      x_[i] -= double{params_.frequency_penalty} * static_cast<double>(in_output);
      if (in_output > 0) x_[i] -= double{params_.presence_penalty};
    }
    if (order == Edits::bias_last) add_biases();
  }

  void filter(MinP order) {
    for (double& x : x_) x /= double{params_.temperature};
    if (order == MinP::before_top_p) drop_min_p();
    drop_top_k();
    drop_top_p();
    if (order == MinP::after_top_p) drop_min_p();
  }

  // The greatest logit; -1 where another is so near that floats could choose it.
  TokenId best() const {
    const auto at = std::max_element(x_.begin(), x_.end());
    const bool near = std::any_of(x_.begin(), x_.end(),
                                  [&](const double& x) { return &x != &*at && x > *at - 1e-3; });
    return near ? -1 : static_cast<TokenId>(at - x_.begin());
  }
  // The token that `noise` picks; -1 where it, or what a filter dropped, is a matter of rounding.
  TokenId draw(uint64_t noise) const {
    if (near_) return -1;
    const double u = std::ldexp(static_cast<double>(noise), -64);
    double sum = 0;
    const std::vector<double> p = softmax(x_);
    for (size_t i = 0; i < p.size(); ++i) {
      if (std::abs(sum + p[i] - u) < kMargin) return -1;
      sum += p[i];
      if (u < sum) return static_cast<TokenId>(i);
    }
    return -1;
  }
  std::vector<bool> kept() const {
    std::vector<bool> kept;
    for (const double x : x_) kept.push_back(x > -kInfinity);
    return kept;
  }

 private:
  void add_biases() {
    for (const TokenBias& bias : params_.logit_bias) {
      x_[static_cast<size_t>(bias.token)] += double{bias.bias};
    }
  }
  void drop_min_p() {
    const std::vector<double> p = softmax(x_);
    const double least = double{params_.min_p} * *std::max_element(p.begin(), p.end());
    for (size_t i = 0; i < p.size(); ++i) {
      if (x_[i] == -kInfinity || params_.min_p == 0) continue;
      if (std::abs(p[i] - least) < kMargin) near_ = true;
      if (p[i] < least) x_[i] = -kInfinity;
    }
  }
  void drop_top_k() {
    if (params_.top_k <= 0 || params_.top_k >= static_cast<int32_t>(x_.size())) return;
    std::vector<double> sorted = x_;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double least = sorted[static_cast<size_t>(params_.top_k) - 1];
    for (double& x : x_) {
      if (x < least) x = -kInfinity;
    }
  }
  // The lightest first, as long as what was dropped is at most 1 - top_p of all; never the best.
  void drop_top_p() {
    if (params_.top_p >= 1) return;
    const std::vector<double> p = softmax(x_);
    std::vector<size_t> lightest_first(p.size());
    std::iota(lightest_first.begin(), lightest_first.end(), size_t{0});
    std::stable_sort(lightest_first.begin(), lightest_first.end(),
                     [&](size_t a, size_t b) { return p[a] < p[b]; });
    lightest_first.pop_back();
    double sum = 0;
    for (const size_t i : lightest_first) {
      sum += p[i];
      const double most = 1 - double{params_.top_p};
      if (p[i] > 0 && std::abs(sum - most) < kMargin) near_ = true;
      if (sum <= most) x_[i] = -kInfinity;
    }
  }

  const SamplingParams& params_;
  std::vector<double> x_;
  bool near_ = false;
};

SamplingParams random_params(std::mt19937_64& random, int32_t vocab) {
  const auto uniform = [&](float from, float to) {
    return std::uniform_real_distribution<float>(from, to)(random);
  };
  SamplingParams params;
  params.seed = random();
  params.temperature = uniform(0.3F, 2.0F);
  if (random() % 4 != 0) params.top_p = uniform(0.3F, 0.99F);
  if (random() % 4 != 0) params.min_p = uniform(0.01F, 0.5F);
  if (random() % 3 == 0) params.top_k = static_cast<int32_t>(2 + random() % 40);
  if (random() % 3 == 0) params.presence_penalty = uniform(-2, 2);
  if (random() % 3 == 0) params.frequency_penalty = uniform(-2, 2);
  if (random() % 2 == 0) params.repetition_penalty = uniform(0.5F, 2.0F);
  for (TokenId token = 0; token < vocab; ++token) {
    if (random() % 6 == 0) params.logit_bias.push_back({token, uniform(-5, 5)});
  }
  return params;
}

std::vector<TokenId> random_tokens(std::mt19937_64& random, int32_t vocab) {
  std::vector<TokenId> tokens(random() % 40);
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return tokens;
}

class SamplingOrder : public ::testing::Test {
 protected:
  std::vector<LogitEdit> edits_of(const SamplingParams& params, const Text& text) const {
    if (!LogitEdits::wanted(params)) return {};
    LogitEdits edits(params, text.prompt);
    for (const TokenId token : text.output) edits.add(token);
    return {edits.list().begin(), edits.list().end()};
  }
  const int32_t vocab_ = 90;
  std::mt19937_64 random_{testing::fresh_seed()};
  Sampler sampler_{vocab_};
};

TEST_F(SamplingOrder, every_draw_is_that_of_bias_penalties_temperature_min_p_top_k_top_p) {
  int n_draws = 0;
  int n_sets_of_another_order = 0;
  for (int round = 0; round < 400; ++round) {
    const SamplingParams params = random_params(random_, vocab_);
    const Text text = {random_tokens(random_, vocab_), random_tokens(random_, vocab_)};
    const std::vector<float> logits = testing::random_floats(random_, vocab_, 2.0F);
    Reference reference(logits, params);
    reference.edit(text, Edits::bias_first);
    Reference other = reference;
    reference.filter(MinP::before_top_p);
    other.filter(MinP::after_top_p);
    n_sets_of_another_order += reference.kept() != other.kept() ? 1 : 0;
    const std::vector<LogitEdit> edits = edits_of(params, text);
    SampledToken out;
    for (int32_t position = 0; position < 60; ++position) {
      const TokenId wanted =
          reference.draw(sampling_noise(params.seed, 0, static_cast<uint32_t>(position)));
      if (wanted < 0) continue;
      ++n_draws;
      sampler_.sample_row(logits, {&params, 0, position, edits}, out);
      ASSERT_EQ(out.token, wanted)
          << "round " << round << " temperature " << params.temperature << " top_k " << params.top_k
          << " top_p " << params.top_p << " min_p " << params.min_p;
    }
  }
  EXPECT_GT(n_draws, 15000);
  EXPECT_GT(n_sets_of_another_order, 40) << "the order hardly mattered";
}

TEST_F(SamplingOrder, greedy_takes_the_best_of_biased_then_penalised_logits) {
  int n_checked = 0;
  int n_of_another_order = 0;
  for (int round = 0; round < 2000; ++round) {
    SamplingParams params = random_params(random_, vocab_);
    params.temperature = 0;
    const Text text = {random_tokens(random_, vocab_), random_tokens(random_, vocab_)};
    const std::vector<float> logits = testing::random_floats(random_, vocab_, 2.0F);
    Reference reference(logits, params);
    Reference other = reference;
    reference.edit(text, Edits::bias_first);
    other.edit(text, Edits::bias_last);
    if (reference.best() < 0) continue;
    ++n_checked;
    n_of_another_order += other.best() >= 0 && other.best() != reference.best() ? 1 : 0;
    SampledToken out;
    const std::vector<LogitEdit> edits = edits_of(params, text);
    sampler_.sample_row(logits, {&params, 0, 0, edits}, out);
    ASSERT_EQ(out.token, reference.best()) << "round " << round;
  }
  EXPECT_GT(n_checked, 1500);
  EXPECT_GT(n_of_another_order, 50) << "the order hardly mattered";
}

// Three tokens of 0.5, 0.3 and 0.2: min_p 0.5 drops the last, then the first is 0.625 of the rest,
// so top_p 0.6 keeps it alone; after top_p, which takes the first two of all, min_p drops neither.
TEST_F(SamplingOrder, top_p_is_of_what_min_p_leaves) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  SamplingParams params;
  params.seed = random_();
  params.min_p = 0.5F;
  params.top_p = 0.6F;
  SampledToken out;
  for (const int32_t top_k : {0, 3}) {
    params.top_k = top_k;
    for (int32_t position = 0; position < 200; ++position) {
      sampler_.sample_row(logits, {&params, 0, position, {}}, out);
      ASSERT_EQ(out.token, 0) << "top_k " << top_k;
    }
  }
}

}  // namespace
}  // namespace parkd
