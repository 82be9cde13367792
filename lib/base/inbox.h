// Inbox<T>: the one way a message crosses threads. Many senders, one receiver.
//
// Owner: the receiving thread. push() never blocks on the receiver and never runs its code; the
// receiver takes everything that is there at once, so a burst costs one lock. What bounds the queue
// is the protocol above it (a lot has so many places, a request has one answer), not the inbox.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace parkd {

template <class T>
class Inbox {
 public:
  // Any thread. Returns false, and drops the message, once the inbox is closed.
  bool push(T message) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      messages_.push_back(std::move(message));
    }
    arrived_.notify_one();
    return true;
  }

  // Receiver. Everything that has arrived, oldest first; possibly nothing.
  std::vector<T> take_all() {
    const std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }

  // Receiver. Waits until something is there, the inbox is closed, or `timeout` has passed.
  template <class Rep, class Period>
  std::vector<T> wait_all(std::chrono::duration<Rep, Period> timeout) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, timeout, [this] { return closed_ || !messages_.empty(); });
    return std::exchange(messages_, {});
  }

  // Receiver. Waits without a time limit.
  std::vector<T> wait_all() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return closed_ || !messages_.empty(); });
    return std::exchange(messages_, {});
  }

  // Any thread. Wakes the receiver; later pushes are refused, what is queued can still be taken.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    arrived_.notify_all();
  }

  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<T> messages_;  // guarded by mutex_
  bool closed_ = false;      // guarded by mutex_
};

}  // namespace parkd
