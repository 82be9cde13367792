#include "daemon/api/work.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "lib/base/log.h"

namespace parkd {
namespace {

constexpr int kQuickThreads = 2;

}  // namespace

bool TurnQueue::run(const std::string& account, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    of_account_[account].push_back(std::move(task));
    if (running_ == at_once_max_) return true;
    ++running_;
  }
  return start_one();
}

// Requires a place, which it gives back when there is nothing to do or no thread to do it.
bool TurnQueue::start_one() {
  const bool accepted = pool_.run([this] {
    while (const auto task = take_next()) {
      task();
      try {
        start_one();  // behind what others want of the pool
        return;
      } catch (const std::bad_alloc&) {  // then right away
      }
    }
  });
  if (accepted) return true;
  const std::lock_guard lock(mutex_);
  --running_;
  of_account_.clear();
  return false;
}

std::function<void()> TurnQueue::take_next() {
  const std::lock_guard lock(mutex_);
  if (of_account_.empty()) {
    --running_;
    return nullptr;
  }
  auto next = of_account_.upper_bound(last_account_);
  if (next == of_account_.end()) next = of_account_.begin();
  last_account_ = next->first;
  std::function<void()> task = std::move(next->second.front());
  next->second.pop_front();
  if (next->second.empty()) of_account_.erase(next);
  return task;
}

ApiWork::ApiWork(BlockingPool& blocking, int blocking_threads)
    : quick_pool_(kQuickThreads, 0),
      quick_(quick_pool_, kQuickThreads),
      heavy_(blocking, std::max(1, blocking_threads - 1)) {}

std::function<void()> ApiWork::guarded(const HttpReplier& reply, std::function<void()> task) {
  return [reply, task = std::move(task)] {
    try {
      try {
        task();
      } catch (const std::bad_alloc&) {
        log_error("api.out_of_memory", {});
        reply(error_reply(unavailable("parkd has no memory left for this request")));
      } catch (const std::exception& error) {
        log_error("api.exception", {{"error", error.what()}});
        reply(error_reply(internal_error("parkd could not do this; its log says why")));
      }
    } catch (const std::bad_alloc&) {
      // Not even an answer: the connection is closed when the reply goes.
    }
  };
}

void ApiWork::quick(const Principal& who, const HttpReplier& reply, std::function<void()> task) {
  run(quick_, who, reply, std::move(task));
}

void ApiWork::heavy(const Principal& who, const HttpReplier& reply, std::function<void()> task) {
  run(heavy_, who, reply, std::move(task));
}

void ApiWork::run(TurnQueue& queue, const Principal& who, const HttpReplier& reply,
                  std::function<void()> task) {
  guarded(reply, [&] {
    if (!queue.run(who.account, guarded(reply, std::move(task)))) {
      reply(error_reply(unavailable("parkd is stopping")));
    }
  })();
}

}  // namespace parkd
