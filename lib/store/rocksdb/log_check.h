// The check of a store's log before RocksDB opens it, and what an operator may decide about a loss.
//
// RocksDB's recovery stops at the first bytes that it cannot read and says nothing, whether they
// were the unsynced end of a log or a year's work. The check tells them apart by the marks
// (synced_mark.h). It reads the files of one directory and changes none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lib/base/status.h"
#include "lib/store/rocksdb/manifest_scan.h"
#include "lib/store/rocksdb/synced_mark.h"

namespace parkd::wal {

// Acknowledged commits that cannot be read, or not in their order.
struct Loss {
  std::string file;            // "000012.log"
  uint64_t offset = 0;         // of the damage
  std::string what;            // "bytes are damaged", "the file is missing"
  int64_t rows_max = 0;        // that were in what is damaged, at most
  int64_t commits_behind = 0;  // whole behind it, which an opening would drop too
  int64_t jobs_behind = 0;     // submitted or changed by those
  int64_t results_behind = 0;  // stored by those
  bool in_log = true;          // false: in the MANIFEST or CURRENT; no opening can accept it

  std::string summary() const;                     // one sentence
  std::string text(const std::string& dir) const;  // whole, with the ways out
  std::string name() const;  // "000012.log 4711", which an acceptance is bound to
};

// The unsynced end of the log: RocksDB will drop it.
struct DroppedTail {
  std::string file;
  uint64_t offset = 0;
  uint64_t n_bytes = 0;
};

struct LogVerdict {
  std::optional<Loss> loss;
  std::optional<DroppedTail> tail;
  uint64_t last_sequence = 0;  // that an opening must reach at least
  std::string mark_unusable;   // why the file SYNCED was not used; empty: it was, or is missing
  Manifest manifest;           // of a store that has one
  int64_t n_logs = 0;
  int64_t n_commits = 0;
};

// `is_synced`: commits of this store are synced (false in a test that turns it off: then only marks
// count). Errors: unavailable (a file cannot be read), corrupt (a MANIFEST of another form).
Result<LogVerdict> check_log(const std::string& dir, bool is_synced);

// --- what the operator decided (jobctl store open-anyway, acknowledge)

inline constexpr const char* kAcceptFile = "ACCEPT-LOSS";
inline constexpr const char* kAcceptedFile = "LOSS-ACCEPTED";

// Binds the next opening to accept this loss and no other.
Status accept_loss(const std::string& dir, const Loss& loss);
struct Acceptance {
  std::string name;    // Loss::name()
  std::string text;    // what is lost, for people
  bool begun = false;  // an opening has dropped it already and died before it said so
};
std::optional<Acceptance> read_acceptance(const std::string& dir);
// Before the opening drops anything.
Status begin_acceptance(const std::string& dir, const Acceptance& acceptance);
// After ids and sequences have leapt: it stays visible until it is acknowledged.
Status end_acceptance(const std::string& dir, const Acceptance& acceptance);
// Adds nothing to what stands there: replaces it.
Status note_loss(const std::string& dir, const std::string& text);
Status withdraw_acceptance(const std::string& dir);
// What was accepted and not acknowledged; empty: nothing.
std::string accepted_loss(const std::string& dir);
// Errors: not_found (nothing to acknowledge).
Status acknowledge_loss(const std::string& dir);

}  // namespace parkd::wal
