// The real model against the independent reference of tools/golden, and its own paths against each
// other. CI takes some of the prompts where a check is slow; PARKD_LONG=1 takes all of everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/model_card.h"
#include "tests/golden/golden_files.h"
#include "tests/support/engine_runner.h"
#include "tests/support/plain_penalties.h"
#include "tests/support/teacher_forcing.h"

namespace parkd {
namespace {

using testing::EngineRunner;
using testing::GoldenPrompt;
using testing::log_softmax;
using testing::result_bytes;
using testing::TeacherForcing;

bool is_long_run() {
  const char* text = std::getenv("PARKD_LONG");
  return text != nullptr && std::string(text) == "1";
}

// The instruction sets to check on a model of this size, best first. The scalar kernels need hours
// for it: the tiny model of tests/engine is what holds them to the rest.
std::vector<cpu::Isa> vector_isas() {
  std::vector<cpu::Isa> isas;
  for (const cpu::Isa isa : {cpu::Isa::avx512, cpu::Isa::avx2}) {
    if (cpu::isa_available(isa)) {
      isas.push_back(isa);
    } else {
      std::cout << "SKIPPED LOUDLY: this machine has no " << cpu::to_string(isa) << std::endl;
    }
  }
  if (!is_long_run() && isas.size() > 1) isas.resize(1);
  return isas;
}

class ModelGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    if (testing::golden_model_path().empty()) PARKD_SKIP_WITHOUT_MODEL();
    static const std::shared_ptr<const ModelCard> card =
        load_model_card(testing::golden_model_path()).value();
    static const std::vector<GoldenPrompt> prompts = testing::load_golden_prompts();
    card_ = card;
    prompts_ = prompts;
    ASSERT_GE(prompts_.size(), 20U);
  }

  std::unique_ptr<Backend> backend(Dtype dtype, cpu::Isa isa = cpu::detect_isa(),
                                   int32_t team_size = 1) const {
    CpuBackendOptions options;
    options.shape = card_->shape;
    options.dtype = dtype;
    options.isa = isa;
    options.team_size = team_size;
    return make_cpu_backend(options).value();
  }

  std::vector<GoldenPrompt> first_prompts(size_t n) const {
    return {prompts_.begin(),
            prompts_.begin() + static_cast<std::ptrdiff_t>(
                                   is_long_run() ? prompts_.size() : std::min(n, prompts_.size()))};
  }

  // Logits that each of the prompt's generated tokens was taken from.
  std::vector<std::vector<float>> logits_along(TeacherForcing& forcing,
                                               const GoldenPrompt& prompt) const {
    std::vector<TokenId> tokens = prompt.prompt;
    tokens.insert(tokens.end(), prompt.generated.begin(), prompt.generated.end() - 1);
    return forcing.logits(tokens, static_cast<int32_t>(prompt.prompt.size()) - 1);
  }

  TeacherForcing forcing(Dtype dtype, cpu::Isa isa = cpu::detect_isa()) const {
    size_t tokens_max = 0;
    for (const GoldenPrompt& prompt : prompts_) {
      tokens_max = std::max(tokens_max, prompt.prompt.size() + prompt.generated.size());
    }
    return TeacherForcing(*card_, backend(dtype, isa), static_cast<int32_t>(tokens_max), 64);
  }

  EngineOptions engine_options() const {
    EngineOptions options;
    options.max_num_seqs = 64;
    return options;
  }

  std::shared_ptr<const ModelCard> card_;
  std::vector<GoldenPrompt> prompts_;
};

GenerationRequest greedy(const GoldenPrompt& prompt, RequestId id, int32_t max_new_tokens) {
  GenerationRequest request;
  request.id = id;
  request.prompts[0].tokens = prompt.prompt;
  request.prompts[0].max_new_tokens = max_new_tokens;
  request.sampling.temperature = 0;
  return request;
}

// 2e-3 nat: room for float sums in another order (the reference sums in double); a wrong op or
// weight shows as 0.1 and more.
constexpr double kLogprobTolerance = 2e-3;

