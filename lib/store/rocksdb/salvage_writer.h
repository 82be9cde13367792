// SalvageWriter: writes the fresh store from the facts and a second reading of the rows. One
// thread.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>

#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/salvage.h"
#include "lib/store/rocksdb/salvage_facts.h"
#include "lib/store/store_options.h"

namespace parkd {

class SalvageWriter {
 public:
  using List = std::function<void(const SalvageFinding&)>;
  struct Lost {
    bool any = false;  // something could not be read, so what is missing may be lost
    bool log = false;  // commits are among it
    bool manifest = false;
    // Rows at most that may have given out ids and sequences beyond those that are known; 0:
    // unknown how many, nullopt: none.
    std::optional<uint64_t> beyond_rows;
    void add_rows(uint64_t n) {
      const bool is_unknown = n == 0 || beyond_rows == uint64_t{0};
      beyond_rows = is_unknown ? 0 : beyond_rows.value_or(0) + n;
    }
  };
  SalvageWriter(SalvageFacts& facts, Database& database, WallTime now, Lost lost, const List& list);

  // Each row of the old store, then finish() once.
  Status take(const wal::RawRow& row);
  Status finish(SalvageSummary& summary);

 private:
  Status take_history(const wal::RawRow& row);
  Status take_message(const wal::RawRow& row);
  Status take_request(const wal::RawRow& row);
  Status take_key(const wal::RawRow& row);
  Status put_message(const std::string& period, const std::string& key, std::string_view bytes,
                     const Message& message);
  void put_history(const record::StoredHistory& history);
  void put_key(const std::string& key, const record::StoredKey& value);
  Status write_jobs();
  Status fail_job(const SalvageFacts::Live& live);
  void write_batches();
  record::StoredBatch reconciled(record::StoredBatch stored);
  void rebuild_lost_batches(std::map<std::string, record::StoredBatch>& batches);
  void write_meta();
  void list_traces();
  void list_beyond();
  Status flush_if_large();
  Status flush();

  SalvageFacts& facts_;
  Database& database_;
  const WallTime now_;
  const Lost lost_;
  const List& list_;
  const StoreOptions options_;
  SalvageSummary summary_;
  rocksdb::WriteBatch batch_;
  uint64_t last_sequence_ = 0;                    // of the fresh store
  std::map<std::string, int64_t> n_messages_;     // by period
  std::map<std::string, int64_t> n_live_;         // by batch
  std::map<std::string, int64_t> n_failed_here_;  // by batch
  std::unordered_set<std::string> live_keys_;     // idempotency keys of live jobs
  std::unordered_set<JobId> bodies_;              // of live jobs, written
  std::unordered_set<JobId> messages_of_;         // jobs whose history was made again
  std::map<JobId, SalvageFinding> gone_;
};

}  // namespace parkd
