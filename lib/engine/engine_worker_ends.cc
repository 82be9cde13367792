// How an EngineWorker's requests end.
#include <algorithm>
#include <chrono>
#include <utility>

#include "lib/engine/engine_worker.h"

namespace parkd {
namespace {

using std::chrono::steady_clock;

int64_t micros_between(steady_clock::time_point from, steady_clock::time_point to) {
  return std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
}

// What of each prompt none of its choices had to compute.
int64_t cached_tokens_of(std::span<const Sequence> sequences, int32_t n_choices) {
  int64_t n_cached = 0;
  for (size_t first = 0; first < sequences.size(); first += n_choices) {
    int64_t fewest = sequences[first].n_shared();
    for (const Sequence& sequence : sequences.subspan(first, n_choices)) {
      fewest = std::min(fewest, sequence.n_shared());
    }
    n_cached += fewest;
  }
  return n_cached;
}

}  // namespace

void EngineWorker::finish_ended() {
  const auto is_over = [](const std::unique_ptr<RunningRequest>& running) {
    const bool stopped = running->cancelled || !running->failure.ok();
    return std::all_of(running->sequences.begin(), running->sequences.end(),
                       [stopped](const Sequence& sequence) {
                         return (stopped || sequence.finished()) && sequence.steps_under_way() == 0;
                       });
  };
  for (size_t i = 0; i < running_.size();) {
    if (!is_over(running_[i])) {
      ++i;
      continue;
    }
    std::unique_ptr<RunningRequest> running = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    Status failure = running->failure;
    finish(std::move(running), std::move(failure));
  }
}

void EngineWorker::finish_all(const Status& status) {
  for (auto& running : std::exchange(running_, {})) finish(std::move(running), status);
}

// Blocks, counters and load go back before the caller hears of the end: it may then give the
// charge to the next request at once.
void EngineWorker::finish(std::unique_ptr<RunningRequest> running, Status status) {
  GenerationResult result;
  result.id = running->request.id;
  result.status = std::move(status);
  result.prompt_tokens = prompt_tokens_of(running->request);
  for (Sequence& sequence : running->sequences) {
    if (sequence.finished()) continue;
    sequence.cut_short();
    if (running->request.stream) note_event(sequence);
  }
  tell_events();
  result.cached_tokens = cached_tokens_of(running->sequences, running->request.n_choices);
  for (Sequence& sequence : running->sequences) {
    result.shared_tokens += sequence.n_shared();
    result.choices.push_back(sequence.take_choice());
  }
  if (running->first_token) {
    result.prefill_us = micros_between(*running->first_step, *running->first_token);
    result.decode_us = micros_between(*running->first_token, running->last_token);
  }
  running_sequences_.fetch_sub(static_cast<int64_t>(running->sequences.size()),
                               std::memory_order_relaxed);
  load_tokens_.fetch_sub(running->load_left_tokens, std::memory_order_relaxed);
  running.reset();
  options_.on_result(std::move(result));
}

}  // namespace parkd