TEST_F(ModelGolden, float_path_teacher_forced_top_5_is_the_references) {
  TeacherForcing forced = forcing(Dtype::f32);
  double worst = 0;
  size_t n_compared = 0;
  for (const GoldenPrompt& prompt : prompts_) {
    const auto rows = logits_along(forced, prompt);
    ASSERT_EQ(rows.size(), prompt.top.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<double> ours = log_softmax(rows[i]);
      const std::vector<TokenLogprob>& top = prompt.top[i];
      ASSERT_EQ(top.size(), 5U);
      for (const TokenLogprob& golden : top) {
        const double error =
            std::abs(ours[static_cast<size_t>(golden.token)] - double{golden.logprob});
        ASSERT_LE(error, kLogprobTolerance) << prompt.name << " position " << i;
        worst = std::max(worst, error);
        ++n_compared;
      }
      // And nothing else of ours stands above the reference's five.
      std::partial_sort(ours.begin(), ours.begin() + 5, ours.end(), std::greater<>());
      for (size_t k = 0; k < 5; ++k) {
        ASSERT_NEAR(ours[k], double{top[k].logprob}, kLogprobTolerance)
            << prompt.name << " position " << i << " rank " << k;
      }
    }
  }
  EXPECT_GE(n_compared, 20U * 64 * 5);
  std::cout << "float path, teacher-forced: " << n_compared << " log-probabilities of "
            << prompts_.size() << " prompts, worst difference " << worst << " (limit "
            << kLogprobTolerance << ")\n";
}

// A near tie may fall the other way; anything above 0.05 nat may not.
constexpr float kTieGap = 0.05F;

TEST_F(ModelGolden, float_path_free_running_follows_the_reference) {
  EngineOptions options = engine_options();
  options.n_workers = 2;
  EngineRunner runner(card_, backend(Dtype::f32), Blocks{1024}, options);
  std::vector<GenerationRequest> requests;
  for (const GoldenPrompt& prompt : prompts_) {
    requests.push_back(greedy(prompt, requests.size(), 64));
  }
  const std::vector<GenerationResult> results = runner.run(requests);
  size_t n_same = 0;
  int n_unfinished = 0;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const GoldenPrompt& prompt = prompts_[i];
    ASSERT_TRUE(results[i].status.ok()) << results[i].status.to_string();
    const GeneratedChoice& choice = results[i].choices.at(0);
    const std::vector<TokenId>& ours = choice.tokens;
    ASSERT_EQ(choice.n_generated, static_cast<int32_t>(prompt.generated.size()));
    ASSERT_LE(ours.size(), prompt.generated.size());  // less: an unfinished character is left out
    const auto differs = std::mismatch(ours.begin(), ours.end(), prompt.generated.begin());
    if (differs.first == ours.end()) {
      ++n_same;
      if (prompt.ends_at < prompt.generated.size()) continue;
      std::string text = prompt.text;  // the reference's shows an unfinished end as U+FFFD
      while (text.ends_with("\xef\xbf\xbd")) text.resize(text.size() - 3);
      EXPECT_EQ(choice.text, text) << prompt.name;
      n_unfinished += text != prompt.text ? 1 : 0;
      continue;
    }
    const auto at = static_cast<size_t>(differs.first - ours.begin());
    EXPECT_LE(prompt.gap[at], kTieGap) << prompt.name << " leaves the reference at token " << at;
    std::cout << prompt.name << " differs at token " << at << ", gap " << prompt.gap[at] << "\n";
  }
  std::cout << "float path, free running: " << n_same << " of " << prompts_.size()
            << " prompts give all 64 tokens of the reference\n";
  EXPECT_GE(static_cast<double>(n_same), 0.9 * static_cast<double>(prompts_.size()));
  EXPECT_GE(n_unfinished, 1);
}

TEST_F(ModelGolden, end_tokens_stop_it_with_the_references_text) {
  EngineRunner runner(card_, backend(Dtype::f32), Blocks{1024}, engine_options());
  const auto ends = card_->tokenizer->end_tokens();
  std::vector<GoldenPrompt> chosen;  // those that the reference ends, the shortest first
  for (const GoldenPrompt& prompt : prompts_) {
    if (prompt.ends_at < prompt.generated.size()) chosen.push_back(prompt);
  }
  std::sort(chosen.begin(), chosen.end(),
            [](const auto& a, const auto& b) { return a.ends_at < b.ends_at; });
  chosen.resize(std::min<size_t>(chosen.size(), 4));
  ASSERT_FALSE(chosen.empty());
  std::vector<GenerationRequest> requests;
  for (const GoldenPrompt& prompt : chosen) {
    requests.push_back(greedy(prompt, requests.size(), 64));
    requests.back().stop_tokens.assign(ends.begin(), ends.end());
  }
  const std::vector<GenerationResult> results = runner.run(requests);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const GeneratedChoice& choice = results[i].choices.at(0);
    EXPECT_EQ(choice.text, chosen[i].text) << chosen[i].name;
    EXPECT_EQ(choice.finish_reason, FinishReason::stop);
    EXPECT_EQ(choice.tokens.size(), chosen[i].ends_at);
    EXPECT_EQ(choice.n_generated, static_cast<int32_t>(chosen[i].ends_at) + 1);
  }
}

