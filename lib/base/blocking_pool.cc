#include "lib/base/blocking_pool.h"

#include <exception>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {

BlockingPool::BlockingPool(int n_threads, size_t stack_size_bytes) {
  PARKD_CHECK(n_threads >= 1, "a pool without threads never does anything");
  for (int i = 0; i < n_threads; ++i) {
    threads_.emplace_back(Thread::Options{"blocking-" + std::to_string(i), stack_size_bytes},
                          [this] { work(); });
  }
}

bool BlockingPool::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
  return true;
}

void BlockingPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (Thread& thread : threads_) thread.join();
}

void BlockingPool::work() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    try {
      task();
    } catch (const std::exception& error) {
      log_error("blocking.task_failed", {{"error", error.what()}});
    }
  }
}

}  // namespace parkd
