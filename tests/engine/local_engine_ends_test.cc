// How the engine's requests end: stops, refusals, failures, cancels, lost devices.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/base/units.h"
#include "lib/engine/local_engine.h"
#include "tests/engine/local_engine_rig.h"
#include "tests/support/fake_backend.h"

namespace parkd {
namespace {

using testing::add_prompt;
using testing::expect_oracle;
using testing::expected_tokens;
using testing::fail_after;
using testing::FakeBackend;
using testing::FakeEngine;
using testing::ids_of;
using testing::kPoisonToken;
using testing::Options;
using testing::request_of;
using testing::text_of;

// Not a lost device: what ran ends, what comes later runs.
TEST(LocalEngine, short_memory_ends_what_runs_as_exhausted_and_nothing_later) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    options.on_collect = fail_after(3, exhausted("scripted"));
    FakeEngine fake(options);
    const GenerationResult result = fake.run(request_of(1, 5, 20));
    EXPECT_EQ(result.status.code(), StatusCode::exhausted) << result.status.to_string();
    const GenerationRequest later = request_of(2, 11, 20);
    expect_oracle(later, fake.run(later));
  }
}

TEST(LocalEngine, memory_that_a_lane_lacks_is_an_error_of_loading) {
  EngineParts parts;
  parts.shape = testing::fake_shape();
  auto backend = std::make_unique<FakeBackend>();
  backend->prepare_status = exhausted("scripted");
  LoadedDevice device;
  device.weights = testing::load_fake_weights(*backend);
  device.device.kv_blocks = {8};
  device.device.backend = std::move(backend);
  parts.devices.push_back(std::move(device));
  EngineOptions options;
  options.on_result = [](GenerationResult) {};
  EXPECT_EQ(LocalEngine::make(std::move(parts), options).status().code(), StatusCode::exhausted);
}

Options one_step_ahead() {
  Options options;
  options.steps_ahead = 1;
  return options;
}

// The step after the last one is under way when the end is seen: its token must not show, and its
// blocks must not be another's yet. Few blocks, so that they are used again at once.
TEST(LocalEngine, end_noticed_one_step_late_changes_no_token) {
  Options options = one_step_ahead();
  options.kv_blocks = 48;
  FakeEngine fake(options);
  std::vector<GenerationRequest> requests;
  for (RequestId id = 1; id <= 40; ++id) {
    GenerationRequest request = request_of(id, static_cast<int32_t>(1 + id % 9), 30);
    const std::vector<TokenId> free_running = ids_of(expected_tokens(request, 0));
    request.stop_tokens = {free_running[id % 20]};
    requests.push_back(request);
  }
  // Four at a time hold 40 of the 48 blocks at most.
  for (size_t i = 0; i < requests.size(); i += 4) {
    for (size_t j = i; j < i + 4; ++j) fake.engine().start(requests[j]);
    const auto results = fake.wait(4);
    for (size_t j = i; j < i + 4; ++j) {
      const std::vector<TokenId> all = ids_of(expected_tokens(requests[j], 0));
      const auto end = std::find(all.begin(), all.end(), requests[j].stop_tokens[0]);
      const GeneratedChoice& choice = results.at(requests[j].id).choices[0];
      EXPECT_EQ(choice.tokens, std::vector<TokenId>(all.begin(), end)) << requests[j].id;
      EXPECT_EQ(choice.finish_reason, FinishReason::stop);
    }
    EXPECT_EQ(fake.engine().stats().blocks_in_use, 0);
  }
}

TEST(LocalEngine, failure_and_device_loss_are_the_same_one_step_ahead) {
  {
    FakeEngine fake(one_step_ahead());
    GenerationRequest bad = request_of(1, 8, 10);
    bad.prompts[0].tokens.back() = kPoisonToken;
    const GenerationRequest good = request_of(2, 8, 10);
    fake.engine().start(bad);
    fake.engine().start(good);
    const auto results = fake.wait(2);
    EXPECT_EQ(results.at(1).status.code(), StatusCode::internal);
    expect_oracle(good, results.at(2));
  }
  Options losing = one_step_ahead();
  losing.on_collect = fail_after(3);
  FakeEngine fake(losing);
  fake.engine().start(request_of(1, 8, 100));
  EXPECT_EQ(fake.wait(1).at(1).status.code(), StatusCode::unavailable);
  EXPECT_EQ(fake.engine().stats().blocks_in_use, 0);
  EXPECT_EQ(fake.run(request_of(3, 8, 100)).status.code(), StatusCode::unavailable);
}

