// SharedState: what all sessions of one PostgreSQL store share: its options and time, the observer,
// the counters, and for how long to go on trying while the database is away.
//
// Owner: PostgresStore, before its sessions; it outlives them. Any thread. It never asks the
// database: connections are the sessions'.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "lib/base/thread_safety.h"
#include "lib/store/answer_caught.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/postgres_store.h"
#include "lib/store/postgres/verbs.h"
#include "lib/store/store_observer.h"
#include "lib/store/store_options.h"

namespace parkd {

// The pauses between tries: 20 ms, and twice as long each time up to half a second.
class Backoff {
 public:
  std::chrono::milliseconds pause() const { return pause_; }
  void lengthen() { pause_ = std::min(pause_ * 2, std::chrono::milliseconds(500)); }

 private:
  std::chrono::milliseconds pause_{20};
};

class SharedState {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  SharedState(PostgresOptions options, StoreOptions store);

  const PostgresOptions& options() const { return options_; }
  const StoreOptions& store() const { return store_; }
  // What a session's connection is opened with.
  Connection::Options connection_options(const std::string& name) const;
  // The time that verbs are given: none, and the database's clock counts; a test's.
  Now now() const;

  // What the observer is told; nothing before there is one.
  void set_observer(StoreObserver observer);
  void tell_work(const std::string& model) const;
  void tell_message(const std::string& tenant, const std::string& mailbox_key) const;
  void tell_cancel(JobId id, RunLease lease) const;
  void tell(const Wakeups& wakeups) const;

  void count_commit();           // acknowledged after a sync
  void count_unsynced_commit();  // a claim's
  void count_uncertain_finish();
  int64_t commits() const { return n_commits_; }
  int64_t syncs() const { return n_syncs_; }
  int64_t uncertain_finishes() const { return n_uncertain_finishes_; }

  // Keeps why the last verb found the database away; another outcome clears it. Throws nothing.
  void note(const Status& status);
  std::string last_error() const;

  // When a verb that begins now is to be given up.
  TimePoint give_up_at() const;
  // From the first call on tries go on for stop_limit at most.
  void begin_stop();
  // Sleeps before another try; false, at once, when it is time to give up: `give_up_at`, or the
  // stop's limit.
  bool wait_to_retry(Backoff& backoff, std::optional<TimePoint> give_up_at) const;
  // Says for how long it was tried.
  Status given_up(const Status& status) const;
  // Runs `verb` until it is done or answers something other than "the database is away". With
  // repeatable = false it is not tried again once it may have been committed. What another's open
  // transaction holds (kLockNotAvailable) is answered too: waiting here would keep the whole
  // session.
  template <class T, class Verb>
  Result<T> with_retries(Connection& connection, bool repeatable, TimePoint give_up_at, Verb verb) {
    Backoff backoff;
    for (;;) {
      Result<T> result = verb(connection);
      Status status = out_of_memory();  // where there is none for its words
      (void)caught("verb", [&] { status = result.status(); });
      note(status);
      if (result.ok() || status.code() != StatusCode::unavailable) return result;
      if (connection.uncertain() && !repeatable) {
        return unavailable(status.message() +
                           "; whether it did what it was asked for is not known");
      }
      if (connection.sqlstate() == kLockNotAvailable) return result;
      if (!wait_to_retry(backoff, give_up_at)) return given_up(status);
    }
  }

 private:
  std::shared_ptr<const StoreObserver> observer() const;

  const PostgresOptions options_;
  const StoreOptions store_;
  std::atomic<int64_t> n_commits_{0};
  std::atomic<int64_t> n_syncs_{0};
  std::atomic<int64_t> n_uncertain_finishes_{0};

  mutable std::mutex mutex_;  // sessions and callers look at them for an instant
  std::shared_ptr<const StoreObserver> observer_ PARKD_GUARDED_BY(mutex_);
  std::string last_error_ PARKD_GUARDED_BY(mutex_);
  std::optional<TimePoint> stop_by_ PARKD_GUARDED_BY(mutex_);
};

// Between looks at what another session's open transaction holds up.
inline constexpr std::chrono::milliseconds kHeldRetry{100};

// What a verb answers that comes after stop().
Status store_has_stopped();

}  // namespace parkd
