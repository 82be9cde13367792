// salvage: what can be read of a damaged store, in a fresh one (jobctl store salvage).
//
// The old store is opened for reading only and never written to. Records are taken over byte by
// byte; whatever can be derived from them is derived again: expiries, counts, indexes, periods. The
// identity stays; ids, sequences and the epoch leap, as after every loss. lib/store/README.md,
// "Salvage", has what becomes of what.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/rocksdb/offline.h"

namespace parkd {

// One line of the list: what is gone, or is not as it was. Fields that say nothing are empty.
struct SalvageFinding {
  std::string what;  // a stable word: "damage", "job_gone", "may_run_again"
  std::string text;  // for people
  std::optional<uint64_t> id{}, first_id{}, last_id{};
  std::optional<uint64_t> sequence{}, first_sequence{}, last_sequence{};
  std::string tenant{}, mailbox_key{}, batch_id{};
  std::string file{};
  std::string family{};
  std::optional<uint64_t> offset{}, n_bytes{};
};

struct SalvageSummary {
  std::string store;                                                             // the fresh one
  int64_t n_jobs = 0, n_messages = 0, n_history = 0, n_keys = 0, n_batches = 0;  // taken over
  int64_t n_damaged = 0;        // places that cannot be read
  int64_t n_jobs_gone = 0;      // accepted, known by their id, and nothing but that is left
  int64_t n_jobs_failed = 0;    // their request is gone: ended as failed, with a message
  int64_t n_results_gone = 0;   // of which history or sequence is known
  int64_t n_ids_untraced = 0;   // given out at most, and nothing is left of them
  int64_t n_may_run_again = 0;  // their end may be among what is lost
  bool is_manifest_lost = false;
  bool is_whole() const { return n_damaged == 0; }
  std::string text() const;  // one line, for the notice
};

// Makes the store in `to`, which must be missing or empty, under the name `to`.unfinished until it
// is whole; verified, synced, 0700/0600 and, when root does it, its files those of the owner of the
// old store. Errors: invalid (`to` is not empty), conflict (an unfinished one lies there),
// unavailable (I/O), corrupt (the old store has another format, and nothing was made; or the fresh
// store does not pass verify).
Result<SalvageSummary> salvage(const OfflineStore& store, const std::string& to, Clock& clock,
                               const std::function<void(const SalvageFinding&)>& list);

// Puts `fresh` in the place of `store` and keeps what was there as `store`.damaged-TIME, which it
// gives. A death at any moment leaves one of the two stores under the name, never none: they change
// places in one step of the file system. Errors: unavailable (one that cannot do it, or not the
// same one: nothing was changed).
Result<std::string> put_in_place(const std::string& store, const std::string& fresh, Clock& clock);

}  // namespace parkd
