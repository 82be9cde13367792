// Team: one lane's helper threads. run() gives the same body to every member, the caller among
// them, and returns when all are done. Owned and called by the lane's thread; bodies must not
// throw, and must share nothing but what they divide by index.
//
// Helpers spin for a little after each run (the next op is usually microseconds away), then sleep.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "lib/base/thread.h"

namespace parkd {

class Team {
 public:
  // `size` members including the caller; at least 1.
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // body(member) on every member in [0, size).
  template <class Body>
  void run(const Body& body) {
    if (size_ == 1) return body(0);
    run_erased([](const void* b, int member) { (*static_cast<const Body*>(b))(member); }, &body);
  }

  // body(first, last, member) over pieces of at most `grain` of [0, n), each once, in any order.
  template <class Body>
  void divide(int64_t n, int64_t grain, const Body& body) {
    if (size_ == 1 || n <= grain) {
      if (n > 0) body(int64_t{0}, n, 0);
      return;
    }
    next_.store(0, std::memory_order_relaxed);
    run([&](int member) {
      for (;;) {
        const int64_t first = next_.fetch_add(grain, std::memory_order_relaxed);
        if (first >= n) return;
        body(first, std::min(n, first + grain), member);
      }
    });
  }

 private:
  using Erased = void (*)(const void* body, int member);

  void run_erased(Erased call, const void* body);
  void help(int member);
  bool wait_for_run(uint64_t seen);

  const int size_;
  std::vector<Thread> helpers_;
  std::atomic<int64_t> next_ = 0;

  // Written by the caller before it raises run_, read by helpers after they saw it.
  Erased call_ = nullptr;
  const void* body_ = nullptr;
  std::atomic<uint64_t> run_ = 0;  // number of the latest run
  std::atomic<int> working_ = 0;   // helpers not yet done with it

  // A condition variable because a sleeping helper must cost nothing; guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable wake_;
  int sleeping_ = 0;
  std::atomic<bool> stop_ = false;
};

}  // namespace parkd
