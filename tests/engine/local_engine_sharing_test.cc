// Prompts that begin alike share blocks of the engine's KV cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "lib/base/text.h"
#include "lib/base/units.h"
#include "tests/engine/local_engine_rig.h"
#include "tests/support/fake_backend.h"

namespace parkd {
namespace {

using testing::add_prompt;
using testing::expect_oracle;
using testing::expected_tokens;
using testing::FakeEngine;
using testing::ids_of;
using testing::Options;
using testing::options_of;
using testing::request_of;
using testing::Way;

// Blocks are of four tokens; what is shared is never computed again, so the numbers of computed
// tokens are exact.

TEST(LocalEngine, prompts_that_begin_alike_are_computed_once) {
  FakeEngine fake;
  const GenerationRequest first = request_of(1, 41, 3);
  expect_oracle(first, fake.run(first));
  GenerationRequest second = request_of(2, 50, 3);
  std::copy_n(first.prompts[0].tokens.begin(), 30, second.prompts[0].tokens.begin());
  const GenerationResult result = fake.run(second);
  expect_oracle(second, result);
  EXPECT_EQ(result.shared_tokens, 28) << "seven whole blocks of the 30 tokens";
  EXPECT_EQ(result.cached_tokens, 28);
  const EngineStats stats = fake.engine().stats();
  EXPECT_EQ(stats.prompt_tokens, 41 + 50 - 28);
  EXPECT_EQ(stats.shared_tokens, 28);
  EXPECT_GT(stats.blocks_cached, 0);
}

TEST(LocalEngine, a_prompt_of_another_root_is_computed_as_if_nobody_had_asked_before) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 41, 3);
  request.n_choices = 2;
  int64_t computed = 0;
  for (const PrefixRoot& root : {PrefixRoot{}, PrefixRoot{0, 7}, PrefixRoot{7, 0}}) {
    request.prefix_root = root;
    ++request.id;
    const GenerationResult first = fake.run(request);
    expect_oracle(request, first);
    EXPECT_EQ(first.shared_tokens, 40) << "its second choice shares with its first";
    EXPECT_EQ(first.cached_tokens, 0) << "which computed them";
    computed += 41 + 1;
    EXPECT_EQ(fake.engine().stats().prompt_tokens, computed);
    ++request.id;
    const GenerationResult again = fake.run(request);
    EXPECT_EQ(again.shared_tokens, 40 + 40) << "its own root's are found again";
    EXPECT_EQ(again.cached_tokens, 40) << "of a prompt that is counted once";
    computed += 1 + 1;
    EXPECT_EQ(fake.engine().stats().prompt_tokens, computed);
  }
}

TEST(LocalEngine, the_choices_of_each_prompt_share_with_its_first) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 41, 3);
  add_prompt(request, 2, 25, 9);
  request.n_choices = 3;
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_EQ(result.shared_tokens, 2 * 40 + 2 * 24);
  EXPECT_EQ(result.cached_tokens, 0);
  EXPECT_EQ(fake.engine().stats().prompt_tokens, 41 + 2 * 1 + 25 + 2 * 1);
  ++request.id;
  EXPECT_EQ(fake.run(request).cached_tokens, 40 + 24) << "of each prompt once";
}

TEST(LocalEngine, the_last_token_of_a_prompt_is_always_computed) {
  FakeEngine fake;
  const GenerationRequest request = request_of(1, 40, 3);
  expect_oracle(request, fake.run(request));
  const GenerationResult again = fake.run(request);
  expect_oracle(request, again);
  EXPECT_EQ(again.shared_tokens, 36);
}

TEST(LocalEngine, what_was_generated_is_shared_with_a_prompt_that_goes_on_from_it) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    FakeEngine fake(options);
    const GenerationRequest first = request_of(1, 10, 12);
    const GenerationResult told = fake.run(first);
    GenerationRequest second = request_of(2, 30, 5);
    std::copy(first.prompts[0].tokens.begin(), first.prompts[0].tokens.end(),
              second.prompts[0].tokens.begin());
    std::copy(told.choices[0].tokens.begin(), told.choices[0].tokens.end(),
              second.prompts[0].tokens.begin() + 10);
    const GenerationResult result = fake.run(second);
    expect_oracle(second, result);
    EXPECT_EQ(result.shared_tokens, 20) << "the last token's K and V were never wanted";
  }
}

