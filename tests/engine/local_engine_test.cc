// The engine above the Backend: batches, budgets, workers and devices change no token.
#include "lib/engine/local_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "lib/base/inbox.h"
#include "tests/engine/local_engine_rig.h"

namespace parkd {
namespace {

using testing::add_prompt;
using testing::expect_oracle;
using testing::FakeEngine;
using testing::Options;
using testing::options_of;
using testing::request_of;
using testing::Way;

TEST(LocalEngine, one_request_gives_the_tokens_of_the_textbook) {
  FakeEngine fake;
  const GenerationRequest request = request_of(1, 11, 20);
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_EQ(result.prompt_tokens, 11);
  EXPECT_GE(result.prefill_us, 0);
  EXPECT_GE(result.decode_us, 0);
  EXPECT_EQ(fake.engine().stats().prompt_tokens, 11);
  EXPECT_EQ(fake.engine().stats().output_tokens, 20);
}

TEST(LocalEngine, one_token_prompt_and_one_new_token_work) {
  FakeEngine fake;
  const GenerationRequest request = request_of(1, 1, 1);
  expect_oracle(request, fake.run(request));
}

TEST(LocalEngine, every_choice_is_sampled_on_its_own) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 5, 12);
  request.n_choices = 3;
  request.sampling.temperature = 1;
  request.sampling.seed = 77;
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_NE(result.choices[0].tokens, result.choices[1].tokens);
}

TEST(LocalEngine, logprobs_are_kept_only_when_asked_for) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 5, 4);
  request.sampling.logprobs = false;
  request.sampling.top_logprobs = 0;
  expect_oracle(request, fake.run(request));
}

