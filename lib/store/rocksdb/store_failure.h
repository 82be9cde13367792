// StoreFailure: whether the embedded store can write and read, and when to try to heal it.
//
// Owner: the store's state thread. It is told what failed and what was healed; healing itself is
// the state's (embedded_state.h).
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/base/status.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "lib/store/rocksdb/rocksdb_testing.h"

namespace parkd::embedded {

class StoreFailure {
 public:
  // All outlive it.
  StoreFailure(const RocksDbStoreOptions& options, const RocksDbTesting& testing, Clock& clock)
      : options_(options), testing_(testing), clock_(clock) {}

  // Of the last commit or opening, until healed: what verbs answer.
  const Status& status() const { return status_; }
  // To heal: what the database holds is unknown.
  bool must_reopen() const { return must_reopen_; }
  // An exception left the state in RAM half changed: nothing is answered from it until it was read
  // again.
  bool is_torn() const { return is_torn_; }

  // A commit failed, or was handed to RocksDB and not answered.
  void fail(const Status& why);
  // Nothing in it allocates.
  void tear();
  // As tear(), after a commit of which it is unknown whether it is on disk.
  void tear_and_reopen() {
    must_reopen_ = true;
    tear();
  }
  // The first opening of a process found a full disk.
  void cannot_write(const Status& why);

  bool may_heal();
  // Before an attempt: the next one not at once.
  void delay_healing();
  void healing_failed(const Status& why);
  void healed();
  // After a full disk: not before there is room, or a while has passed.
  void wait_for_room();
  // The state was read, though nothing can be written.
  void state_was_read() { is_torn_ = false; }

  // While status() lasts.
  HealthNotice notice(bool can_read) const;

 private:
  const RocksDbStoreOptions& options_;
  const RocksDbTesting& testing_;
  Clock& clock_;

  Status status_;
  bool must_reopen_ = false;
  bool is_torn_ = false;
  std::string logged_;  // in the log
  SteadyTime next_heal_{};
  // So much must be free before the database is opened again, or a while pass. 0: no full disk.
  int64_t room_needed_bytes_ = 0;
  SteadyTime heal_anyway_{};
};

}  // namespace parkd::embedded