TEST(LocalEngine, stop_token_ends_the_choice_and_is_not_part_of_it) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 8, 30);
  const std::vector<TokenId> free_running = ids_of(expected_tokens(request, 0));
  request.stop_tokens = {free_running[6]};
  const auto first = std::find(free_running.begin(), free_running.end(), free_running[6]);
  const GenerationResult result = fake.run(request);
  EXPECT_EQ(result.choices[0].finish_reason, FinishReason::stop);
  EXPECT_EQ(result.choices[0].tokens, std::vector<TokenId>(free_running.begin(), first));
  EXPECT_EQ(result.choices[0].logprobs.size(), result.choices[0].tokens.size());
}

TEST(LocalEngine, stop_string_over_token_borders_cuts_text_tokens_and_logprobs) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 8, 30);
  const std::string text = text_of(ids_of(expected_tokens(request, 0)));
  request.stop = {text.substr(9, 3), "no such text"};
  const size_t at = text.find(request.stop[0]);
  const GenerationResult result = fake.run(request);
  EXPECT_EQ(result.choices[0].finish_reason, FinishReason::stop);
  EXPECT_EQ(result.choices[0].text, text.substr(0, at));
  EXPECT_EQ(result.choices[0].tokens.size(), at);
  EXPECT_EQ(result.choices[0].logprobs.size(), at);
}

// The letters of the fake model's tokens become bytes of characters.
std::string_view bytes_of(TokenId token) {
  constexpr std::string_view kBytes[] = {"\xe2", "\x82", "\xac", "a", "\xf0\x9f", "\xff", ""};
  return kBytes[static_cast<size_t>(token) % std::size(kBytes)];
}

TEST(LocalEngine, a_text_cut_by_length_ends_with_a_whole_character) {
  Options options;
  options.token_bytes = bytes_of;
  FakeEngine fake(options);
  int n_left_out = 0;
  for (RequestId id = 1; id <= 60; ++id) {
    const GenerationRequest request = request_of(id, 8, static_cast<int32_t>(1 + id % 12));
    const std::vector<TokenId> all = ids_of(expected_tokens(request, 0));
    std::string bytes;
    for (const TokenId token : all) bytes += bytes_of(token);
    const size_t left_out = unfinished_utf8(bytes);
    n_left_out += left_out > 0 ? 1 : 0;
    bytes.resize(bytes.size() - left_out);
    const GenerationResult result = fake.run(request);
    const GeneratedChoice& choice = result.choices[0];
    EXPECT_EQ(choice.finish_reason, FinishReason::length);
    EXPECT_EQ(choice.text, repair_utf8(bytes));
    EXPECT_EQ(choice.n_generated, request.prompts[0].max_new_tokens);
    EXPECT_EQ(choice.logprobs.size(), choice.tokens.size());
    std::string spelled;
    for (const SampledToken& token : choice.logprobs) spelled += bytes_of(token.token);
    EXPECT_EQ(repair_utf8(spelled.substr(0, bytes.size())), choice.text);
    EXPECT_LE(spelled.size(), bytes.size() + left_out);
  }
  EXPECT_GT(n_left_out, 5);
}

TEST(LocalEngine, what_ended_a_choice_counts_as_generated) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 8, 30);
  const std::vector<TokenId> free_running = ids_of(expected_tokens(request, 0));
  const std::string text = text_of(free_running);
  EXPECT_EQ(fake.run(request).choices[0].n_generated, 30);

  GenerationRequest by_token = request;
  by_token.stop_tokens = {free_running[6]};
  const auto at = std::find(free_running.begin(), free_running.end(), free_running[6]);
  const GeneratedChoice ended = fake.run(by_token).choices[0];
  EXPECT_EQ(ended.n_generated, at - free_running.begin() + 1);
  EXPECT_EQ(static_cast<int32_t>(ended.tokens.size()), ended.n_generated - 1);

  GenerationRequest by_text = request;
  by_text.stop = {text.substr(9, 3)};
  const size_t match = text.find(by_text.stop[0]);
  const GeneratedChoice cut = fake.run(by_text).choices[0];
  EXPECT_EQ(cut.n_generated, static_cast<int32_t>(match + 3));
  EXPECT_EQ(cut.tokens.size(), match);
  EXPECT_EQ(fake.engine().stats().output_tokens,
            30 + int64_t{ended.n_generated} + int64_t{cut.n_generated});
}

