// Doors of the embedded store for its own tests: another file system, and the switch that turns
// syncing off, so that the power-cut test can show that it would notice.
#pragma once

#include "lib/store/rocksdb/rocksdb_store.h"

namespace rocksdb {
class Env;
}

namespace parkd {

struct RocksDbTesting {
  rocksdb::Env* env = nullptr;  // must outlive the store; nullptr: the system's
  bool sync_commits = true;
};

Result<std::unique_ptr<JobStore>> open_rocksdb_store_for_test(RocksDbStoreOptions options,
                                                              RocksDbTesting testing, Clock& clock);

}  // namespace parkd
