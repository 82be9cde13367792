// The engine above the Backend: batching, blocks, stops, cancels, failures. On the fake backend,
// whose tokens show whether every row saw exactly its own history.
#include "lib/engine/local_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string_view>
#include <thread>

#include "lib/base/inbox.h"
#include "lib/base/text.h"
#include "tests/support/fake_backend.h"

namespace parkd {
namespace {

using testing::expected_tokens;
using testing::FakeBackend;
using testing::kPoisonToken;

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz";

char letter(TokenId token) {
  return kLetters[static_cast<size_t>(token % 26)];
}

struct Options {
  int64_t kv_blocks = 4096;
  int32_t block_size = 4;
  int32_t n_workers = 1;
  int32_t max_sequences = 16;
  int32_t step_tokens = 32;
  int32_t prefill_chunk_tokens = 0;
  int32_t steps_ahead = 0;
  int32_t n_devices = 1;
  bool share_prefixes = true;
};

// An engine on a fake backend, and I8 when it goes: no block is referenced, nothing runs.
class FakeEngine {
 public:
  explicit FakeEngine(Options options = {}, std::function<void(const StepBatch&)> on_step = nullptr,
                      int64_t steps_until_lost = -1,
                      Status lost_status = unavailable("the test pulled the plug")) {
    LoadedModel model;
    model.shape = testing::fake_shape();
    for (int32_t i = 0; i < options.n_devices; ++i) {
      auto backend = std::make_unique<FakeBackend>();
      backend->on_step = on_step;
      backend->steps_until_lost = steps_until_lost;
      backend->lost_status = lost_status;
      backend->steps_ahead = options.steps_ahead;
      EXPECT_TRUE(backend->allocate_kv(options.kv_blocks, options.block_size).ok());
      LoadedDevice device;
      device.weights = testing::load_fake_weights(*backend);
      device.kv_blocks = {options.kv_blocks};
      device.backend = std::move(backend);
      model.devices.push_back(std::move(device));
    }
    model.token_bytes = [](TokenId token) {
      return kLetters.substr(static_cast<size_t>(token % 26), 1);
    };
    EngineOptions engine;
    engine.block_size = options.block_size;
    engine.n_workers = options.n_workers;
    engine.max_sequences = options.max_sequences;
    engine.step_tokens = options.step_tokens;
    engine.prefill_chunk_tokens = options.prefill_chunk_tokens;
    engine.share_prefixes = options.share_prefixes;
    engine.on_result = [this](GenerationResult result) { results_.push(std::move(result)); };
    engine_ = LocalEngine::make(std::move(model), engine).value();
  }

  ~FakeEngine() {
    engine_->stop();
    EXPECT_EQ(engine_->stats().running_sequences, 0);
    EXPECT_EQ(engine_->stats().blocks_in_use, 0);
    EXPECT_TRUE(results_.take_all().empty()) << "a request had two results";
  }

  LocalEngine& engine() { return *engine_; }

  // Waits for `n` results, by id.
  std::map<RequestId, GenerationResult> wait(size_t n) {
    std::map<RequestId, GenerationResult> results;
    while (results.size() < n) {
      for (GenerationResult& result : results_.wait_all()) {
        const RequestId id = result.id;
        EXPECT_TRUE(results.emplace(id, std::move(result)).second) << "two results of " << id;
      }
    }
    return results;
  }
  GenerationResult run(GenerationRequest request) {
    engine_->start(std::move(request));
    return std::move(wait(1).begin()->second);
  }

