#include "lib/store/rocksdb/rocksdb_status.h"

#include <cerrno>
#include <string>
#include <system_error>

namespace parkd {

// RocksDB knows ENOSPC; a quota that is used up is the same to us.
bool is_disk_full(const rocksdb::Status& status) {
  static const std::string kQuota = std::generic_category().message(EDQUOT);
  return status.IsNoSpace() ||
         (status.IsIOError() && status.ToString().find(kQuota) != kQuota.npos);
}

Status from_rocksdb(const rocksdb::Status& status) {
  if (status.ok()) return {};
  if (status.IsNotFound()) return not_found("not in the store");
  if (status.IsCorruption()) return corrupt(status.ToString());
  if (is_disk_full(status)) return exhausted(status.ToString());
  return unavailable(status.ToString());
}

}  // namespace parkd
