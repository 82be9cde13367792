// Steps that fail on a device that is well: computed again, and who ends where they fail again.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "tests/engine/local_engine_rig.h"

namespace parkd {
namespace {

using testing::expect_oracle;
using testing::fail_after;
using testing::FakeEngine;
using testing::kPoisonToken;
using testing::Options;
using testing::options_of;
using testing::request_of;
using testing::Way;

const Status kFailed = internal_error("scripted");

constexpr Way kWays[] = {{1, 0, 32, 16, 0}, {1, 0, 32, 16, 1}, {1, 3, 8, 2, 1}, {2, 5, 16, 4, 1}};

// Prompts that share their beginning, choices, penalties: all that a sequence keeps of its steps.
std::vector<GenerationRequest> mixed_requests() {
  std::vector<GenerationRequest> requests;
  for (RequestId id = 1; id <= 5; ++id) {
    GenerationRequest request = request_of(id, static_cast<int32_t>(3 + 4 * id), 9);
    if (id == 2) request.n_choices = 3;
    if (id == 3) request.sampling.temperature = 1;
    if (id == 4) request.prompts[0].tokens = requests[1].prompts[0].tokens;
    if (id == 5) request.sampling.frequency_penalty = 0.5F;
    requests.push_back(request);
  }
  return requests;
}

int64_t steps_of(const Way& way, const std::vector<GenerationRequest>& requests) {
  FakeEngine fake(options_of(way));
  for (const GenerationRequest& request : requests) fake.engine().start(request);
  for (const auto& [id, result] : fake.wait(requests.size())) EXPECT_TRUE(result.status.ok()) << id;
  return fake.engine().stats().steps;
}

TEST(RepeatedSteps, whichever_step_fails_every_token_is_what_it_was) {
  const auto requests = mixed_requests();
  for (const Way& way : kWays) {
    const int64_t n_steps = steps_of(way, requests) / way.n_workers;
    ASSERT_GT(n_steps, 5);
    for (int64_t n = 0; n < n_steps; ++n) {
      SCOPED_TRACE("step " + std::to_string(n) + " of " + std::to_string(n_steps) + ", " +
                   std::to_string(way.steps_ahead) + " ahead");
      Options options = options_of(way);
      options.on_collect = fail_after(n, kFailed);
      FakeEngine fake(options);
      for (const GenerationRequest& request : requests) fake.engine().start(request);
      const auto results = fake.wait(requests.size());
      for (const GenerationRequest& request : requests) {
        expect_oracle(request, results.at(request.id));
      }
      const EngineStats stats = fake.engine().stats();
      EXPECT_LE(stats.steps_repeated, 1);
      EXPECT_EQ(stats.steps_failed, 0);
      EXPECT_EQ(stats.blocks_in_use, 0);
    }
  }
}

// Many failures of a long run, at any distance but next to each other.
TEST(RepeatedSteps, many_failures_change_no_token_and_no_count) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  for (const int32_t steps_ahead : {0, 1}) {
    std::mt19937_64 random(seed);
    std::mutex mutex;
    bool failed_before = false;
    int64_t n_failures = 0;
    Options options;
    options.steps_ahead = steps_ahead;
    options.on_collect = [&](const StepBatch&) {
      const std::lock_guard lock(mutex);
      failed_before = !failed_before && random() % 3 == 0;
      n_failures += failed_before ? 1 : 0;
      return failed_before ? kFailed : Status();
    };
    FakeEngine fake(options);
    std::vector<GenerationRequest> requests;
    int64_t n_tokens = 0;
    for (RequestId id = 1; id <= 12; ++id) {
      requests.push_back(request_of(id, static_cast<int32_t>(2 + id * 5), 25));
      n_tokens += 2 + static_cast<int64_t>(id) * 5;
    }
    for (const GenerationRequest& request : requests) fake.engine().start(request);
    const auto results = fake.wait(requests.size());
    for (const GenerationRequest& request : requests) {
      expect_oracle(request, results.at(request.id));
    }
    const EngineStats stats = fake.engine().stats();
    EXPECT_GT(n_failures, 3);
    EXPECT_EQ(stats.steps_repeated, n_failures);
    EXPECT_EQ(stats.steps_failed, 0);
    EXPECT_EQ(stats.output_tokens, 12 * 25) << "no token is counted twice";
    EXPECT_EQ(stats.prompt_tokens, n_tokens);
  }
}

// What was told of a step is never told again.
TEST(RepeatedSteps, who_streams_hears_each_token_once) {
  for (const int32_t steps_ahead : {0, 1}) {
    for (int64_t n = 0; n < 12; ++n) {
      std::vector<int32_t> positions;
      std::string text;
      Options options;
      options.steps_ahead = steps_ahead;
      options.on_collect = fail_after(n, kFailed);
      options.on_tokens = [&](std::span<const TokenEvent> events) {
        for (const TokenEvent& event : events) {
          positions.push_back(event.position);
          text += event.text;
        }
      };
      FakeEngine fake(options);
      GenerationRequest request = request_of(1, 5, 10);
      request.stream = true;
      const GenerationResult result = fake.run(request);
      expect_oracle(request, result);
      EXPECT_EQ(text, result.choices[0].text);
      for (size_t i = 0; i < positions.size(); ++i) {
        EXPECT_EQ(positions[i], static_cast<int32_t>(i)) << "failure at step " << n;
      }
    }
  }
}

// No device but the rows of one request fail: it ends, and nobody else.
TEST(RepeatedSteps, a_step_that_fails_again_ends_its_requests_as_internal_and_no_others) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    options.max_num_seqs = 1;  // each step is one request's
    options.on_collect = [](const StepBatch& batch) {
      const bool bad =
          std::find(batch.tokens.begin(), batch.tokens.end(), kPoisonToken) != batch.tokens.end();
      return bad ? kFailed : Status();
    };
    FakeEngine fake(options);
    GenerationRequest bad = request_of(2, 8, 10);
    bad.prompts[0].tokens.back() = kPoisonToken;
    for (const RequestId id : {1, 3}) fake.engine().start(request_of(id, 8, 20));
    fake.engine().start(bad);
    for (const RequestId id : {4, 5}) fake.engine().start(request_of(id, 8, 20));
    const auto results = fake.wait(5);
    EXPECT_EQ(results.at(2).status.code(), StatusCode::internal);
    EXPECT_NE(results.at(2).status.message().find("scripted"), std::string::npos);
    for (const RequestId id : {1, 3, 4, 5}) expect_oracle(request_of(id, 8, 20), results.at(id));
    const EngineStats stats = fake.engine().stats();
    EXPECT_EQ(stats.steps_repeated, 1);
    EXPECT_EQ(stats.steps_failed, 1);
  }
}

