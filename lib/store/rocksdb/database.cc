#include "lib/store/rocksdb/database.h"

#include <memory>
#include <new>
#include <utility>

#include "lib/base/log.h"
#include "lib/store/rocksdb/record_codec.h"
#include "lib/store/rocksdb/rocksdb_status.h"

namespace parkd {

Result<Period*> Database::period_for(WallTime expires_at, WallTime now) {
  return period_named(period_name(expires_at, now));
}

Result<Period*> Database::period_named(const std::string& name) {
  if (Period* found = find_period(name)) return found;
  Period period{name, *end_of_period(name), nullptr, 0};
  const auto made = periods_.try_emplace(name).first;  // first: no memory must be wanted behind it
  rocksdb::Status status;
  try {
    // RocksDB must not run out of memory in the middle of it: what it wants is there now.
    ::operator delete(::operator new(period_options_.write_buffer_size));
    status = db_->CreateColumnFamily(period_options_, name, &period.family);
  } catch (...) {
    periods_.erase(made);
    throw;
  }
  if (!status.ok()) {
    periods_.erase(made);
    return from_rocksdb(status);
  }
  made->second = std::move(period);
  return &made->second;
}

Period* Database::find_period(const std::string& name) {
  const auto found = periods_.find(name);
  return found == periods_.end() ? nullptr : &found->second;
}

Result<std::string> Database::get(rocksdb::ColumnFamilyHandle* family,
                                  const std::string& key) const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), family, key, &value);
  if (status.IsCorruption()) note_damage(status.ToString());
  if (!status.ok()) return from_rocksdb(status);
  return value;
}

void Database::note_damage(const std::string& what) const {
  if (what == damage_) return;
  damage_ = what;
  log_error("store.damaged", {{"dir", dir_}, {"what", what}});
}

Result<std::string> Database::get_large(rocksdb::ColumnFamilyHandle* family,
                                        const std::string& key) const {
  const std::string last = key + '\0';
  const rocksdb::Slice first_slice(key);
  const rocksdb::Slice last_slice(last);
  const auto iterator = iterate(family, &first_slice, &last_slice);
  if (iterator->Valid()) return std::string(iterator->value().ToStringView());
  const rocksdb::Status status = iterator->status();
  if (status.ok()) return not_found("not in the store");
  if (status.IsCorruption()) note_damage(status.ToString());
  return from_rocksdb(status);
}

Status check_format(const std::string& dir, uint64_t format) {
  if (format == kStoreFormat) return {};
  return corrupt("the store in " + dir + " has format " + std::to_string(format) +
                 "; this program knows " + std::to_string(kStoreFormat));
}

Result<uint64_t> Database::get_count(const std::string& key, uint64_t otherwise) const {
  Result<std::string> value = get(meta(), key);
  if (value.ok()) return record::decode_count(*value);
  if (value.status().code() == StatusCode::not_found) return otherwise;
  return value.status();
}

std::unique_ptr<rocksdb::ManagedSnapshot> Database::snapshot() const {
  return std::make_unique<rocksdb::ManagedSnapshot>(db_.get());
}

std::unique_ptr<rocksdb::Iterator> Database::iterate(rocksdb::ColumnFamilyHandle* family,
                                                     const rocksdb::Slice* first,
                                                     const rocksdb::Slice* last) const {
  return iterate_with(rocksdb::ReadOptions(), family, first, last);
}

std::unique_ptr<rocksdb::Iterator> Database::iterate_at(rocksdb::ManagedSnapshot& snapshot,
                                                        rocksdb::ColumnFamilyHandle* family,
                                                        const rocksdb::Slice* first,
                                                        const rocksdb::Slice* last) const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot.snapshot();
  return iterate_with(std::move(options), family, first, last);
}

std::unique_ptr<rocksdb::Iterator> Database::iterate_with(rocksdb::ReadOptions options,
                                                          rocksdb::ColumnFamilyHandle* family,
                                                          const rocksdb::Slice* first,
                                                          const rocksdb::Slice* last) const {
  options.iterate_lower_bound = first;
  options.iterate_upper_bound = last;
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options, family));
  iterator->SeekToFirst();
  return iterator;
}

// The side file only: no verb waits for its sync. One that cannot be written leaves an older mark,
// which is as true.
void Database::mark_synced() {
  const uint64_t before = mark_.sequence;
  mark_.sequence = db_->GetLatestSequenceNumber();
  if (log_switched_.exchange(false)) {
    std::unique_ptr<rocksdb::LogFile> log;
    if (db_->GetCurrentWalFile(&log).ok() && log->LogNumber() != mark_.log_number) {
      mark_.log_number = log->LogNumber();
      mark_.log_first = before + 1;
    }
  }
  try {
    (void)synced_file_.write(mark_);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): as one that is not written
  }
}

Status Database::write(rocksdb::WriteBatch* batch) {
  rocksdb::WriteOptions options;
  options.sync = sync_;
  if (sync_) (void)batch->PutLogData(wal::encode_commit_mark(mark_));
  const rocksdb::Status status = db_->Write(options, batch);
  if (!status.ok()) write_failed_ = true;
  const Status written = from_rocksdb(status);
  if (sync_ && written.ok()) mark_synced();
  return written;
}

Status Database::drop(const Period& period) {
  return from_rocksdb(db_->DropColumnFamily(period.family));
}

void Database::forget(const std::string& period_name) {
  const auto found = periods_.find(period_name);
  if (found == periods_.end()) return;
  (void)db_->DestroyColumnFamilyHandle(found->second.family);
  periods_.erase(found);
}

}  // namespace parkd
