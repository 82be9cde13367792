// ApiWork: what requests make the daemon do off the control thread, in an order in which no peer
// waits for all of another's: accounts take turns, and within one it is first come, first served.
//
// quick: small bodies, the store's verbs, rendering; two threads of its own. heavy: submits, which
// are parsed, tokenised and priced for up to minutes; on the blocking pool, whose last thread they
// leave to the dispatcher. run() may be called from any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "lib/base/blocking_pool.h"
#include "lib/base/thread_safety.h"
#include "lib/http/http_server.h"

namespace parkd {

// Tasks that wait for one of `at_once_max` places of a pool; accounts take turns.
class TurnQueue {
 public:
  TurnQueue(BlockingPool& pool, int at_once_max) : pool_(pool), at_once_max_(at_once_max) {}

  // False after the pool has stopped; the task is dropped then.
  bool run(const std::string& account, std::function<void()> task);

 private:
  using Tasks = std::deque<std::function<void()>>;

  bool start_one();  // takes the task whose turn it is and has the pool run it
  std::function<void()> take_next();

  BlockingPool& pool_;
  const int at_once_max_;
  std::mutex mutex_;
  int running_ PARKD_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Tasks> of_account_ PARKD_GUARDED_BY(mutex_);  // that have tasks waiting
  std::string last_account_ PARKD_GUARDED_BY(mutex_);
};

class ApiWork {
 public:
  // `blocking` has `blocking_threads` threads.
  ApiWork(BlockingPool& blocking, int blocking_threads);

  // Both call the task once; what it throws, or that nothing can be run any more, is the reply.
  void quick(const Principal& who, const HttpReplier& reply, std::function<void()> task);
  void heavy(const Principal& who, const HttpReplier& reply, std::function<void()> task);

  // Ends what quick() accepted.
  void stop() { quick_pool_.stop(); }

  // The task, so that it does not throw: out of memory is this request's 503, anything else its
  // 500 with a line in the log.
  static std::function<void()> guarded(const HttpReplier& reply, std::function<void()> task);

 private:
  void run(TurnQueue& queue, const Principal& who, const HttpReplier& reply,
           std::function<void()> task);

  BlockingPool quick_pool_;
  TurnQueue quick_;
  TurnQueue heavy_;
};

}  // namespace parkd
