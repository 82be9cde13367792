// StoreObserver: what a store tells its daemon unasked.
#pragma once

#include <functional>
#include <string>

#include "lib/job/job.h"

namespace parkd {

// Called on a store thread (memory: inside the verb), after the commit; must only push into an
// Inbox.
struct StoreObserver {
  std::function<void(const std::string& model)> work_available;
  std::function<void(const std::string& tenant, const std::string& mailbox_key)> message_stored;
  std::function<void(JobId id, RunLease lease)> cancel_requested;
};

}  // namespace parkd