struct Agreement {
  double kl_sum = 0;
  double kl_worst = 0;
  size_t n_same_best = 0;
  size_t n_rows = 0;

  void add(const std::vector<double>& ours, const std::vector<double>& fast) {
    double kl = 0;
    for (size_t i = 0; i < ours.size(); ++i) kl += std::exp(ours[i]) * (ours[i] - fast[i]);
    kl_sum += kl;
    kl_worst = std::max(kl_worst, kl);
    const auto best = [](const std::vector<double>& row) {
      return std::max_element(row.begin(), row.end()) - row.begin();
    };
    if (best(ours) == best(fast)) ++n_same_best;
    ++n_rows;
  }
  double kl_mean() const { return kl_sum / static_cast<double>(n_rows); }
  double same_best() const {
    return static_cast<double>(n_same_best) / static_cast<double>(n_rows);
  }
};

// The fast path rounds activations to 8 bits a 32-block and KV to the dtype. Measured on all thirty
// prompts: mean KL 0.0026 nat, top-1 agreement 97.1 to 97.4 % (avx512 and avx2, bf16 and f16); on
// the first eight 97.5 % (avx512, bf16) and 96.3 % (avx2, bf16). The limits are the brief's, 0.01
// nat and 97 %, for all thirty; of a part's 512 rows the share may lie three standard errors lower.
TEST_F(ModelGolden, fast_path_keeps_to_the_float_path) {
  struct Variant {
    std::string name;
    TeacherForcing forcing;
    Agreement agreement;
  };
  std::vector<Variant> variants;
  for (const cpu::Isa isa : vector_isas()) {
    const std::string name = cpu::to_string(isa);
    variants.push_back({name + " bf16", forcing(Dtype::bf16, isa), {}});
    if (is_long_run()) variants.push_back({name + " f16", forcing(Dtype::f16, isa), {}});
  }
  TeacherForcing exact = forcing(Dtype::f32);
  for (const GoldenPrompt& prompt : first_prompts(8)) {
    std::vector<std::vector<double>> exact_rows;
    for (const auto& row : logits_along(exact, prompt)) exact_rows.push_back(log_softmax(row));
    for (Variant& variant : variants) {
      const auto fast_rows = logits_along(variant.forcing, prompt);
      for (size_t i = 0; i < exact_rows.size(); ++i) {
        variant.agreement.add(exact_rows[i], log_softmax(fast_rows[i]));
      }
    }
  }
  for (const Variant& variant : variants) {
    const Agreement& agreement = variant.agreement;
    std::cout << variant.name << " against the float path: mean KL " << agreement.kl_mean()
              << " nat, worst " << agreement.kl_worst << ", top-1 agreement "
              << 100 * agreement.same_best() << " % of " << agreement.n_rows << " rows"
              << std::endl;
    EXPECT_LE(agreement.kl_mean(), 0.01) << variant.name;
    const double error = std::sqrt(0.97 * 0.03 / static_cast<double>(agreement.n_rows));
    EXPECT_GE(agreement.same_best(), is_long_run() ? 0.97 : 0.97 - 3 * error) << variant.name;
  }
}

