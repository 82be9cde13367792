// OfflineStore: an embedded store that no daemon has open, for the tools that look after damage
// (jobctl store). It holds the store's lock as long as it lives and changes no file but
// ACCEPT-LOSS. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/store/rocksdb/log_check.h"

namespace parkd {

struct DamagedTable {
  std::string file;    // "000012.sst"
  std::string family;  // what it holds: "jobs", "box_h489000"
  std::string what;
};

struct StoreReport {
  wal::LogVerdict log;
  std::vector<DamagedTable> tables;
  int64_t n_tables = 0;
  int64_t n_rows = 0;  // in tables, whole
  bool is_whole() const { return !log.loss && tables.empty(); }
};

class OfflineStore {
 public:
  // `dir` is the store's own directory or the state directory that has it as "queue". Errors:
  // not_found (no store there), unavailable (a daemon has it open).
  static Result<OfflineStore> open(const std::string& dir);
  OfflineStore(OfflineStore&&) noexcept;
  OfflineStore& operator=(OfflineStore&&) noexcept;
  ~OfflineStore();

  const std::string& dir() const { return dir_; }

  // Reads every log record and every block of every table, against their checksums, and decodes
  // every row. Errors: unavailable (a file cannot be read; that may pass), corrupt (the store has
  // another format: its rows are not this program's to judge).
  Result<StoreReport> verify() const;
  // Lets the next opening go on without what the log has lost. Errors: conflict (nothing is lost,
  // or it cannot be accepted). Gives what was accepted.
  Result<std::string> accept_loss() const;

 private:
  struct Lock;
  OfflineStore(std::string dir, std::unique_ptr<Lock> lock);

  std::string dir_;
  std::unique_ptr<Lock> lock_;
};

// The directory of the store in `dir`, which is it or holds it. Errors: not_found.
Result<std::string> find_store_dir(const std::string& dir);

}  // namespace parkd
