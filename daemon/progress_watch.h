// ProgressWatch: whether the daemon's threads still get on with their work, for systemd's watchdog,
// and what an operator with a stuck daemon asks first. Control thread.
#pragma once

#include <memory>

#include "daemon/models/model_keeper.h"
#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher.h"

namespace parkd {

class ProgressWatch {
 public:
  // `clock` outlives it. `stall`: no step for so long in an engine that has work is a stall.
  ProgressWatch(Clock& clock, std::chrono::seconds stall) : clock_(clock), stall_(stall) {}

  // Logs what stands still.
  bool is_making_progress(const Dispatcher& dispatcher, const ModelKeeper& models);

 private:
  Clock& clock_;
  const std::chrono::seconds stall_;
  std::shared_ptr<const DispatcherStats> watched_stats_;
  SteadyTime stats_changed_{};
};

// One screen of log.
void dump_state(const DispatcherStats& stats);

}  // namespace parkd