// Greedy texts of 48 tokens, without and with a high frequency penalty: the latter follows the
// plain formula on the raw logits and repeats itself less.
TEST_F(ModelGolden, frequency_penalty_follows_the_plain_formula_and_reduces_repetition) {
  const size_t n_prompts = is_long_run() ? prompts_.size() : 2;
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < n_prompts; ++i) {
    requests.push_back(greedy(prompts_[i], 2 * i, 48));
    requests.push_back(greedy(prompts_[i], 2 * i + 1, 48));
    requests.back().sampling.frequency_penalty = 2;
  }
  EngineRunner runner(card_, backend(Dtype::f32), Blocks{1024}, engine_options());
  const std::vector<GenerationResult> results = runner.run(requests);
  TeacherForcing forced = forcing(Dtype::f32);
  testing::PlainAgreement agreement;
  size_t distinct[2] = {};
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(results[i].status.ok()) << results[i].status.to_string();
    const std::vector<TokenId>& tokens = results[i].choices.at(0).tokens;
    distinct[i % 2] += std::set<TokenId>(tokens.begin(), tokens.end()).size();
    if (i % 2 == 1) testing::compare_with_plain(requests[i], tokens, forced, agreement);
  }
  std::cout << "distinct tokens of " << agreement.n_tokens << ": " << distinct[0] << " without, "
            << distinct[1] << " with; the penalty changed " << agreement.n_changed << "\n";
  EXPECT_EQ(agreement.n_worse, 0);
  EXPECT_GT(distinct[1], distinct[0]);
}

TEST_F(ModelGolden, bias_of_minus_100_bans_every_token_of_the_reference) {
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < 2; ++i) {
    requests.push_back(greedy(prompts_[i], i, 32));
    const std::vector<TokenId>& reference = prompts_[i].generated;
    for (const TokenId token : std::set<TokenId>(reference.begin(), reference.end())) {
      requests.back().sampling.logit_bias.push_back({token, -100.0F});
    }
  }
  EngineRunner runner(card_, backend(Dtype::bf16), Blocks{1024}, engine_options());
  const std::vector<GenerationResult> results = runner.run(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<TokenId>& tokens = results[i].choices.at(0).tokens;
    ASSERT_EQ(tokens.size(), 32U);
    for (const TokenBias& bias : requests[i].sampling.logit_bias) {
      EXPECT_EQ(std::count(tokens.begin(), tokens.end(), bias.token), 0) << bias.token;
    }
  }
}

// I7 on the real model: sixteen at once, on more workers and in chunks, against one at a time.
TEST_F(ModelGolden, same_bytes_alone_batched_chunked_and_on_more_workers) {
  constexpr size_t kRequests = 16;
  const size_t n_alone = is_long_run() ? kRequests : 4;  // the rest are neighbours
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < kRequests; ++i) {
    requests.push_back(greedy(prompts_[i], i, 12));
    requests.back().sampling.temperature = i % 2 == 0 ? 0.0F : 0.9F;
    requests.back().sampling.seed = i;
    if (i % 3 == 0) requests.back().sampling.repetition_penalty = 1.2F;
    if (i % 4 == 1) requests.back().sampling.frequency_penalty = 0.8F;
    if (i == 2) requests.back().sampling.logit_bias = {{28, -100.0F}, {198, 2.0F}};
    requests.back().sampling.logprobs = true;
    requests.back().sampling.top_logprobs = 3;
  }
  for (const cpu::Isa isa : vector_isas()) {
    std::vector<std::string> alone;
    {
      EngineRunner runner(card_, backend(Dtype::bf16, isa), Blocks{1024}, engine_options());
      const std::vector<GenerationRequest> some(
          requests.begin(), requests.begin() + static_cast<std::ptrdiff_t>(n_alone));
      for (const GenerationResult& result : runner.run_alone(some)) {
        ASSERT_TRUE(result.status.ok());
        alone.push_back(result_bytes(result));
      }
    }
    struct Way {
      int32_t n_workers;
      int32_t team_size;
      int32_t prefill_chunk_tokens;
    };
    for (const Way& way : {Way{1, 1, 0}, Way{2, 1, 0}, Way{3, 1, 7}, Way{1, 2, 64}}) {
      EngineOptions options = engine_options();
      options.n_workers = way.n_workers;
      options.prefill_chunk_tokens = way.prefill_chunk_tokens;
      EngineRunner runner(card_, backend(Dtype::bf16, isa, way.team_size), Blocks{1024}, options);
      const std::vector<GenerationResult> results = runner.run(requests);
      for (size_t i = 0; i < n_alone; ++i) {
        EXPECT_TRUE(result_bytes(results[i]) == alone[i])
            << cpu::to_string(isa) << ", " << way.n_workers << " workers, team " << way.team_size
            << ", chunk " << way.prefill_chunk_tokens << ": " << prompts_[i].name
            << " differs from the one run alone";
      }
    }
  }
}

}  // namespace
}  // namespace parkd
