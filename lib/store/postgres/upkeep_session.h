// UpkeepSession: housekeeping: what is over is ended and dropped, and where dead rows pile up a
// vacuum runs or people are told.
//
// Owner: PostgresStore. purge() and end_cancelled() may be called from any thread, the rest is the
// session's own thread's.
// A connection of its own, because a vacuum may take minutes; stop cuts it, and it is begun anew
// some day.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/thread_safety.h"
#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"
#include "lib/store/drop_clock.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/store_notices.h"
#include "lib/store/postgres/task_session.h"

namespace parkd {

class UpkeepSession {
 public:
  explicit UpkeepSession(SharedState& shared);

  void start() { session_.start(); }
  Connection& connection() { return session_.connection(); }
  const Connection& connection() const { return session_.connection(); }

  void purge(Completion<PurgeAnswer> done);
  // Soon; called again meanwhile it is the same. Housekeeping does it too.
  void end_cancelled();
  // Housekeeping names it again where its row is deleted. Any thread.
  void keep_model(const ModelRegistration& model);
  std::vector<HealthNotice> notices() const { return notices_.all(); }  // any thread

  void close() { session_.close(); }
  void interrupt() { session_.connection().interrupt(); }  // any thread
  void join() { session_.join(); }

 private:
  Result<PurgeAnswer> purge_now(Connection& connection);
  void end_cancelled_now(Connection& connection);
  Status look_after_finishes(Connection& connection, std::vector<HealthNotice>& notices);
  Status look_after_models(Connection& connection, std::vector<HealthNotice>& notices);

  SharedState& shared_;
  TaskSession session_;
  std::atomic<bool> cancels_wait_{false};  // end_cancelled_now() is to come
  std::chrono::steady_clock::time_point next_pile_warning_{};
  SystemClock system_clock_;
  DropClock drop_clock_;
  StoreNotices notices_;
  // Transactions that have a place among the finishes, and since when they have been seen so.
  std::map<std::string, std::chrono::steady_clock::time_point> finishing_;
  std::mutex mutex_;  // models are registered on the read session
  std::map<std::string, ModelRegistration> models_ PARKD_GUARDED_BY(mutex_);
};

}  // namespace parkd
