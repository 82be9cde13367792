// FakeEngine: the dispatcher's tests play the engine by hand. Nothing ends until the test says so;
// a cancel is noted, and answered at once only where the test wants that.
//
// It counts blocks as the real one does, so that I2 is checked for real.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "lib/dispatch/endings.h"
#include "lib/engine/engine.h"
#include "lib/pool/price.h"

namespace parkd {

class FakeEngine final : public Engine {
 public:
  FakeEngine(int32_t block_size, std::function<void(GenerationResult)> on_result)
      : block_size_(block_size), on_result_(std::move(on_result)) {}

  bool answer_cancels = true;
  std::atomic<int64_t> steps_repeated = 0;  // as stats() has them
  std::atomic<int64_t> steps_failed = 0;

  void start(GenerationRequest request) override {
    const std::lock_guard lock(mutex_);
    const RequestId id = request.id;
    started_.push_back(id);
    blocks_ += blocks_of(request);
    blocks_peak_ = std::max(blocks_peak_, blocks_);
    PARKD_CHECK(running_.emplace(id, std::move(request)).second, "a request was started twice");
  }

  void cancel(RequestId id) override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_.push_back(id);
    }
    if (answer_cancels) end_if_running(id, FinishReason::cancelled, Status());
  }

  std::vector<Blocks> kv_blocks() const override { return {}; }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats;
    stats.running_sequences = static_cast<int64_t>(running_.size());
    stats.blocks_in_use = blocks_;
    stats.steps_repeated = steps_repeated;
    stats.steps_failed = steps_failed;
    return stats;
  }

  void stop() override {
    for (const RequestId id : running()) end(id, FinishReason::cancelled, Status());
  }

  // --- the test's side
  // Ends a request: each choice has its max_new_tokens tokens, or half of them when cut short.
  void end(RequestId id, FinishReason reason, Status status) {
    PARKD_CHECK(end_if_running(id, reason, std::move(status)),
                "the test ends a request that is not running");
  }
  // Completes some running request, if there is one; beside cancels of other threads.
  bool complete_any() {
    const auto ids = running();
    return !ids.empty() && end_if_running(ids.front(), FinishReason::stop, Status());
  }
  void complete(RequestId id) { end(id, FinishReason::stop, Status()); }
  void fail(RequestId id, Status status) { end(id, FinishReason::stop, std::move(status)); }

  std::vector<RequestId> running() const {  // in the order of ids
    const std::lock_guard lock(mutex_);
    std::vector<RequestId> ids;
    for (const auto& [id, request] : running_) ids.push_back(id);
    return ids;
  }
  std::vector<RequestId> started() const {
    const std::lock_guard lock(mutex_);
    return started_;
  }
  std::vector<RequestId> cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  int64_t blocks_peak() const {
    const std::lock_guard lock(mutex_);
    return blocks_peak_;
  }

 private:
  bool end_if_running(RequestId id, FinishReason reason, Status status) {
    GenerationResult result;
    {
      const std::lock_guard lock(mutex_);
      const auto found = running_.find(id);
      if (found == running_.end()) return false;
      result = result_of(found->second, reason, std::move(status));
      blocks_ -= blocks_of(found->second);
      running_.erase(found);
    }
    on_result_(std::move(result));
    return true;
  }

  static GenerationResult result_of(const GenerationRequest& request, FinishReason reason,
                                    Status status) {
    GenerationResult result;
    result.id = request.id;
    result.status = std::move(status);
    result.prompt_tokens = prompt_tokens_of(request);
    const bool whole = result.status.ok() && reason != FinishReason::cancelled;
    for (int32_t i = 0; i < n_sequences_of(request); ++i) {
      const auto prompt = static_cast<size_t>(i / request.n_choices);
      const int32_t n_tokens = request.prompts[prompt].max_new_tokens / (whole ? 1 : 2);
      GeneratedChoice choice;
      choice.tokens.assign(static_cast<size_t>(n_tokens), 7);
      choice.n_generated = n_tokens;
      choice.text = whole ? "whole" : "partial";
      choice.finish_reason = reason;
      result.choices.push_back(std::move(choice));
    }
    return result;
  }

  int64_t blocks_of(const GenerationRequest& request) const {
    return job_cost(request.n_choices, needs_of(request.prompts), block_size_).count;
  }

  const int32_t block_size_;
  const std::function<void(GenerationResult)> on_result_;
  mutable std::mutex mutex_;  // workers call from their threads in the threaded tests
  std::map<RequestId, GenerationRequest> running_;
  std::vector<RequestId> started_;
  std::vector<RequestId> cancelled_;
  int64_t blocks_ = 0;
  int64_t blocks_peak_ = 0;
};

}  // namespace parkd