TEST(LocalEngine, choices_of_a_request_share_its_prompt) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 41, 9);
  request.n_choices = 4;
  request.sampling.temperature = 1;
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_EQ(result.shared_tokens, 3 * 40);
  EXPECT_EQ(fake.engine().stats().prompt_tokens, 41 + 3);
}

// The first worker stands between planning a prompt's step and computing it while another worker
// runs the same prompt to its end.
TEST(LocalEngine, a_block_is_shared_only_after_the_step_that_wrote_it) {
  for (const int32_t steps_ahead : {0, 1}) {
    std::promise<void> begun;
    std::promise<void> go_on;
    std::atomic<int> n_steps{0};
    Options options;
    options.n_workers = 2;
    options.steps_ahead = steps_ahead;
    FakeEngine fake(options, [&](const StepBatch&) {
      if (n_steps++ != 0) return;
      begun.set_value();
      go_on.get_future().wait();
    });
    const GenerationRequest first = request_of(1, 20, 3);
    GenerationRequest second = first;
    second.id = 2;
    fake.engine().start(first);
    begun.get_future().wait();
    const GenerationResult result = fake.run(second);
    expect_oracle(second, result);
    EXPECT_EQ(result.shared_tokens, 0);
    go_on.set_value();
    expect_oracle(first, fake.wait(1).at(first.id));
  }
}

TEST(LocalEngine, nothing_is_shared_where_that_is_off) {
  Options options;
  options.share_prefixes = false;
  FakeEngine fake(options);
  GenerationRequest request = request_of(1, 41, 3);
  request.n_choices = 2;
  (void)fake.run(request);
  request.id = 2;
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_EQ(result.shared_tokens, 0);
  EXPECT_EQ(fake.engine().stats().blocks_cached, 0);
}

// Few blocks and many prompts that begin alike: what is shared, evicted and written again by
// another worker changes no token. One step ahead the fake's ops run when the step is collected: a
// block that is published before that is read before it is written.
class RandomPrefixes : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, RandomPrefixes,
                         ::testing::Values(Way{1, 0, 64, 8, 0}, Way{3, 5, 24, 16, 0},
                                           Way{1, 0, 64, 8, 1}, Way{3, 5, 24, 16, 1}));

TEST_P(RandomPrefixes, change_no_token) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto below = [&random](uint64_t n) { return static_cast<int32_t>(random() % n); };
  Options options = options_of(GetParam());
  options.kv_blocks = 6 * ceil_div(60 + 20, options.block_size);  // six of the largest
  // Between what a step takes and what it computes, others have their turn. A sleep: beside busy
  // processes each yield would cost a slice.
  FakeEngine fake(
      options, [](const StepBatch&) { std::this_thread::sleep_for(std::chrono::microseconds(1)); });
  std::vector<GenerationRequest> trunks;
  for (RequestId id = 0; id < 5; ++id) trunks.push_back(request_of(id, 60, 1));
  int64_t n_shared = 0;
  for (RequestId first = 0; first < 240; first += 3) {
    std::map<RequestId, GenerationRequest> requests;
    for (RequestId id = first; id < first + 3; ++id) {
      GenerationRequest request = request_of(id, 1 + below(60), 1 + below(20));
      const auto& trunk = trunks[static_cast<size_t>(below(trunks.size()))].prompts[0].tokens;
      std::copy_n(trunk.begin(), below(request.prompts[0].tokens.size() + 1),
                  request.prompts[0].tokens.begin());
      request.n_choices = 1;
      if (const int32_t form = below(3); form == 1) {
        request.n_choices = 2;
      } else if (form == 2) {
        add_prompt(request, id, 1 + below(60), 1 + below(20));
      }
      request.prefix_root.salt = random() % 2;
      requests.emplace(id, request);
      fake.engine().start(request);
      if (below(8) == 0) fake.engine().cancel(id);
    }
    for (const auto& [id, result] : fake.wait(requests.size())) {
      ASSERT_TRUE(result.status.ok());
      n_shared += result.shared_tokens;
      for (int32_t c = 0; c < n_sequences_of(requests.at(id)); ++c) {
        const GeneratedChoice& choice = result.choices.at(static_cast<size_t>(c));
        std::vector<TokenId> expected = ids_of(expected_tokens(requests.at(id), c));
        if (choice.finish_reason == FinishReason::cancelled) expected.resize(choice.tokens.size());
        ASSERT_EQ(choice.tokens, expected) << "request " << id;
      }
    }
  }
  EXPECT_GT(n_shared, 500);
}

}  // namespace
}  // namespace parkd
