// StoreNotices: what an operator should know of the database, as housekeeping last found it.
//
// Owner: who runs housekeeping; any thread. Logs what comes and what goes.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "lib/base/health.h"
#include "lib/base/thread_safety.h"

namespace parkd {

class StoreNotices {
 public:
  // In place of all there were, one of a code.
  void set(std::vector<HealthNotice> notices);
  std::vector<HealthNotice> all() const;

 private:
  mutable std::mutex mutex_;  // housekeeping writes, stats() reads
  std::map<std::string, HealthNotice> notices_ PARKD_GUARDED_BY(mutex_);  // by code
};

}  // namespace parkd
