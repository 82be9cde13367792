// How a Database is opened and closed.
#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "lib/base/disk_space.h"
#include "lib/base/file_io.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/info_log.h"
#include "lib/store/rocksdb/log_check.h"
#include "lib/store/rocksdb/rocksdb_status.h"

namespace parkd {
namespace {

// The first is RocksDB's obligatory family; order is that of Database's accessors.
constexpr std::array<const char*, 8> kFixed = {"default",     "jobs", "bodies", "history",
                                               "idempotency", "due",  "outbox", "batches"};

Status open_failed(const rocksdb::Status& status, const std::string& dir) {
  const std::string text = status.ToString();
  const bool locked = status.IsIOError() && (text.find("lock") != std::string::npos ||
                                             text.find("LOCK") != std::string::npos);
  if (locked) {
    return unavailable("the store directory " + dir + " is in use by another process (" + text +
                       ")");
  }
  const std::string message = "cannot open the store directory " + dir + ": " + text;
  if (is_disk_full(status)) return exhausted(message);
  return status.IsCorruption() ? corrupt(message) : unavailable(message);
}

// Makes `dir` and its parents, so that they survive a power cut: RocksDB syncs what is in its
// directory, but not the directory's own name.
Status make_directory(const std::string& dir) {
  std::error_code error;
  std::vector<std::filesystem::path> parents;  // of what is missing
  for (std::filesystem::path at = std::filesystem::absolute(dir, error).lexically_normal();
       !error && !std::filesystem::exists(at, error) && at.has_relative_path();
       at = at.parent_path()) {
    parents.push_back(at.parent_path());
  }
  std::filesystem::create_directories(dir, error);
  if (error) return io_failure("make the store directory " + dir, error.value());
  for (const std::filesystem::path& parent : parents) {
    PARKD_RETURN_IF_ERROR(sync_directory(parent.string()));
  }
  return {};
}

// RocksDB begins a new log when a memtable is sealed; the next write looks which it is.
class LogSwitchListener final : public rocksdb::EventListener {
 public:
  explicit LogSwitchListener(std::atomic<bool>& switched) : switched_(switched) {}
  void OnMemTableSealed(const rocksdb::MemTableInfo&) override { switched_ = true; }

