// TokenFeed: what the engines' runs have written so far, for those who listen while they run.
//
// Workers push what a step released, the dispatcher says which job a run is; both only append to a
// buffer under a lock that is held for the copy. The owner's thread takes it from there (drain) and
// keeps each run's answer from its beginning, so that one who comes late, or reads slowly, misses
// nothing and delays no one. The dispatcher's thread does not see the tokens.
//
// It holds as much as what runs has written. When a run has ended its answer is gone from here: the
// stored message is what tells how it ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/thread_safety.h"
#include "lib/engine/generation.h"
#include "lib/job/job_id.h"

namespace parkd {

// One choice so far. It only grows.
struct ChoiceTokens {
  std::string text;             // released: valid UTF-8
  std::vector<TokenId> tokens;  // whose text begins in it
  size_t n_text_bytes = 0;      // TokenEvent's
  std::vector<SampledToken> logprobs;
};

struct RunTokens {
  RequestId run = 0;
  std::vector<ChoiceTokens> choices;
};

class TokenFeed {
 public:
  // `wake` is called, on any thread, when something was pushed and nothing was waiting: drain() is
  // to be called on the owner's thread.
  explicit TokenFeed(std::function<void()> wake) : wake_(std::move(wake)) {}
  TokenFeed(const TokenFeed&) = delete;
  TokenFeed& operator=(const TokenFeed&) = delete;

  // --- any thread
  // EngineOptions::on_tokens.
  void push(std::span<const TokenEvent> events);
  // A run of the job begins: before its engine knows of it. A later run of a job takes the place of
  // an earlier one.
  void run_began(RequestId run, JobId job, size_t n_choices);
  // Nothing more is told of the run.
  void run_ended(RequestId run);

  // --- the owner's thread
  void drain();
  // The run of a job that is under way; nullptr: none. Valid until the next drain().
  const RunTokens* find(JobId job) const;

  // `on_tokens` is called by drain() after it has taken something of the job's run, until the
  // handle goes. It may listen and let go of handles.
  using Listener = std::shared_ptr<std::function<void()>>;
  [[nodiscard]] Listener listen(JobId job, std::function<void()> on_tokens);

 private:
  struct Began {
    JobId job;
    size_t n_choices;
  };
  // What was pushed, in order, in buffers that are used again.
  struct Pushed {
    enum class Kind : uint8_t { began, tokens, ended };
    struct Item {
      Kind kind;
      RequestId run;
      Began began;
      size_t choice;
      size_t n_text_bytes;
      size_t text, tokens, logprobs;  // how many of each
    };
    std::vector<Item> items;
    std::string text;
    std::vector<TokenId> tokens;
    std::vector<SampledToken> logprobs;

    void clear();
  };
  void push(Pushed::Item item);
  void take(const Pushed& pushed);
  void tell();
  void sweep_listeners();

  const std::function<void()> wake_;
  std::mutex mutex_;
  Pushed pushed_ PARKD_GUARDED_BY(mutex_);

  // the owner's
  Pushed taken_;
  std::unordered_map<RequestId, JobId> jobs_;  // of the runs under way
  std::unordered_map<JobId, RunTokens> runs_;  // the latest run of each job
  std::vector<JobId> news_;                    // jobs that the last drain() took something of
  std::unordered_map<JobId, std::vector<std::weak_ptr<std::function<void()>>>> listeners_;
  size_t sweep_at_ = 64;  // listeners_ with so many jobs are looked through for those who left
};

}  // namespace parkd
