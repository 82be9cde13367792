// Commit: the verbs that go to disk together, as one WriteBatch.
//
// Built by the state thread, written by the sync thread, settled by the state thread again; one is
// under way at a time. A verb that touches what an earlier verb of the same commit touches waits
// for the next commit, so that each verb is decided on committed state alone.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <new>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"
#include "lib/store/batch_accounts.h"
#include "lib/store/completion.h"
#include "lib/store/depth.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/record_codec.h"
#include "lib/store/wakeups.h"

namespace parkd {

struct Commit {
  struct Step {
    std::function<void()> apply;                  // to the state in RAM, once it is on disk
    std::function<void(const Status&)> complete;  // ok, or why it is not on disk
  };

  rocksdb::WriteBatch batch;
  std::vector<Step> steps;
  Wakeups wakeups;
  std::unordered_set<JobId> touched_jobs;
  std::set<std::string> touched_keys;  // idempotency and message keys
  DepthAccounts n_new;                 // jobs that begin to wait
  BatchAccounts opened;                // batches
  // As they will be, by id. Unlike jobs, a batch may be touched by several verbs of a commit: all
  // of them are on disk or none, so each is decided on what the ones before it left here.
  std::map<std::string, record::StoredBatch> batches;
  std::set<std::string> forgotten_batches;
  std::map<std::string, int64_t> n_messages_change;  // by period
  std::vector<Period> expired;                       // to drop after the write
  bool has_submit = false, has_finish = false, has_cancel = false, has_release = false;
  bool has_purge = false;

  std::vector<JobId> unclaimed;  // their claims end with the commit, whatever else is applied
  size_t n_begun = 0;            // calls of begin()

  // Filled by the sync thread.
  Status written;
  bool was_handed_over = false;  // to RocksDB; else surely nothing of it is on disk
  std::vector<std::string> dropped;

  bool is_empty() const { return batch.Count() == 0 && expired.empty(); }
  // Closed: what is left makes the next one. A verb that ends many jobs stops there, too.
  bool is_full() const { return batch.GetDataSize() >= kBytesMax; }

  // A verb calls it before it changes the commit or the state in RAM: up to here it can be left
  // out. Throws where there is no memory for about `n_bytes` more in the batch, for RocksDB's
  // WriteBatch fails an assertion where it runs out of it.
  void begin(size_t n_bytes) {
    ::operator delete(::operator new(2 * (batch.GetDataSize() + n_bytes) + kRowsBytes));
    ++n_begun;
  }
  static constexpr size_t kBytesMax = size_t{8} << 20;
  static constexpr size_t kRowsBytes = size_t{256} << 10;   // of a verb, beside bodies
  static constexpr size_t kJobRowsBytes = size_t{2} << 10;  // of a job, beside what it brings
};

// The end of a step that answers a verb: its answer, or why it is not on disk.
template <class T>
void succeed_with(const Completion<T>& done, T answer, const Status& status) {
  if (status.ok()) {
    done(std::move(answer));
  } else {
    done(status);
  }
}

}  // namespace parkd