 private:
  std::atomic<bool>& switched_;
};

}  // namespace

// The check must not read the files of a store that another process writes.
class DirectoryLock {
 public:
  DirectoryLock(rocksdb::Env* env, const std::string& dir) : env_(env) {
    status_ = env_->LockFile(dir + "/LOCK", &lock_);
  }
  ~DirectoryLock() {
    if (status_.ok()) (void)env_->UnlockFile(lock_);
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  const rocksdb::Status& status() const { return status_; }

 private:
  rocksdb::Env* const env_;
  rocksdb::FileLock* lock_ = nullptr;
  rocksdb::Status status_;
};

namespace {

rocksdb::Env* env_of(const RocksDbTesting& testing) {
  return testing.env != nullptr ? testing.env : rocksdb::Env::Default();
}

// A death while RocksDB writes its options leaves a temporary file that it never deletes.
void remove_left_options(rocksdb::Env* env, const std::string& dir) {
  constexpr std::string_view kPrefix = "OPTIONS-";
  constexpr std::string_view kSuffix = ".dbtmp";
  std::vector<std::string> names;
  if (!env->GetChildren(dir, &names).ok()) return;  // the opening will say so
  for (const std::string& name : names) {
    const bool is_left = name.size() > kPrefix.size() + kSuffix.size() &&
                         name.rfind(kPrefix, 0) == 0 &&
                         std::string_view(name).substr(name.size() - kSuffix.size()) == kSuffix;
    if (is_left) (void)env->DeleteFile(dir + "/" + name);  // else at the next opening
  }
}

// What the log's check means for this opening. `taken` is set when an operator accepted the loss.
Result<wal::LogVerdict> check_before_open(const std::string& dir, const RocksDbTesting& testing,
                                          std::optional<wal::Acceptance>& taken) {
  rocksdb::Env* const env = env_of(testing);
  const DirectoryLock lock(env, dir);
  if (!lock.status().ok()) return open_failed(lock.status(), dir);
  PARKD_ASSIGN_OR_RETURN(wal::LogVerdict verdict, wal::check_log(dir, testing.sync_commits));
  if (!verdict.mark_unusable.empty()) {
    log_warn("store.mark_unusable", {{"dir", dir}, {"why", verdict.mark_unusable}});
  }
  const std::optional<wal::Acceptance> acceptance = wal::read_acceptance(dir);
  const bool accepts =
      acceptance && (acceptance->begun || (verdict.loss && verdict.loss->in_log &&
                                           acceptance->name == verdict.loss->name()));
  if (verdict.loss &&
      !(accepts && verdict.loss->in_log && acceptance->name == verdict.loss->name())) {
    return corrupt(verdict.loss->text(dir));
  }
  if (accepts) {
    log_error("store.loss_accepted", {{"dir", dir}, {"lost", acceptance->text}});
    PARKD_RETURN_IF_ERROR(wal::begin_acceptance(dir, *acceptance));
    taken = acceptance;
  } else if (acceptance) {
    log_warn("store.acceptance_withdrawn", {{"dir", dir}, {"why", "nothing is lost"}});
    PARKD_RETURN_IF_ERROR(wal::withdraw_acceptance(dir));
  }
  if (verdict.tail) {
    log_warn("store.unsynced_tail_dropped", {{"dir", dir},
                                             {"file", verdict.tail->file},
                                             {"offset", verdict.tail->offset},
                                             {"bytes", verdict.tail->n_bytes}});
  }
  remove_left_options(env, dir);
  return verdict;
}

// What the log may grow to. It holds a commit until all of its families are flushed, so on a small
// disk it would be what fills it.
uint64_t log_bytes_max(const std::string& dir) {
  constexpr uint64_t kMax = uint64_t{64} << 20;  // what an opening has to replay at most
  constexpr uint64_t kMin = uint64_t{1} << 20;
  const auto disk = disk_space(dir);
  if (!disk) return kMax;
  return std::clamp(static_cast<uint64_t>(disk->size_bytes) / 8, kMin, kMax);
}

rocksdb::DBOptions db_options(const std::string& dir, const RocksDbTesting& testing) {
  rocksdb::DBOptions options;
  options.info_log = rocksdb_info_log(dir);
  options.create_if_missing = true;
  // The check of the log has said that what this drops was never acknowledged, or is accepted.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.recycle_log_file_num = 0;  // LogReader does not know recycled logs
  options.track_and_verify_wals_in_manifest = true;
  options.create_missing_column_families = true;
  // The log is shared: a family that is seldom written would pin it for ever.
  options.max_total_wal_size = log_bytes_max(dir);
  options.max_background_jobs = 2;
  options.max_open_files = 1000;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.avoid_flush_during_shutdown = true;  // the log is synced; opening replays it
  if (testing.env != nullptr) options.env = testing.env;
  return options;
}

// What a reader is shown shall be there after a power cut, too.
Status sync_logs(const std::string& dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (entry.path().extension() != ".log") continue;
    const OwnedFd file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0 || ::fsync(file.get()) != 0) {
      return io_failure("sync " + entry.path().string(), errno);
    }
  }
  if (error) return io_failure("list " + dir, error.value());
  return sync_directory(dir);
}

rocksdb::ColumnFamilyOptions family_options(const std::shared_ptr<rocksdb::Cache>& cache,
                                            size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = write_buffer_bytes;
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  // A queue deletes nearly all it writes: compact where tombstones gather.
  options.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(4096, 2048, 0.5));
  return options;
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const RocksDbStoreOptions& options,
                                                 const RocksDbTesting& testing) {
  PARKD_RETURN_IF_ERROR(make_directory(options.dir));
  std::unique_ptr<Database> database(new Database());
  PARKD_ASSIGN_OR_RETURN(const wal::LogVerdict verdict,
                         check_before_open(options.dir, testing, database->taken_loss_));
  database->sync_ = testing.sync_commits;
  rocksdb::DBOptions db = db_options(options.dir, testing);
  database->listener_ = std::make_shared<LogSwitchListener>(database->log_switched_);
  db.listeners.push_back(database->listener_);
  // A closed log that is missing is then no reason for RocksDB to refuse.
  if (database->taken_loss_) db.track_and_verify_wals_in_manifest = false;
  PARKD_RETURN_IF_ERROR(database->open_families(std::move(db), options));
  const uint64_t last = database->db_->GetLatestSequenceNumber();
  if (last < verdict.last_sequence) {
    return corrupt("RocksDB opened the store " + options.dir + " at sequence " +
                   std::to_string(last) + ", and its log holds whole commits up to " +
                   std::to_string(verdict.last_sequence));
  }
  remove_old_info_logs(options.dir);
  if (testing.sync_commits) PARKD_RETURN_IF_ERROR(database->begin_marks(options.dir));
  return database;
}

