// AwaitedJobs: the jobs whose callers wait for them at this daemon's door.
//
// Owned by the dispatcher's thread. Who says that it waits for a job has to be entitled to its
// result: the door has looked.
#pragma once

#include <cstdint>
#include <map>

#include "lib/job/job_id.h"

namespace parkd {

class AwaitedJobs {
 public:
  // A caller more, or one less. Requires: not less than none.
  void count(JobId id, bool waits) {
    int64_t& n = callers_[id];
    n += waits ? 1 : -1;
    if (n == 0) callers_.erase(id);
  }
  bool contains(JobId id) const { return callers_.contains(id); }

 private:
  std::map<JobId, int64_t> callers_;  // how many; none has none
};

}  // namespace parkd
