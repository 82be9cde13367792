// open_store: the configured queue and mailbox, opened. Called once, on the main thread, before any
// other thread exists (a password from a systemd credential goes into the environment, where libpq
// looks).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/store/file_store.h"

namespace parkd {

class JobStore;

// What a shared store wants of its daemon; called on store threads.
struct SharedStoreCallbacks {
  std::function<std::string()> status;  // this daemon as parkd.live and parkd.workers show it
  std::function<bool()> draining;
  std::function<void()> ownership_lost;  // what was claimed is not ours any more
};

// A database that is away is waited for and no error. Errors: those of the store; conflict with the
// command to run, when the database's schema is not one this parkd knows; invalid, when this build
// has no such store.
Result<std::unique_ptr<JobStore>> open_store(const Config& config, Clock& clock,
                                             SharedStoreCallbacks callbacks);

// Where clients' files are kept: beside an embedded queue, or in the database that daemons share.
// Null where the queue is in memory. Errors: those of the store.
Result<std::shared_ptr<FileStore>> open_files(const Config& config, Clock& clock);

// Whether the queue can be opened by this build at all, and the connection string be read. What
// --check-config adds to parsing. Errors: invalid.
Status check_store(const Config& config);

// The database as people name it, "database parkd on db1:5432 as parkd"; empty when there is none.
std::string database_name(const Config& config);

}  // namespace parkd
