// Wakeups: what a commit leaves to tell the store's observer (job_store.h). A value.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/job/job_id.h"
#include "lib/store/store_observer.h"

namespace parkd {

struct Wakeups {
  std::set<std::string> models;  // that have work again
  std::vector<std::pair<std::string, std::string>>
      messages;                                     // (tenant, mailbox key) of each stored
  std::vector<std::pair<JobId, RunLease>> cancels;  // runs to stop
};

// Tells it all. On the thread of the commit, once the commit is there and no lock is held.
void tell(const StoreObserver& observer, const Wakeups& wakeups);

}  // namespace parkd