Result<std::unique_ptr<Database>> Database::open_read_only(const RocksDbStoreOptions& options,
                                                           const RocksDbTesting& testing) {
  std::unique_ptr<Database> database(new Database());
  database->read_only_lock_ = std::make_unique<DirectoryLock>(env_of(testing), options.dir);
  const rocksdb::Status& locked = database->read_only_lock_->status();
  if (!locked.ok()) return open_failed(locked, options.dir);
  PARKD_ASSIGN_OR_RETURN(const wal::LogVerdict verdict,
                         wal::check_log(options.dir, testing.sync_commits));
  if (verdict.loss) return corrupt(verdict.loss->text(options.dir));
  PARKD_RETURN_IF_ERROR(sync_logs(options.dir));
  PARKD_RETURN_IF_ERROR(database->open_families(db_options(options.dir, testing), options));
  return database;
}

Database::Database() = default;

Status Database::open_families(rocksdb::DBOptions db, const RocksDbStoreOptions& options) {
  const auto cache = rocksdb::NewLRUCache(static_cast<size_t>(options.block_cache_bytes));
  dir_ = options.dir;
  period_options_ = family_options(cache, 8u << 20);
  // RocksDB opens only when every family that exists is named.
  std::vector<std::string> existing;
  (void)rocksdb::DB::ListColumnFamilies(db, dir_, &existing);  // fails when there is no store
  std::set<std::string> names(existing.begin(), existing.end());
  for (const char* name : kFixed) names.erase(name);

  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const char* name : kFixed) families.emplace_back(name, family_options(cache, 16u << 20));
  for (const std::string& name : names) families.emplace_back(name, period_options_);

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      is_read_only() ? rocksdb::DB::OpenForReadOnly(db, dir_, families, &handles, &opened)
                     : rocksdb::DB::Open(db, dir_, families, &handles, &opened);
  if (!status.ok()) return open_failed(status, dir_);
  db_.reset(opened);
  fixed_.assign(handles.begin(), handles.begin() + kFixed.size());
  size_t next = kFixed.size();
  for (const std::string& name : names) periods_[name] = {name, {}, handles[next++], 0};
  return load_periods();
}

// What RocksDB has recovered is in tables now, synced.
Status Database::begin_marks(const std::string& dir) {
  mark_.nonce = random_u64();
  mark_.sequence = db_->GetLatestSequenceNumber();
  PARKD_RETURN_IF_ERROR(synced_file_.open(dir));
  mark_synced();
  return synced_file_.sync();
}

Status Database::settle_loss() {
  PARKD_RETURN_IF_ERROR(wal::end_acceptance(dir_, *taken_loss_));
  taken_loss_.reset();
  return {};
}

Status Database::load_periods() {
  for (auto& [name, period] : periods_) {
    const std::optional<WallTime> end = end_of_period(name);
    if (!end) return corrupt("the store holds a column family of an unknown name: " + name);
    period.end = *end;
    PARKD_ASSIGN_OR_RETURN(const uint64_t n, get_count(period_count_key(name), 0));
    period.n_messages = static_cast<int64_t>(n);
  }
  return {};
}

Database::~Database() {
  if (db_ == nullptr) return;
  // 7.8 does not sync the log when it closes. After a failed write there is nothing to rescue
  // (every acknowledged commit is synced) and Debian's build would fail an assertion.
  const bool wrote = !write_failed_ && !is_read_only();
  const rocksdb::Status synced = wrote ? db_->FlushWAL(true) : rocksdb::Status::OK();
  if (!synced.ok()) log_warn("store.close_sync_failed", {{"error", synced.ToString()}});
  if (sync_ && wrote) (void)synced_file_.sync();
  for (rocksdb::ColumnFamilyHandle* handle : fixed_) (void)db_->DestroyColumnFamilyHandle(handle);
  for (auto& [name, period] : periods_) (void)db_->DestroyColumnFamilyHandle(period.family);
  const rocksdb::Status closed = db_->Close();
  if (!closed.ok()) log_warn("store.close_failed", {{"error", closed.ToString()}});
}

}  // namespace parkd
