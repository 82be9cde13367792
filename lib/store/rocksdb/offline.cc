#include "lib/store/rocksdb/offline.h"

#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>

#include <filesystem>
#include <utility>

#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/raw_rows.h"
#include "lib/store/rocksdb/record_codec.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

// Whether a row of this family is what its writer put there.
Status decode_row(const std::string& family, std::string_view value) {
  const auto status_of = [](const auto& decoded) {
    return decoded.ok() ? Status() : decoded.status();
  };
  if (family == "jobs") return status_of(record::decode_job(value));
  if (family == "history") return status_of(record::decode_history(value));
  if (family == "idempotency") return status_of(record::decode_key(value));
  if (family == "batches") return status_of(record::decode_batch(value));
  if (family == "outbox") return status_of(record::decode_undelivered(value));
  return {};
}

std::string table_name(uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return digits + ".sst";
}

Status check_table(const std::string& path, const std::string& family, int64_t& n_rows) {
  rocksdb::SstFileReader reader{rocksdb::Options()};
  rocksdb::Status status = reader.Open(path);
  if (status.ok()) status = reader.VerifyChecksum();
  if (status.ok()) {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> row(reader.NewIterator(options));
    for (row->SeekToFirst(); row->Valid(); row->Next()) {
      PARKD_RETURN_IF_ERROR(decode_row(family, row->value().ToStringView()));
      ++n_rows;
    }
    status = row->status();
  }
  if (status.ok()) return {};
  if (status.IsCorruption()) return corrupt(status.ToString());
  return unavailable(status.ToString());
}

}  // namespace

struct OfflineStore::Lock {
  rocksdb::FileLock* file = nullptr;
  ~Lock() {
    if (file != nullptr) (void)rocksdb::Env::Default()->UnlockFile(file);
  }
};

OfflineStore::OfflineStore(std::string dir, std::unique_ptr<Lock> lock)
    : dir_(std::move(dir)), lock_(std::move(lock)) {}
OfflineStore::OfflineStore(OfflineStore&&) noexcept = default;
OfflineStore& OfflineStore::operator=(OfflineStore&&) noexcept = default;
OfflineStore::~OfflineStore() = default;

Result<std::string> find_store_dir(const std::string& dir) {
  std::error_code none;
  for (const fs::path& place : {fs::path(dir), fs::path(dir) / "queue"}) {
    // LOCK is the one file of a store that nothing ever removes.
    if (fs::exists(place / "LOCK", none)) return place.lexically_normal().string();
  }
  return not_found(dir + " holds no store (it is <state_dir>/queue), or may not be read");
}

Result<OfflineStore> OfflineStore::open(const std::string& dir) {
  PARKD_ASSIGN_OR_RETURN(std::string store, find_store_dir(dir));
  auto lock = std::make_unique<Lock>();
  const rocksdb::Status locked = rocksdb::Env::Default()->LockFile(store + "/LOCK", &lock->file);
  if (!locked.ok()) {
    return unavailable("the store " + store +
                       " is in use, or may not be locked: " + locked.ToString());
  }
  return OfflineStore(std::move(store), std::move(lock));
}

Result<StoreReport> OfflineStore::verify() const {
  StoreReport report;
  PARKD_ASSIGN_OR_RETURN(report.log, wal::check_log(dir_, true));
  PARKD_ASSIGN_OR_RETURN(wal::RawRows rows, wal::RawRows::open(dir_));
  PARKD_ASSIGN_OR_RETURN(const std::optional<std::string> format,
                         rows.find("default", meta_key::kFormat));
  if (format) {
    const Result<uint64_t> number = record::decode_count(*format);
    if (number.ok()) PARKD_RETURN_IF_ERROR(check_format(dir_, *number));
    if (!number.ok())
      report.tables.push_back({"a table or log", "default", "its row \"format\" is not a number"});
  }
  const wal::Manifest& manifest = report.log.manifest;
  for (const auto& [number, table] : manifest.tables) {
    ++report.n_tables;
    const std::string file = table_name(number);
    const std::string family = manifest.families.at(table.family);
    std::error_code error;
    const uint64_t n_bytes = fs::file_size(dir_ + "/" + file, error);
    if (error || n_bytes != table.n_bytes) {
      report.tables.push_back({file, family, error ? "the file is missing" : "its size is wrong"});
      continue;
    }
    const Status whole = check_table(dir_ + "/" + file, family, report.n_rows);
    if (whole.code() == StatusCode::unavailable) return whole;
    if (!whole.ok()) report.tables.push_back({file, family, whole.message()});
  }
  return report;
}

Result<std::string> OfflineStore::accept_loss() const {
  PARKD_ASSIGN_OR_RETURN(const wal::LogVerdict verdict, wal::check_log(dir_, true));
  if (!verdict.loss) return conflict("nothing is lost: the log of " + dir_ + " is whole");
  if (!verdict.loss->in_log) {
    return conflict("no start can go on from this: " + verdict.loss->summary() +
                    ". `jobctl store salvage " + dir_ +
                    " --replace` makes a fresh store of what can be read");
  }
  PARKD_RETURN_IF_ERROR(wal::accept_loss(dir_, *verdict.loss));
  return verdict.loss->summary();
}

}  // namespace parkd
