// The embedded JobStore: durable in one directory, owned by one process.
//
// Verbs may be called from any thread; their completions run on the store's state thread. While a
// commit is being synced, the verbs that arrive are gathered into the next one; claims and reads
// do not wait for a sync. Layout, durability and failure: lib/store/README.md.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/store_options.h"

namespace parkd {

class JobStore;

struct RocksDbStoreOptions {
  StoreOptions store;
  std::string dir;  // made when missing
  int64_t block_cache_bytes = int64_t{32} << 20;
  // Not empty: every message also enters the outbox (rocksdb_outbox.h), in the commit of its
  // finish, and this is called after it on the state thread; must only push into an Inbox.
  std::function<void()> outbox_filled;
};

// Opens or makes the store: every unfinished job is queued again (or ends, when its cancel was
// asked for). Errors: unavailable (directory not usable, or in use by another process: names it),
// corrupt (bytes that are not ours, or of a newer format). `clock` must outlive the store.
Result<std::unique_ptr<JobStore>> open_rocksdb_store(RocksDbStoreOptions options, Clock& clock);

}  // namespace parkd