 private:
  Inbox<GenerationResult> results_;
  std::unique_ptr<LocalEngine> engine_;
};

// A prompt of `n` tokens, none of them the poison one, told apart by `id`.
GenerationRequest request_of(RequestId id, int32_t n_prompt, int32_t max_new_tokens) {
  GenerationRequest request;
  request.id = id;
  for (int32_t i = 0; i < n_prompt; ++i) {
    request.prompt.push_back(static_cast<TokenId>(testing::mix(id, i) % 200));
  }
  request.max_new_tokens = max_new_tokens;
  request.sampling.temperature = 0;
  request.sampling.logprobs = true;
  request.sampling.top_logprobs = 2;
  return request;
}

std::vector<TokenId> ids_of(const std::vector<SampledToken>& sampled) {
  std::vector<TokenId> ids;
  for (const SampledToken& token : sampled) ids.push_back(token.token);
  return ids;
}

std::string text_of(const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += letter(token);
  return text;
}

void expect_oracle(const GenerationRequest& request, const GenerationResult& result) {
  ASSERT_TRUE(result.status.ok()) << result.status.to_string();
  ASSERT_EQ(result.choices.size(), static_cast<size_t>(request.n_choices));
  for (int32_t c = 0; c < request.n_choices; ++c) {
    const GeneratedChoice& choice = result.choices[static_cast<size_t>(c)];
    const std::vector<SampledToken> expected = expected_tokens(request, c);
    ASSERT_EQ(choice.tokens, ids_of(expected));
    EXPECT_EQ(choice.text, text_of(choice.tokens));
    EXPECT_EQ(choice.finish_reason, FinishReason::length);
    if (!request.sampling.logprobs) {
      EXPECT_TRUE(choice.logprobs.empty());
      continue;
    }
    ASSERT_EQ(choice.logprobs.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(choice.logprobs[i].token, expected[i].token);
      EXPECT_EQ(choice.logprobs[i].logprob, expected[i].logprob);
      EXPECT_EQ(choice.logprobs[i].top.size(), 2U);
    }
  }
}

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

// Not a lost device: what ran ends, what comes later runs.
TEST(LocalEngine, short_memory_ends_what_runs_as_exhausted_and_nothing_later) {
  for (const int32_t steps_ahead : {0, 1}) {
    Options options;
    options.steps_ahead = steps_ahead;
    FakeEngine fake(options, nullptr, 3, exhausted("scripted"));
    const GenerationResult result = fake.run(request_of(1, 5, 20));
    EXPECT_EQ(result.status.code(), StatusCode::exhausted) << result.status.to_string();
    const GenerationRequest later = request_of(2, 11, 20);
    expect_oracle(later, fake.run(later));
  }
}

TEST(LocalEngine, memory_that_a_lane_lacks_is_an_error_of_loading) {
  LoadedModel model;
  model.shape = testing::fake_shape();
  auto backend = std::make_unique<FakeBackend>();
  backend->prepare_status = exhausted("scripted");
  LoadedDevice device;
  device.weights = testing::load_fake_weights(*backend);
  device.kv_blocks = {8};
  device.backend = std::move(backend);
  model.devices.push_back(std::move(device));
  EngineOptions options;
  options.on_result = [](GenerationResult) {};
  EXPECT_EQ(LocalEngine::make(std::move(model), options).status().code(), StatusCode::exhausted);
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

struct Way {
  int32_t n_workers;
  int32_t prefill_chunk_tokens;
  int32_t step_tokens;
  int32_t max_sequences;
  int32_t steps_ahead;
};

Options options_of(const Way& way) {
  Options options;
  options.n_workers = way.n_workers;
  options.prefill_chunk_tokens = way.prefill_chunk_tokens;
  options.step_tokens = way.step_tokens;
  options.max_sequences = way.max_sequences;
  options.steps_ahead = way.steps_ahead;
  return options;
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

Options one_step_ahead() {
  Options options;
  options.steps_ahead = 1;
  return options;
}

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
    bad.prompt.back() = kPoisonToken;
    const GenerationRequest good = request_of(2, 8, 10);
    fake.engine().start(bad);
    fake.engine().start(good);
    const auto results = fake.wait(2);
    EXPECT_EQ(results.at(1).status.code(), StatusCode::internal);
    expect_oracle(good, results.at(2));
  }
  FakeEngine fake(one_step_ahead(), nullptr, 3);
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

TEST(LocalEngine, request_with_no_finite_logits_fails_alone) {
  FakeEngine fake;
  GenerationRequest bad = request_of(1, 8, 10);
  bad.prompt.back() = kPoisonToken;
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
  empty.prompt.clear();
  EXPECT_EQ(fake.run(empty).status.param(), "prompt");
  EXPECT_EQ(fake.run(request_of(2, 5, 0)).status.param(), "max_tokens");
  EXPECT_EQ(fake.run(request_of(3, 1000, 25)).status.param(), "max_tokens");
  GenerationRequest outside = request_of(4, 5, 5);
  outside.prompt[2] = testing::kFakeVocab;
  EXPECT_EQ(fake.run(outside).status.param(), "prompt");
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
  FakeEngine fake({}, nullptr, 3);
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

// Sharing. Blocks are of four tokens; what is shared is never computed again, so the numbers of
// computed tokens are exact.

TEST(LocalEngine, prompts_that_begin_alike_are_computed_once) {
  FakeEngine fake;
  const GenerationRequest first = request_of(1, 41, 3);
  expect_oracle(first, fake.run(first));
  GenerationRequest second = request_of(2, 50, 3);
  std::copy_n(first.prompt.begin(), 30, second.prompt.begin());
  const GenerationResult result = fake.run(second);
  expect_oracle(second, result);
  EXPECT_EQ(result.shared_tokens, 28) << "seven whole blocks of the 30 tokens";
  const EngineStats stats = fake.engine().stats();
  EXPECT_EQ(stats.prompt_tokens, 41 + 50 - 28);
  EXPECT_EQ(stats.shared_tokens, 28);
  EXPECT_GT(stats.blocks_cached, 0);
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
    std::copy(first.prompt.begin(), first.prompt.end(), second.prompt.begin());
    std::copy(told.choices[0].tokens.begin(), told.choices[0].tokens.end(),
              second.prompt.begin() + 10);
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
  // Between what a step takes and what it computes, others have their turn.
  FakeEngine fake(options, [](const StepBatch&) {
    for (int i = 0; i < 50; ++i) std::this_thread::yield();
  });
  std::vector<GenerationRequest> trunks;
  for (RequestId id = 0; id < 5; ++id) trunks.push_back(request_of(id, 60, 1));
  int64_t n_shared = 0;
  for (RequestId first = 0; first < 240; first += 3) {
    std::map<RequestId, GenerationRequest> requests;
    for (RequestId id = first; id < first + 3; ++id) {
      GenerationRequest request = request_of(id, 1 + below(60), 1 + below(20));
      const auto& trunk = trunks[static_cast<size_t>(below(trunks.size()))].prompt;
      std::copy_n(trunk.begin(), below(request.prompt.size() + 1), request.prompt.begin());
      request.n_choices = 1 + below(2);
      requests.emplace(id, request);
      fake.engine().start(request);
      if (below(8) == 0) fake.engine().cancel(id);
    }
    for (const auto& [id, result] : fake.wait(requests.size())) {
      ASSERT_TRUE(result.status.ok());
      n_shared += result.shared_tokens;
      for (int32_t c = 0; c < requests.at(id).n_choices; ++c) {
        const GeneratedChoice& choice = result.choices.at(static_cast<size_t>(c));
        std::vector<TokenId> expected = ids_of(expected_tokens(requests.at(id), c));
        if (choice.finish_reason == FinishReason::cancelled) expected.resize(choice.tokens.size());
        ASSERT_EQ(choice.tokens, expected) << "request " << id;
      }
    }
  }
  EXPECT_GT(n_shared, 500);
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
  // Nothing is priced here, so every request has to fit at once: two choices of 30 + 40 tokens.
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
    requests.emplace(id, request);
    fake.engine().start(request);
    if (random() % 2 == 0) victims.push(1 + random() % id);
  }
  const auto results = fake.wait(kRequests);
  victims.close();
  canceller.join();
  for (const auto& [id, result] : results) {
    ASSERT_TRUE(result.status.ok());
    for (int32_t c = 0; c < requests.at(id).n_choices; ++c) {
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
