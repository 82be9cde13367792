#include "lib/backend/cpu/team.h"

#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace parkd {
namespace {

constexpr int kSpins = 4000;  // some 50 us with PAUSE: longer than the gap between two ops

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

Team::Team(int size) : size_(std::max(1, size)) {
  helpers_.reserve(static_cast<size_t>(size_ - 1));
  for (int member = 1; member < size_; ++member) {
    helpers_.emplace_back(Thread::Options{.name = "cpu_team" + std::to_string(member)},
                          [this, member] {
                            const EngineThread mark;
                            help(member);
                          });
  }
}

Team::~Team() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (Thread& helper : helpers_) helper.join();
}

void Team::run_erased(Erased call, const void* body) {
  call_ = call;
  body_ = body;
  working_.store(size_ - 1, std::memory_order_relaxed);
  bool wake = false;
  {
    // Under the mutex, so that a helper about to sleep either sees this run or is counted.
    const std::lock_guard lock(mutex_);
    run_.fetch_add(1, std::memory_order_release);
    wake = sleeping_ > 0;
  }
  if (wake) wake_.notify_all();
  call(body, 0);
  for (int spin = 0; working_.load(std::memory_order_acquire) > 0; ++spin) {
    if (spin < kSpins) {
      relax();
    } else {
      sched_yield();  // more threads than cores: let the helper have ours
    }
  }
}

bool Team::wait_for_run(uint64_t seen) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (run_.load(std::memory_order_acquire) != seen) return true;
    if (stop_.load(std::memory_order_relaxed)) return false;
    relax();
  }
  std::unique_lock lock(mutex_);
  ++sleeping_;
  wake_.wait(lock, [&] { return stop_ || run_.load(std::memory_order_acquire) != seen; });
  --sleeping_;
  return !stop_;
}

void Team::help(int member) {
  uint64_t seen = 0;
  while (wait_for_run(seen)) {
    ++seen;
    call_(body_, member);
    working_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace parkd
