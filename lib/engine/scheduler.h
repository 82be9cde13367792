// Scheduler: what one worker computes in its next step. A pure function of the sequences' progress;
// it owns nothing, knows no clock and no memory, and gives the same plan for the same input.
//
// The rule, with a budget of step_tokens:
// 1. Every decoding sequence gets its one token. If there are more of them than the budget has
//    room for, those that waited longest go first (ties: the older sequence).
// 2. What is left goes to prompts in arrival order, each at most prefill_chunk_tokens a step.
// 3. While a prompt waits, decodes leave it step_tokens / 8 of the budget (at least one token), so
//    that the oldest prompt moves on in every step, however many sequences decode.
// So a step always computes something, the oldest prompt moves in every step, and a decoding
// sequence moves in every step while n_decoding <= step_tokens - step_tokens / 8, and else in turn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace parkd {

// A sequence as the scheduler sees it; the caller lists them in order of arrival.
struct SequenceProgress {
  int64_t n_pending_tokens = 0;  // tokens known and not yet computed, >= 1
  bool decoding = false;         // its prompt is done: the pending token was sampled
  int64_t last_step = 0;         // number of the step it last took part in
};

struct SchedulerOptions {
  int32_t step_tokens = 512;         // >= 2
  int32_t prefill_chunk_tokens = 0;  // 0 = step_tokens
};

struct BatchPlan {
  struct Entry {
    int32_t sequence = 0;  // index into the caller's list
    int32_t n_tokens = 0;  // of its pending tokens, oldest first
    bool sample = false;   // these are its last pending tokens: choose the next one

    friend bool operator==(const Entry&, const Entry&) = default;
  };
  std::vector<Entry> entries;  // decodes, then prompts
  int64_t n_tokens = 0;

  friend bool operator==(const BatchPlan&, const BatchPlan&) = default;
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);

  BatchPlan plan(std::span<const SequenceProgress> sequences) const;

 private:
  const SchedulerOptions options_;
};

}  // namespace parkd