TEST(LocalEngine, an_end_at_the_last_token_allowed_is_within_max_tokens) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 8, 30);
  const std::vector<TokenId> all = ids_of(expected_tokens(request, 0));
  request.stop_tokens = {all[6]};
  const auto first = std::find(all.begin(), all.end(), all[6]) - all.begin();
  request.prompts[0].max_new_tokens = static_cast<int32_t>(first) + 1;
  const GeneratedChoice choice = fake.run(request).choices[0];
  EXPECT_EQ(choice.finish_reason, FinishReason::stop);
  EXPECT_EQ(choice.n_generated, request.prompts[0].max_new_tokens);
}

TEST(LocalEngine, request_with_no_finite_logits_fails_alone) {
  FakeEngine fake;
  GenerationRequest bad = request_of(1, 8, 10);
  bad.prompts[0].tokens.back() = kPoisonToken;
  const GenerationRequest good = request_of(2, 8, 10);
  fake.engine().start(bad);
  fake.engine().start(good);
  const auto results = fake.wait(2);
  EXPECT_EQ(results.at(1).status.code(), StatusCode::internal);
  EXPECT_NE(results.at(1).status.message().find("position 8"), std::string::npos)
      << results.at(1).status.message();
  expect_oracle(good, results.at(2));
  const GenerationRequest after = request_of(3, 8, 10);
  expect_oracle(after, fake.run(after));
}

TEST(LocalEngine, request_the_caller_should_have_refused_fails_alone_and_names_the_field) {
  FakeEngine fake;
  GenerationRequest empty = request_of(1, 1, 5);
  empty.prompts[0].tokens.clear();
  EXPECT_EQ(fake.run(empty).status.param(), "prompt");
  EXPECT_EQ(fake.run(request_of(2, 5, 0)).status.param(), "max_tokens");
  EXPECT_EQ(fake.run(request_of(3, 1000, 25)).status.param(), "max_tokens");
  GenerationRequest outside = request_of(4, 5, 5);
  outside.prompts[0].tokens[2] = testing::kFakeVocab;
  EXPECT_EQ(fake.run(outside).status.param(), "prompt");
  GenerationRequest second = request_of(8, 5, 5);
  add_prompt(second, 9, 1000, 25);
  EXPECT_EQ(fake.run(second).status.param(), "max_tokens");
  second.prompts.clear();
  EXPECT_EQ(fake.run(second).status.param(), "prompt");
  GenerationRequest nothing = request_of(5, 5, 5);
  nothing.n_choices = 0;
  EXPECT_EQ(fake.run(nothing).status.param(), "n");
  GenerationRequest biased = request_of(7, 5, 5);
  biased.sampling.logit_bias = {{testing::kFakeVocab, 1.0F}};
  EXPECT_EQ(fake.run(biased).status.param(), "logit_bias");
  const GenerationRequest good = request_of(6, 5, 5);
  expect_oracle(good, fake.run(good));
}

TEST(LocalEngine, cancelled_request_keeps_its_tokens_and_frees_its_blocks) {
  Inbox<int64_t> steps;
  Inbox<int> go;
  FakeEngine fake({}, [&](const StepBatch& batch) {
    steps.push(static_cast<int64_t>(batch.tokens.size()));
    go.wait_all();
  });
  const GenerationRequest request = request_of(1, 8, 100);
  fake.engine().start(request);
  for (int i = 0; i < 5; ++i) {  // let four steps go, then hold the fifth
    steps.wait_all();
    if (i < 4) go.push(0);
  }
  EXPECT_EQ(fake.engine().stats().running_sequences, 1);
  EXPECT_EQ(fake.engine().stats().blocks_in_use, 3);  // 8 + 4 tokens in blocks of 4
  fake.engine().cancel(1);
  fake.engine().cancel(99);
  go.close();
  const GenerationResult result = std::move(fake.wait(1).begin()->second);
  EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(result.choices[0].finish_reason, FinishReason::cancelled);
  const std::vector<TokenId> all = ids_of(expected_tokens(request, 0));
  EXPECT_EQ(result.choices[0].tokens, std::vector<TokenId>(all.begin(), all.begin() + 5));
  EXPECT_EQ(result.choices[0].text, text_of(result.choices[0].tokens));
  EXPECT_EQ(fake.engine().stats().blocks_in_use, 0);
}

