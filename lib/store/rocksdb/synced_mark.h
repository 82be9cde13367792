// Marks: how far the log was synced, so that damage before it is told from a tail that never was
// acknowledged.
//
// Every commit carries one in its WriteBatch (in the log only, no table ever holds it): what had
// been synced before it. The last commit's own is the file SYNCED, overwritten after each sync and
// itself synced only at opening and closing: after a power cut it may be older than the log, never
// newer. Its nonce is drawn at each opening; a log record that was found by searching behind damage
// counts only with it, so that no tenant can forge one in a request's body.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd::wal {

inline constexpr std::string_view kSyncedFile = "SYNCED";

struct SyncedMark {
  uint64_t nonce = 0;
  uint64_t sequence = 0;    // RocksDB's, of the last synced commit
  uint64_t log_number = 0;  // where that commit lies, or would
  uint64_t log_first = 0;   // the first sequence of that log
};

// What a commit carries.
std::string encode_commit_mark(const SyncedMark& mark);
struct CommitMark {
  uint64_t nonce = 0;
  uint64_t sequence = 0;
};
std::optional<CommitMark> decode_commit_mark(std::string_view bytes);

// The file. Owner: Database; calls come one at a time.
class SyncedFile {
 public:
  SyncedFile() = default;
  ~SyncedFile();
  SyncedFile(const SyncedFile&) = delete;
  SyncedFile& operator=(const SyncedFile&) = delete;

  // Makes it where missing, in `dir`, 0600.
  Status open(const std::string& dir);
  Status write(const SyncedMark& mark);
  Status sync();

  // nullopt: no file, or none that can be trusted (then `why` says why).
  static std::optional<SyncedMark> read(const std::string& dir, std::string& why);

 private:
  int fd_ = -1;
};

}  // namespace parkd::wal
