// Penalties and biases through the whole engine, on the CPU backend and a tiny model, against a
// plain reimplementation: the raw logits along each text, the formula in double, counted anew at
// every token.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/model_card.h"
#include "tests/support/engine_runner.h"
#include "tests/support/plain_penalties.h"
#include "tests/support/teacher_forcing.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using testing::EngineRunner;

class Penalties : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend() const {
    CpuBackendOptions options;
    options.shape = card_->shape;
    options.dtype = Dtype::f32;
    return make_cpu_backend(options).value();
  }
  std::vector<GenerationResult> run(const std::vector<GenerationRequest>& requests) const {
    EngineOptions options;
    options.max_num_seqs = 32;
    return EngineRunner(card_, backend(), Blocks{256}, options).run(requests);
  }
  GenerationRequest request(RequestId id, int32_t max_new_tokens) const {
    GenerationRequest request;
    request.id = id;
    for (int32_t t = 0; t < 20; ++t) {
      request.prompts[0].tokens.push_back((static_cast<int32_t>(id) * 7919 + t * 104729) %
                                          card_->shape.vocab);
    }
    request.prompts[0].max_new_tokens = max_new_tokens;
    request.sampling.temperature = 0;
    return request;
  }
  const std::shared_ptr<const ModelCard> card_ = testing::tiny_model_card();
};

TEST_F(Penalties, greedy_tokens_are_the_best_of_the_plain_formula) {
  std::vector<GenerationRequest> requests;
  for (RequestId id = 1; id <= 12; ++id) {
    GenerationRequest next = request(id, 40);
    if (id % 2 == 0) next.sampling.frequency_penalty = 0.7F;
    if (id % 3 == 0) next.sampling.presence_penalty = id % 2 == 0 ? -0.4F : 1.1F;
    if (id % 4 >= 2) next.sampling.repetition_penalty = id % 4 == 2 ? 1.4F : 0.8F;
    if (id % 5 <= 1)
      next.sampling.logit_bias = {{next.prompts[0].tokens[3], 1.5F},
                                  {(next.prompts[0].tokens[3] + 1) % card_->shape.vocab, -0.5F}};
    if (id == 12) next.n_choices = 2;
    requests.push_back(std::move(next));
  }
  const std::vector<GenerationResult> results = run(requests);
  testing::TeacherForcing forcing(*card_, backend(), 64, 16);
  testing::PlainAgreement agreement;
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(results[i].status.ok()) << results[i].status.to_string();
    for (const GeneratedChoice& choice : results[i].choices) {
      testing::compare_with_plain(requests[i], choice.tokens, forcing, agreement);
    }
  }
  EXPECT_EQ(agreement.n_worse, 0);
  EXPECT_GT(agreement.n_changed, 50) << "the penalties hardly mattered";
}

TEST_F(Penalties, bias_of_minus_100_bans_and_of_100_forces) {
  std::vector<GenerationRequest> plain;
  for (RequestId id = 1; id <= 4; ++id) {
    plain.push_back(request(id, 24));
    if (id % 2 == 0) plain.back().sampling.temperature = 1;
    plain.back().sampling.seed = id;
  }
  const std::vector<GenerationResult> free = run(plain);
  std::vector<GenerationRequest> banned = plain;
  std::vector<GenerationRequest> forced = plain;
  for (size_t i = 0; i < plain.size(); ++i) {
    std::set<TokenId> seen(free[i].choices[0].tokens.begin(), free[i].choices[0].tokens.end());
    for (const TokenId token : seen) banned[i].sampling.logit_bias.push_back({token, -100.0F});
    forced[i].sampling.logit_bias = {{static_cast<TokenId>(90 + i), 100.0F}};
  }
  const std::vector<GenerationResult> without = run(banned);
  const std::vector<GenerationResult> with = run(forced);
  for (size_t i = 0; i < plain.size(); ++i) {
    const std::vector<TokenId>& tokens = without[i].choices[0].tokens;
    ASSERT_EQ(tokens.size(), 24U);
    for (const TokenBias& bias : banned[i].sampling.logit_bias) {
      EXPECT_EQ(std::count(tokens.begin(), tokens.end(), bias.token), 0) << bias.token;
    }
    EXPECT_EQ(with[i].choices[0].tokens, std::vector<TokenId>(24, static_cast<TokenId>(90 + i)));
  }
}

size_t n_distinct(const std::vector<TokenId>& tokens) {
  return std::set<TokenId>(tokens.begin(), tokens.end()).size();
}

// Random weights soon run in a circle when greedy; each time round costs every token of it more.
TEST_F(Penalties, a_high_frequency_penalty_breaks_a_circle) {
  std::vector<GenerationRequest> plain;
  for (RequestId id = 1; id <= 6; ++id) plain.push_back(request(id, 80));
  std::vector<GenerationRequest> penalised = plain;
  for (GenerationRequest& each : penalised) each.sampling.frequency_penalty = 2;
  const std::vector<GenerationResult> circles = run(plain);
  const std::vector<GenerationResult> broken = run(penalised);
  size_t before = 0;
  size_t after = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    before += n_distinct(circles[i].choices[0].tokens);
    after += n_distinct(broken[i].choices[0].tokens);
  }
  std::cout << "distinct tokens of 480: " << before << " without, " << after << " with\n";
  EXPECT_GT(after, before);
}

}  // namespace
}  // namespace parkd
