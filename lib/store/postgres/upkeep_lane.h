// UpkeepLane: housekeeping: what is over is ended and dropped, and where dead rows pile up a vacuum
// runs or people are told.
//
// Owner: PostgresStore. purge() may be called from any thread, the rest is the lane's own thread's.
// A connection of its own, because a vacuum may take minutes; stop cuts it, and it is begun anew
// some day.
#pragma once

#include <chrono>

#include "lib/base/clock.h"
#include "lib/store/drop_clock.h"
#include "lib/store/job_store.h"
#include "lib/store/postgres/commons.h"
#include "lib/store/postgres/task_lane.h"

namespace parkd {

class UpkeepLane {
 public:
  explicit UpkeepLane(Commons& commons);

  void start() { lane_.start(); }
  Connection& connection() { return lane_.connection(); }
  const Connection& connection() const { return lane_.connection(); }

  void purge(Completion<PurgeAnswer> done);

  void close() { lane_.close(); }
  void interrupt() { lane_.connection().interrupt(); }  // any thread
  void join() { lane_.join(); }

 private:
  Result<PurgeAnswer> purge_now(Connection& connection);

  Commons& commons_;
  TaskLane lane_;
  std::chrono::steady_clock::time_point next_pile_warning_{};
  SystemClock system_clock_;
  DropClock drop_clock_;
};

}  // namespace parkd
