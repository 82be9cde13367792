// The end of a job in the embedded store, in three steps that several verbs share: prepared from
// what is committed, written to a commit, applied to the state in RAM once it is on disk.
//
// By client_verbs.h's rules.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/job.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/embedded_state.h"
#include "lib/store/rocksdb/record_codec.h"

namespace parkd::embedded {

// A job that ends in the commit being built.
struct Ended {
  record::StoredJob stored;
  Message message;
  Period* period = nullptr;
  std::string body;  // of the request, when it did not complete
};

// Reads the job and makes its message; adds nothing to the commit yet.
Result<Ended> prepare_end(State& state, JobId id, RunLease lease, Ending ending, WallTime now);
void write_end(State& state, const Ended& ended, WallTime now, Commit& commit);
void apply_end(State& state, JobId id);

// The row of a live job.
void put_job(const State& state, const record::StoredJob& stored, Commit& commit);

// A commit ends no more jobs than these at once, and none beyond Commit::is_full().
inline constexpr size_t kEndingsMax = 256;

struct Portion {
  std::vector<JobId> ended;  // held, and written; apply_end() follows
  size_t n_looked_at = 0;    // of the ids: all of them, or there is more to do
  Status failed;             // of the first that could not be read; damaged ones are held
};
// Ends the first of `ids`, which wait, in this commit: as many as one portion has. One body is in
// memory at a time. Behind Commit::begin().
Portion end_portion(State& state, const std::vector<JobId>& ids,
                    const std::function<Ending()>& ending, WallTime now, Commit& commit);

// Ends a portion of the jobs whose cancel was asked for before the store was opened. First of a
// commit.
void end_flagged(State& state, Commit& commit);

}  // namespace parkd::embedded
