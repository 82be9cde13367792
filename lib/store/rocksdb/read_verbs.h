// The embedded store's verbs that read. They see what is committed: a commit under way becomes
// visible to RocksDB's readers when it is synced, and to the index right after. State thread.
#pragma once

#include <string>

#include "lib/base/status.h"
#include "lib/job/job.h"
#include "lib/store/client_store.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

Result<JobRecord> get(const State& state, JobId id, const std::string& tenant);
Result<ListAnswer> list(const State& state, const ListFilter& filter);
Result<FetchAnswer> fetch(const State& state, const FetchRequest& request);
Result<StoreStats> stats(State& state);  // the index counts anew

}  // namespace parkd::embedded
