// State: what the embedded store's state thread owns: the database, the copy of it in RAM from
// which most is answered, and what of both was given out.
//
// Owner: the state thread (who opens the store, before it runs). The verbs (client_verbs.h,
// daemon_verbs.h, batch_verbs.h, read_verbs.h, outbox_verbs.h) take it, and a Commit when they
// write; neither they nor it know of threads.
//
// Out of memory (or any exception): the disk is the truth and the state in RAM a copy that can be
// read again, so there is no code that takes half a change back. A state that may be half changed
// is torn: it answers "unavailable" until usable() has read its rows again, at once or every
// second. It keeps the claims; what tenants were charged for fairness begins anew, as after a
// restart. commit_loop.h says what tears it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/store/batch_accounts.h"
#include "lib/store/caller_store.h"
#include "lib/store/client_store.h"
#include "lib/store/drop_clock.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/queue_index.h"
#include "lib/store/rocksdb/record_codec.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "lib/store/rocksdb/rocksdb_testing.h"
#include "lib/store/rocksdb/store_failure.h"
#include "lib/store/store_observer.h"

namespace parkd::embedded {

inline bool is_not_found(const Status& status) {
  return status.code() == StatusCode::not_found;
}

struct State {
  struct Claim {
    RunLease lease;
    WallTime claimed_at{};
    bool cancel_requested = false;
  };

  State(RocksDbStoreOptions options, RocksDbTesting testing, Clock& clock);
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // --- life (embedded_load.cc)
  // Once, before any other: opens the database and reads its rows. On a full disk it is then one
  // for readers, unless it has an outbox.
  Status open();
  // Heals if it is time, and the database is not lent. Not ok: what verbs answer.
  const Status& usable();
  void put_time_mark(rocksdb::WriteBatch& batch);

  bool can_read() const { return database != nullptr && !failure.is_torn(); }
  bool has_outbox() const { return options.outbox_filled != nullptr; }

  // Scheduled jobs whose time has come are queued; who may claim them is told.
  void promote_due(WallTime now);

  // --- rows. Errors: not_found, corrupt
  Result<record::StoredJob> read_job(JobId id) const;
  Result<Job> read_whole_job(JobId id, WallTime now) const;
  Result<record::StoredHistory> read_history(JobId id) const;
  // The message of a finished job, or its history row, or nothing.
  Result<JobRecord> read_past(JobId id, const std::string& tenant, WallTime now) const;

  bool holds_lease(JobId id, RunLease lease) const;

  // --- batches. They are few and lie in RAM whole; a commit that touches some carries them as they
  // will be, and writes each once.
  // As the commit has it so far; null when there is none. `tenant` empty: any tenant's.
  const record::StoredBatch* find_batch(const std::string& id, const std::string& tenant,
                                        const Commit& commit) const;
  Batch& edit_batch(const std::string& id, Commit& commit) const;  // requires that it is there
  bool is_member(const JobSpec& spec) const;  // of a batch that is committed; else it has a label
  bool is_of_cancelled_batch(const JobSpec& spec) const;
  void write_batches(Commit& commit) const;
  void apply_batches(const Commit& commit);

  // Constant after construction.
  const RocksDbStoreOptions options;
  const RocksDbTesting testing;
  Clock& clock;

  StoreObserver observer;               // constant once verbs are called
  std::optional<DropClock> drop_clock;  // from the first opening on
  SteadyTime mark_due{};                // boot time at which the mark of the time is written again

  StoreFailure failure;
  std::unique_ptr<Database> database;  // null or read-only while a failed store cannot be reopened
  bool is_lent = false;                // `database`, with a commit: it is not to be replaced

  QueueIndex index;
  std::unordered_map<JobId, Claim> claims;
  std::map<std::string, record::StoredBatch> batches;  // by id
  BatchAccounts batch_accounts;                        // of them
  std::vector<JobId>
      flagged;  // held: their cancel, or their batch's, was asked for; no run has them
  bool must_end_flagged = false;     // ... and no commit ends them yet (end_flagged)
  std::vector<AttachedJob> orphans;  // attached when the rows were read; adopt() takes them

  JobId next_id = 1;
  uint64_t last_sequence = 0;
  uint64_t open_epoch = 0;  // 0: never yet opened for writing
  uint64_t n_claims = 0;
  int64_t n_syncs = 0;
  int64_t n_commits = 0;
  std::string due_low;  // everything below was swept: the iterator starts here, not in tombstones
  std::string outbox_low;  // the same of what was delivered

 private:
  Status load();
  Status load_rows();
  Status load_meta();
  void load_drop_clock();
  Status load_batches();
  Status load_jobs();
  void heal();
  void serve_readers_only();
};

}  // namespace parkd::embedded