TEST(LocalEngine, lost_device_ends_every_request_as_unavailable_and_later_ones_too) {
  Options options;
  options.on_collect = fail_after(3);
  FakeEngine fake(options);
  fake.engine().start(request_of(1, 8, 100));
  fake.engine().start(request_of(2, 8, 100));
  for (const auto& [id, result] : fake.wait(2)) {
    EXPECT_EQ(result.status.code(), StatusCode::unavailable) << id;
  }
  EXPECT_EQ(fake.engine().stats().blocks_in_use, 0);
  EXPECT_EQ(fake.run(request_of(3, 8, 100)).status.code(), StatusCode::unavailable);
}

TEST(LocalEngine, stop_cancels_what_runs_and_answers_what_comes_later) {
  Inbox<int> first_step;
  FakeEngine fake({}, [&](const StepBatch&) { first_step.push(0); });
  for (RequestId id = 0; id < 20; ++id) fake.engine().start(request_of(id, 8, 700));
  first_step.wait_all();
  fake.engine().stop();
  fake.engine().stop();
  for (const auto& [id, result] : fake.wait(20)) {
    EXPECT_TRUE(result.status.ok()) << id;
    EXPECT_EQ(result.choices[0].finish_reason, FinishReason::cancelled);
  }
  fake.engine().cancel(3);
  EXPECT_EQ(fake.run(request_of(21, 8, 1)).status.code(), StatusCode::unavailable);
}

// Starts and cancels at random from two threads; every request has one result that is a prefix of
// the oracle's, and no block stays behind.
class RandomCancels : public ::testing::TestWithParam<int32_t> {};

INSTANTIATE_TEST_SUITE_P(StepsAhead, RandomCancels, ::testing::Values(0, 1));

TEST_P(RandomCancels, leave_no_block_behind) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  Options options;
  options.n_workers = 3;
  options.step_tokens = 20;
  options.prefill_chunk_tokens = 9;
  options.steps_ahead = GetParam();
  constexpr RequestId kRequests = 300;
  // Nothing is priced here, so every request has to fit at once: two sequences of 30 + 40 tokens.
  options.kv_blocks = kRequests * 2 * ceil_div(30 + 40, options.block_size);
  FakeEngine fake(options);
  std::map<RequestId, GenerationRequest> requests;
  Inbox<RequestId> victims;
  Thread canceller({"cancel", 0}, [&] {
    while (!victims.closed()) {
      for (const RequestId id : victims.wait_all()) fake.engine().cancel(id);
    }
  });
  for (RequestId id = 1; id <= kRequests; ++id) {
    GenerationRequest request = request_of(id, static_cast<int32_t>(1 + random() % 30),
                                           static_cast<int32_t>(1 + random() % 40));
    request.n_choices = static_cast<int32_t>(1 + random() % 2);
    if (request.n_choices == 1 && id % 2 == 0) {
      add_prompt(request, id + kRequests, static_cast<int32_t>(1 + random() % 30), 40);
    }
    requests.emplace(id, request);
    fake.engine().start(request);
    if (random() % 2 == 0) victims.push(1 + random() % id);
  }
  const auto results = fake.wait(kRequests);
  victims.close();
  canceller.join();
  for (const auto& [id, result] : results) {
    ASSERT_TRUE(result.status.ok());
    for (int32_t c = 0; c < n_sequences_of(requests.at(id)); ++c) {
      const GeneratedChoice& choice = result.choices.at(static_cast<size_t>(c));
      std::vector<TokenId> expected = ids_of(expected_tokens(requests.at(id), c));
      ASSERT_LE(choice.tokens.size(), expected.size());
      expected.resize(choice.tokens.size());
      ASSERT_EQ(choice.tokens, expected);
    }
  }
  EXPECT_EQ(fake.engine().stats().blocks_in_use, 0);
}

}  // namespace
}  // namespace parkd