TEST(LocalEngine, each_prompt_of_a_request_is_answered_as_if_it_were_alone) {
  FakeEngine fake;
  GenerationRequest several = request_of(1, 21, 12);
  add_prompt(several, 2, 1, 20);
  add_prompt(several, 3, 33, 1);
  several.n_choices = 3;
  several.sampling.temperature = 1;
  several.sampling.seed = 77;
  const GenerationResult result = fake.run(several);
  expect_oracle(several, result);
  EXPECT_EQ(result.prompt_tokens, 21 + 1 + 33);
  std::vector<std::string> texts;
  for (const GenerationPrompt& prompt : several.prompts) {
    GenerationRequest alone = several;
    alone.prompts = {prompt};
    for (const GeneratedChoice& choice : fake.run(alone).choices) texts.push_back(choice.text);
  }
  ASSERT_EQ(result.choices.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(result.choices[i].text, texts[i]) << i;
}

TEST(LocalEngine, prompts_that_are_alike_differ_where_their_streams_do) {
  FakeEngine fake;
  GenerationRequest request = request_of(1, 5, 12);
  request.prompts.push_back(request.prompts[0]);
  request.prompts.push_back(request.prompts[0]);
  request.prompts[2].first_stream = 2;
  request.n_choices = 2;
  request.sampling.temperature = 1;
  const GenerationResult result = fake.run(request);
  expect_oracle(request, result);
  EXPECT_EQ(result.choices[0].tokens, result.choices[2].tokens);
  EXPECT_EQ(result.choices[1].tokens, result.choices[3].tokens);
  EXPECT_NE(result.choices[0].tokens, result.choices[4].tokens);
  request.prompts.erase(request.prompts.begin(), request.prompts.begin() + 2);
  request.prompts[0].first_stream = 0;
  request.n_choices = 4;
  EXPECT_EQ(fake.run(request).choices[2].tokens, result.choices[4].tokens)
      << "as the third choice of one prompt";
}

class EveryWay : public ::testing::TestWithParam<Way> {};

// I7 above the backend: batch neighbours, workers, chunks and budgets change no token.
TEST_P(EveryWay, forty_requests_give_the_tokens_of_the_textbook) {
  FakeEngine fake(options_of(GetParam()));
  std::vector<GenerationRequest> requests;
  for (RequestId id = 0; id < 40; ++id) {
    requests.push_back(request_of(id, static_cast<int32_t>(1 + id * 7 % 50),
                                  static_cast<int32_t>(1 + id * 5 % 30)));
    if (id % 3 == 0) requests.back().sampling.temperature = 0.7F;
    if (id % 10 == 0) requests.back().n_choices = 2;
    for (RequestId more = id % 4; more > 1; --more) {
      add_prompt(requests.back(), 100 + 4 * id + more, static_cast<int32_t>(1 + id * 11 % 40),
                 static_cast<int32_t>(1 + more * 7));
    }
    if (id % 4 == 1) requests.back().sampling.frequency_penalty = 0.5F;
    if (id % 4 == 2) requests.back().sampling.repetition_penalty = 1.2F;
    if (id % 8 >= 6) requests.back().sampling.presence_penalty = -1.0F;
    if (id % 5 == 1) requests.back().sampling.logit_bias = {{40, 2.0F}, {9, -1.0F}, {254, 7.0F}};
    fake.engine().start(requests.back());
  }
  const auto results = fake.wait(requests.size());
  for (const GenerationRequest& request : requests) expect_oracle(request, results.at(request.id));
}

INSTANTIATE_TEST_SUITE_P(Ways, EveryWay,
                         ::testing::Values(Way{1, 0, 512, 64, 0}, Way{1, 1, 8, 64, 0},
                                           Way{1, 7, 32, 64, 0}, Way{2, 64, 128, 16, 0},
                                           Way{3, 3, 5, 64, 0}, Way{1, 0, 2, 64, 0},
                                           Way{1, 0, 16, 4, 0}, Way{1, 0, 512, 64, 1},
                                           Way{1, 1, 8, 64, 1}, Way{3, 3, 5, 64, 1},
                                           Way{2, 7, 16, 4, 1}));

// Each device has the whole model and its own blocks: 40 requests of up to 21 blocks on two devices
// that hold 420 each.
TEST(LocalEngine, request_runs_on_the_device_that_it_names) {
  std::mutex mutex;
  std::map<std::thread::id, std::set<int64_t>> lengths;  // of prompts, by worker thread
  Options options;
  options.n_devices = 2;
  options.kv_blocks = 420;
  options.step_tokens = 512;
  FakeEngine fake(options, [&](const StepBatch& batch) {
    const std::lock_guard lock(mutex);
    for (const StepSequence& sequence : batch.sequences) {
      if (sequence.context_tokens == 0) lengths[std::this_thread::get_id()].insert(sequence.n_rows);
    }
  });
  std::vector<GenerationRequest> requests;
  for (RequestId id = 1; id <= 40; ++id) {
    requests.push_back(request_of(id, static_cast<int32_t>(10 + id), 20));
    requests.back().device = static_cast<int32_t>(id % 2);
    fake.engine().start(requests.back());
  }
  const auto results = fake.wait(requests.size());
  for (const GenerationRequest& request : requests) expect_oracle(request, results.at(request.id));
  ASSERT_EQ(lengths.size(), 2U) << "each device has one worker";
  for (const auto& [thread, seen] : lengths) {
    EXPECT_EQ(seen.size(), 20U);
    for (const int64_t length : seen) EXPECT_EQ(length % 2, *seen.begin() % 2);
  }
}

TEST(LocalEngine, request_goes_to_the_worker_with_the_fewest_expected_tokens) {
  std::mutex mutex;
  std::map<std::thread::id, std::set<size_t>> seen;  // prompt sizes by worker thread
  Options options;
  options.n_workers = 2;
  options.step_tokens = 512;
  Inbox<int> go;
  FakeEngine fake(options, [&](const StepBatch& batch) {
    {
      const std::lock_guard lock(mutex);
      for (const StepSequence& sequence : batch.sequences) {
        if (sequence.context_tokens == 0) {
          seen[std::this_thread::get_id()].insert(static_cast<size_t>(sequence.n_rows));
        }
      }
    }
    go.wait_all();  // no step ends before all are dealt out
  });
  for (const int32_t n_prompt : {300, 40, 41, 42}) {
    fake.engine().start(request_of(static_cast<RequestId>(n_prompt), n_prompt, 10));
  }
  go.close();
  fake.wait(4);
  ASSERT_EQ(seen.size(), 2U);
  for (const auto& [thread, prompts] : seen) {
    EXPECT_TRUE(prompts == std::set<size_t>{300} || prompts == (std::set<size_t>{40, 41, 42}));
  }
}

TEST(LocalEngine, a_step_has_as_many_sequences_as_its_device_may_run) {
  for (const int32_t of_device : {0, 3}) {
    std::mutex mutex;
    size_t most = 0;
    Options options;
    options.max_num_seqs = 5;
    options.max_num_seqs_of_device = of_device;
    FakeEngine fake(options, [&](const StepBatch& batch) {
      const std::lock_guard lock(mutex);
      most = std::max(most, batch.sequences.size());
    });
    for (RequestId id = 0; id < 8; ++id) fake.engine().start(request_of(id, 2, 20));
    fake.wait(8);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(most, of_device == 0 ? 5U : 3U);
  }
}

TEST(LocalEngine, steps_carry_all_decodes_and_keep_the_budget) {
  std::mutex mutex;
  std::vector<StepSequence> shapes;
  int64_t largest = 0;
  Options options;
  options.step_tokens = 24;
  options.prefill_chunk_tokens = 10;
  FakeEngine fake(options, [&](const StepBatch& batch) {
    const std::lock_guard lock(mutex);
    largest = std::max(largest, static_cast<int64_t>(batch.tokens.size()));
    for (const StepSequence& sequence : batch.sequences) EXPECT_LE(sequence.n_rows, 10);
  });
  for (RequestId id = 0; id < 16; ++id) fake.engine().start(request_of(id, 40, 20));
  fake.wait(16);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(largest, 24);
}

}  // namespace
}  // namespace parkd