// The step that is repeated runs alone, so that a failure of the next is not taken for its own.
TEST(RepeatedSteps, nothing_is_begun_ahead_of_a_step_that_is_repeated) {
  Options options;
  options.steps_ahead = 1;
  std::atomic<int> begun = 0;
  std::atomic<bool> failed = false;
  std::atomic<int> begun_beside = 0;
  options.on_collect = [&](const StepBatch&) {
    const int under_way = begun.exchange(0);
    if (failed.exchange(false)) begun_beside = under_way;
    static std::atomic<int> n{0};
    if (n.fetch_add(1) != 4) return Status();
    failed = true;
    return kFailed;
  };
  FakeEngine fake(options, [&](const StepBatch&) { ++begun; });
  const GenerationRequest request = request_of(1, 8, 20);
  expect_oracle(request, fake.run(request));
  EXPECT_EQ(begun_beside, 1);
}

TEST(RepeatedSteps, a_device_on_which_step_after_step_fails_is_lost) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    options.on_collect = fail_after(0, kFailed, 1000);
    FakeEngine fake(options);
    int n_internal = 0;
    GenerationResult result;
    do {
      result = fake.run(request_of(1, 8, 10));
      n_internal += result.status.code() == StatusCode::internal ? 1 : 0;
    } while (result.status.code() == StatusCode::internal && n_internal < 50);
    EXPECT_EQ(result.status.code(), StatusCode::unavailable) << result.status.to_string();
    EXPECT_EQ(n_internal, 7);
    EXPECT_EQ(fake.run(request_of(2, 8, 10)).status.code(), StatusCode::unavailable);
    EXPECT_EQ(fake.engine().stats().steps_failed, 8);
  }
}

TEST(RepeatedSteps, one_step_that_succeeds_begins_the_count_anew) {
  Options options;
  int n = 0;
  options.on_collect = [&](const StepBatch&) { return ++n % 15 == 0 ? Status() : kFailed; };
  FakeEngine fake(options);
  for (RequestId id = 1; id <= 30; ++id) {
    EXPECT_EQ(fake.run(request_of(id, 8, 10)).status.code(), StatusCode::internal) << id;
  }
}

// The second failure of a request that was told to stop: it ends once.
TEST(RepeatedSteps, a_request_may_be_cancelled_while_its_step_is_repeated) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    FakeEngine* engine = nullptr;
    int n = 0;
    options.on_collect = [&](const StepBatch&) {
      if (++n != 3) return Status();
      engine->engine().cancel(1);
      return kFailed;
    };
    FakeEngine fake(options);
    engine = &fake;
    const GenerationResult result = fake.run(request_of(1, 8, 30));
    EXPECT_TRUE(result.status.ok()) << result.status.to_string();
    EXPECT_EQ(result.choices[0].finish_reason, FinishReason::cancelled);
    const GenerationRequest later = request_of(2, 8, 10);
    expect_oracle(later, fake.run(later));
  }
}

}  // namespace
}  // namespace parkd
