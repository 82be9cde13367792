// Runs requests on an Engine and waits for their results; checks I8 when it goes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/engine/engine.h"
#include "lib/engine/generation.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"

namespace parkd::testing {

class EngineRunner {
 public:
  EngineRunner(std::shared_ptr<const ModelCard> card, std::unique_ptr<Backend> backend,
               Blocks kv_blocks, EngineOptions options)
      : EngineRunner(std::move(card), one_device(std::move(backend), kv_blocks),
                     std::move(options)) {}
  EngineRunner(std::shared_ptr<const ModelCard> card, std::vector<EngineDevice> devices,
               EngineOptions options) {
    options.on_result = [this](GenerationResult result) { results_.push(std::move(result)); };
    engine_ = make_engine(std::move(card), std::move(devices), std::move(options)).value();
  }
  ~EngineRunner() {
    engine_->stop();
    EXPECT_EQ(engine_->stats().running_sequences, 0);
    EXPECT_EQ(engine_->stats().blocks_in_use, 0) << "a block is still referenced";
    EXPECT_TRUE(results_.take_all().empty()) << "a request had two results";
  }
  EngineRunner(const EngineRunner&) = delete;
  EngineRunner& operator=(const EngineRunner&) = delete;

  Engine& engine() { return *engine_; }

  // All at once; results in the order of `requests`.
  std::vector<GenerationResult> run(const std::vector<GenerationRequest>& requests) {
    for (const GenerationRequest& request : requests) engine_->start(request);
    std::map<RequestId, GenerationResult> by_id;
    while (by_id.size() < requests.size()) {
      for (GenerationResult& result : results_.wait_all()) {
        const RequestId id = result.id;
        EXPECT_TRUE(by_id.emplace(id, std::move(result)).second) << "two results of " << id;
      }
    }
    std::vector<GenerationResult> results;
    for (const GenerationRequest& request : requests) {
      results.push_back(std::move(by_id.at(request.id)));
    }
    return results;
  }
  // One after the other: each request is alone in its batch.
  std::vector<GenerationResult> run_alone(const std::vector<GenerationRequest>& requests) {
    std::vector<GenerationResult> results;
    for (const GenerationRequest& request : requests) {
      results.push_back(std::move(run(std::vector<GenerationRequest>{request}).front()));
    }
    return results;
  }

 private:
  static std::vector<EngineDevice> one_device(std::unique_ptr<Backend> backend, Blocks kv_blocks) {
    std::vector<EngineDevice> devices;
    devices.push_back({std::move(backend), kv_blocks});
    return devices;
  }

  Inbox<GenerationResult> results_;
  std::unique_ptr<Engine> engine_;
};

// Everything of a result that I7 promises, as bytes: tokens, texts, reasons, log-probabilities bit
// for bit. Not the times.
inline std::string result_bytes(const GenerationResult& result) {
  std::string bytes = result.status.to_string();
  const auto put = [&bytes](const auto& value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes.append(raw, sizeof value);
  };
  for (const GeneratedChoice& choice : result.choices) {
    bytes += choice.text;
    put(choice.finish_reason);
    for (const TokenId token : choice.tokens) put(token);
    for (const SampledToken& sampled : choice.logprobs) {
      put(sampled.token);
      put(sampled.logprob);
      for (const TokenLogprob& other : sampled.top) {
        put(other.token);
        put(other.logprob);
      }
    }
  }
  return bytes;
}

}  // namespace parkd::testing
