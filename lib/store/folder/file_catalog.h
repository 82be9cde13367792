// FileCatalog: what is known of the folder's files and uploads, and what each tenant has.
//
// In RAM, no file is touched. Thread-safe; nothing is called under its lock.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/base/thread_safety.h"
#include "lib/store/file_rules.h"
#include "lib/store/file_store.h"
#include "lib/store/folder/file_record.h"

namespace parkd {

class FileCatalog {
 public:
  explicit FileCatalog(FileLimits limits) : limits_(limits) {}

  // What a tenant may not have is refused before anything is written: by file_rules.h.
  Status begin_upload(const std::string& id, const std::string& tenant);
  Status add_bytes(const std::string& id, size_t n_bytes);
  void end_upload(const std::string& id);  // given up
  // The upload of that id, if there is one, is this file now.
  void add_file(FileRecord record);

  // Those below see no file that has expired by `now`. Errors: not_found.
  Result<FileRecord> find(const std::string& id, const std::string& tenant, WallTime now) const;
  Result<std::vector<StoredFile>> list(const FileFilter& filter, WallTime now) const;
  // The file, whose time is not over before `until` from now on. Errors: not_found.
  Result<StoredFile> keep(const std::string& id, WallTime until);
  void remove(const std::string& id);
  std::vector<std::string> expired_by(WallTime time, size_t n_max) const;
  FileFigures figures() const;

 private:
  using Key = std::pair<WallTime, std::string>;  // when it was made, its id: the order of lists
  struct Upload {
    std::string tenant;
    int64_t bytes = 0;
  };

  void forget_upload(const std::string& id) PARKD_REQUIRES(mutex_);
  void settle(const std::string& tenant) PARKD_REQUIRES(mutex_);

  const FileLimits limits_;
  mutable std::mutex mutex_;
  std::map<Key, FileRecord> files_ PARKD_GUARDED_BY(mutex_);
  std::map<std::string, Key> keys_ PARKD_GUARDED_BY(mutex_);  // by id
  std::map<std::string, Upload> uploads_ PARKD_GUARDED_BY(mutex_);
  std::map<std::string, TenantFiles> tenants_ PARKD_GUARDED_BY(mutex_);  // that have something
};

}  // namespace parkd
