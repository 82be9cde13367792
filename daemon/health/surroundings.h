// Surroundings: looks at what the daemon stands on and cannot see from inside its parts: the
// machine's wall clock, the state directory and the room on its disk. What is wrong with them
// becomes a notice (HealthBoard). Lives on the control thread; look() costs three stat calls.
#pragma once

#include <string>

#include "daemon/health/health_board.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "lib/ipc/instance_lock.h"
#include "lib/store/drop_clock.h"

namespace parkd {

class Surroundings {
 public:
  // All outlive it.
  Surroundings(const Config& config, Clock& clock, const InstanceLock& lock, HealthBoard& health)
      : config_(config),
        clock_(clock),
        lock_(lock),
        health_(health),
        drop_clock_(clock, std::nullopt) {}

  // Every second or two.
  void look();

 private:
  void look_at_clock();
  void look_at_state_directory();
  void look_at_disk();

  const Config& config_;
  Clock& clock_;
  const InstanceLock& lock_;
  HealthBoard& health_;
  DropClock drop_clock_;  // only to know of leaps: stores that delete have their own
  int64_t n_followed_ = 0;
  bool disk_is_low_ = false;
};

}  // namespace parkd
