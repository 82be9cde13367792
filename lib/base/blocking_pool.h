// BlockingPool: a few threads for work that may take long or wait: tokenising, rendering, reading
// files, loading models. It keeps such work off the control and dispatcher threads.
//
// Owned by the daemon; run() from any thread. Tasks start in the order they came and must push
// their answer into an Inbox. What bounds the queue is what its users have in flight (lot places,
// connections), not the pool.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "lib/base/thread.h"

namespace parkd {

class BlockingPool {
 public:
  // n_threads >= 1; stack_size_bytes 0 = the system's default.
  BlockingPool(int n_threads, size_t stack_size_bytes);
  ~BlockingPool() { stop(); }
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Returns false, and drops the task, after stop(). What a task throws is logged: it answers.
  bool run(std::function<void()> task);

  // Ends the tasks that were accepted and joins the threads. Idempotent.
  void stop();

 private:
  void work();

  std::mutex mutex_;  // a queue many threads take single tasks from, which an Inbox is not
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<Thread> threads_;              // constant after construction, joined by stop()
};

}  // namespace parkd
