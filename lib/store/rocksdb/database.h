// Database: the RocksDB handle, its fixed column families and the mailbox's periods.
//
// Owner: the embedded store's state thread. write() and drop() alone may be called on its sync
// thread, one call at a time, while the state thread reads. Closing syncs the log.
//
// A period is a column family that holds the messages of one mailbox whose expiry falls in one
// stretch of time; it is dropped whole when the stretch has passed, so that expiry leaves no
// tombstones. Stretches are finer the sooner a message expires: an hour within 6 hours, 6 hours
// within 2 days, a day within 32 days, else a week; at most 7 + 9 + 33 + 5 of them live at a time.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/snapshot.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/rocksdb/log_check.h"
#include "lib/store/rocksdb/rocksdb_testing.h"
#include "lib/store/rocksdb/synced_mark.h"

namespace rocksdb {
class EventListener;
}

namespace parkd {

class DirectoryLock;  // of database_open.cc

struct Period {
  std::string name;  // "box_h489000": length, index since 1970
  WallTime end{};    // no message in it expires later
  rocksdb::ColumnFamilyHandle* family = nullptr;
  int64_t n_messages = 0;  // committed
};

// Keys of the meta family.
namespace meta_key {
inline constexpr char kFormat[] = "format";
inline constexpr char kUuid[] = "uuid";
inline constexpr char kEpoch[] = "epoch";
inline constexpr char kNextId[] = "next_id";
inline constexpr char kLastSequence[] = "last_sequence";
inline constexpr char kDroppedThrough[] = "dropped_through";
inline constexpr char kTime[] = "time";
}  // namespace meta_key
inline constexpr uint64_t kStoreFormat = 1;
// Whether this program knows the format that the store in `dir` says it has. Errors: corrupt, by
// its number. A store without the row is one that was never opened for writing.
Status check_format(const std::string& dir, uint64_t format);

// After a loss ids, sequences and epochs go on this much later: what was lost may have given out
// some beyond what is known, and nothing is given out twice.
inline constexpr uint64_t kLeapAfterLoss = uint64_t{1} << 32;

// The name of the period of a message that is stored at `now`, and the end of the period of a name;
// nullopt: it names none.
std::string period_name(WallTime expires_at, WallTime now);
std::optional<WallTime> end_of_period(std::string_view name);

class Database {
 public:
  // Refuses (corrupt, with the ways out) where acknowledged work is lost, unless an operator has
  // accepted that very loss; then taken_loss() is what was accepted, and settle_loss() must follow
  // once ids and sequences lie beyond whatever the lost part gave out.
  // `exhausted`: the disk is full, and nothing else is wrong that was met.
  static Result<std::unique_ptr<Database>> open(const RocksDbStoreOptions& options,
                                                const RocksDbTesting& testing);
  // Of a store that is there, for readers on a full disk: writes no byte, and holds the store's
  // lock. What it shows is on disk, so that an open() after it finds the same. A loss refuses it.
  static Result<std::unique_ptr<Database>> open_read_only(const RocksDbStoreOptions& options,
                                                          const RocksDbTesting& testing);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  bool is_read_only() const { return read_only_lock_ != nullptr; }
  const std::optional<wal::Acceptance>& taken_loss() const { return taken_loss_; }
  Status settle_loss();

  // Fixed families.
  rocksdb::ColumnFamilyHandle* meta() const { return fixed_[0]; }
  rocksdb::ColumnFamilyHandle* jobs() const { return fixed_[1]; }         // id -> StoredJob
  rocksdb::ColumnFamilyHandle* bodies() const { return fixed_[2]; }       // id -> request body
  rocksdb::ColumnFamilyHandle* history() const { return fixed_[3]; }      // id -> StoredHistory
  rocksdb::ColumnFamilyHandle* idempotency() const { return fixed_[4]; }  // key -> StoredKey
  rocksdb::ColumnFamilyHandle* due() const { return fixed_[5]; }          // due_key -> nothing
  rocksdb::ColumnFamilyHandle* outbox() const {
    return fixed_[6];
  }  // sequence -> StoredUndelivered
  rocksdb::ColumnFamilyHandle* batches() const { return fixed_[7]; }  // id -> StoredBatch

  // The period of a message; made when it is the first.
  Result<Period*> period_for(WallTime expires_at, WallTime now);
  // Requires that end_of_period() knows the name.
  Result<Period*> period_named(const std::string& name);
  std::map<std::string, Period>& periods() { return periods_; }
  Period* find_period(const std::string& name);

  // The value, or not_found.
  Result<std::string> get(rocksdb::ColumnFamilyHandle* family, const std::string& key) const;
  // Of what may be large: bodies, messages. An exception out of RocksDB's Get leaves it unusable
  // (it would copy the value in there); here the copy is ours.
  Result<std::string> get_large(rocksdb::ColumnFamilyHandle* family, const std::string& key) const;
  Result<uint64_t> get_count(const std::string& key, uint64_t otherwise) const;
  // What is committed now, in all families: for an answer that is read with several iterators.
  // Commits land between them, and each one made without a snapshot has a view of its own.
  std::unique_ptr<rocksdb::ManagedSnapshot> snapshot() const;
  // [first, last) of a family; never walks past `last`.
  std::unique_ptr<rocksdb::Iterator> iterate(rocksdb::ColumnFamilyHandle* family,
                                             const rocksdb::Slice* first,
                                             const rocksdb::Slice* last) const;
  std::unique_ptr<rocksdb::Iterator> iterate_at(rocksdb::ManagedSnapshot& snapshot,
                                                rocksdb::ColumnFamilyHandle* family,
                                                const rocksdb::Slice* first,
                                                const rocksdb::Slice* last) const;

  // Damage that a read met since the opening, the latest; logged when it is new. State thread.
  void note_damage(const std::string& what) const;
  const std::string& damage() const { return damage_; }

  Status write(rocksdb::WriteBatch* batch);
  Status drop(const Period& period);
  // After drop(), on the state thread: it has no readers any more.
  void forget(const std::string& period_name);

 private:
  Database();
  Status open_families(rocksdb::DBOptions db, const RocksDbStoreOptions& options);
  Status load_periods();
  Status begin_marks(const std::string& dir);
  void mark_synced();
  std::unique_ptr<rocksdb::Iterator> iterate_with(rocksdb::ReadOptions options,
                                                  rocksdb::ColumnFamilyHandle* family,
                                                  const rocksdb::Slice* first,
                                                  const rocksdb::Slice* last) const;

  std::vector<rocksdb::ColumnFamilyHandle*> fixed_;
  std::map<std::string, Period> periods_;
  rocksdb::ColumnFamilyOptions period_options_;
  std::string dir_;
  bool sync_ = true;
  std::optional<wal::Acceptance> taken_loss_;
  wal::SyncedFile synced_file_;
  wal::SyncedMark mark_;                  // of what is synced; write() alone uses it
  std::atomic<bool> log_switched_{true};  // RocksDB may have begun another log
  std::shared_ptr<rocksdb::EventListener> listener_;
  mutable std::string damage_;
  bool write_failed_ = false;  // only read when the sync thread is idle
  std::unique_ptr<DirectoryLock> read_only_lock_;
  std::unique_ptr<rocksdb::DB> db_;
};

// The meta key of a period's counter.
std::string period_count_key(const std::string& period_name);

}  // namespace parkd
