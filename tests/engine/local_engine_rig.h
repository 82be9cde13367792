// An engine on the fake backend, whose tokens show whether every row saw exactly its own history,
// and the requests and the oracle of its tests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/engine/local_engine.h"
#include "tests/support/fake_backend.h"

namespace parkd::testing {

inline constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz";

inline char letter(TokenId token) {
  return kLetters[static_cast<size_t>(token % 26)];
}

struct Options {
  int64_t kv_blocks = 4096;
  int32_t block_size = 4;
  int32_t n_workers = 1;
  int32_t max_num_seqs = 16;
  int32_t max_num_seqs_of_device = 0;  // of each; 0: as max_num_seqs says
  int32_t step_tokens = 32;
  int32_t prefill_chunk_tokens = 0;
  int32_t steps_ahead = 0;
  int32_t n_devices = 1;
  bool share_prefixes = true;
  TokenBytes token_bytes;  // empty: a letter each
  std::function<void(std::span<const TokenEvent>)> on_tokens;
  std::function<void(RequestId)> on_end;               // before its result can be waited for
  std::function<Status(const StepBatch&)> on_collect;  // of FakeBackend
};

// Of FakeBackend::on_collect: the steps after the first `n` fail, `times` of them.
inline std::function<Status(const StepBatch&)> fail_after(
    int64_t n, Status why = unavailable("the test pulled the plug"), int64_t times = 1) {
  return [step = std::make_shared<std::atomic<int64_t>>(0), n, why = std::move(why),
          times](const StepBatch&) {
    const int64_t i = step->fetch_add(1);
    return i >= n && i < n + times ? why : Status();
  };
}

// An engine on a fake backend, and I8 when it goes: no block is referenced, nothing runs.
class FakeEngine {
 public:
  explicit FakeEngine(Options options = {},
                      std::function<void(const StepBatch&)> on_step = nullptr) {
    EngineParts parts;
    parts.shape = fake_shape();
    for (int32_t i = 0; i < options.n_devices; ++i) {
      auto backend = std::make_unique<FakeBackend>();
      backend->on_step = on_step;
      backend->on_collect = options.on_collect;
      backend->steps_ahead = options.steps_ahead;
      LoadedDevice device;
      device.weights = load_fake_weights(*backend);
      device.device.kv_blocks = {options.kv_blocks};
      device.device.max_num_seqs = options.max_num_seqs_of_device;
      device.device.backend = std::move(backend);
      parts.devices.push_back(std::move(device));
    }
    parts.token_bytes = options.token_bytes;
    if (!parts.token_bytes) {
      parts.token_bytes = [](TokenId token) {
        return kLetters.substr(static_cast<size_t>(token % 26), 1);
      };
    }
    EngineOptions engine;
    engine.block_size = options.block_size;
    engine.n_workers = options.n_workers;
    engine.max_num_seqs = options.max_num_seqs;
    engine.step_tokens = options.step_tokens;
    engine.prefill_chunk_tokens = options.prefill_chunk_tokens;
    engine.share_prefixes = options.share_prefixes;
    engine.on_tokens = options.on_tokens;
    engine.on_result = [this, on_end = options.on_end](GenerationResult result) {
      if (on_end) on_end(result.id);
      results_.push(std::move(result));
    };
    engine_ = LocalEngine::make(std::move(parts), engine).value();
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
inline GenerationRequest request_of(RequestId id, int32_t n_prompt, int32_t max_new_tokens) {
  GenerationRequest request;
  request.id = id;
  for (int32_t i = 0; i < n_prompt; ++i) {
    request.prompts[0].tokens.push_back(static_cast<TokenId>(mix(id, i) % 200));
  }
  request.prompts[0].max_new_tokens = max_new_tokens;
  request.sampling.temperature = 0;
  request.sampling.logprobs = true;
  request.sampling.top_logprobs = 2;
  return request;
}

// A further prompt, told apart by `id` as request_of's.
inline void add_prompt(GenerationRequest& request, RequestId id, int32_t n_prompt,
                       int32_t max_new_tokens) {
  request.prompts.push_back(request_of(id, n_prompt, max_new_tokens).prompts[0]);
}

inline std::vector<TokenId> ids_of(const std::vector<SampledToken>& sampled) {
  std::vector<TokenId> ids;
  for (const SampledToken& token : sampled) ids.push_back(token.token);
  return ids;
}

inline std::string text_of(const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += letter(token);
  return text;
}

inline void expect_oracle(const GenerationRequest& request, const GenerationResult& result) {
  ASSERT_TRUE(result.status.ok()) << result.status.to_string();
  ASSERT_EQ(result.choices.size(), static_cast<size_t>(n_sequences_of(request)));
  EXPECT_EQ(result.prompt_tokens, prompt_tokens_of(request));
  for (int32_t c = 0; c < n_sequences_of(request); ++c) {
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

// How an engine may be set up; none of it changes a token.
struct Way {
  int32_t n_workers;
  int32_t prefill_chunk_tokens;
  int32_t step_tokens;
  int32_t max_num_seqs;
  int32_t steps_ahead;
};

inline Options options_of(const Way& way) {
  Options options;
  options.n_workers = way.n_workers;
  options.prefill_chunk_tokens = way.prefill_chunk_tokens;
  options.step_tokens = way.step_tokens;
  options.max_num_seqs = way.max_num_seqs;
  options.steps_ahead = way.steps_ahead;
  return options;
}

}  // namespace parkd::testing
