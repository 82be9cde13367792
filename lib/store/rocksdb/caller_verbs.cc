#include "lib/store/rocksdb/caller_verbs.h"

#include <algorithm>
#include <utility>

#include "lib/store/rocksdb/job_end.h"

namespace parkd::embedded {

namespace {

using Grace = std::optional<std::chrono::seconds>;

void put_grace(State& state, record::StoredJob stored, Grace grace, Commit& commit) {
  commit.begin(0);
  stored.caller_grace = grace;
  put_job(state, stored, commit);
  commit.touched_jobs.insert(stored.job.id);
}

}  // namespace

bool attach(State& state, JobId id, Grace grace, const Completion<Grace>& done, Commit& commit) {
  if (commit.touched_jobs.contains(id)) return false;
  if (!state.index.contains(id)) {
    done(Grace());
    return true;
  }
  Result<record::StoredJob> stored = state.read_job(id);
  if (!stored.ok()) {
    done(stored.status());
    return true;
  }
  if (!grace || stored->caller_grace == grace) {
    done(stored->caller_grace);
    return true;
  }
  put_grace(state, std::move(stored).value(), grace, commit);
  commit.steps.push_back(
      {nullptr, [done, grace](const Status& status) { succeed_with(done, grace, status); }});
  return true;
}

bool keep(State& state, JobId id, const Completion<bool>& done, Commit& commit) {
  if (commit.touched_jobs.contains(id)) return false;
  if (!state.index.contains(id)) {
    done(false);
    return true;
  }
  Result<record::StoredJob> stored = state.read_job(id);
  if (!stored.ok() || !stored->caller_grace) {
    done(stored.ok() ? Result<bool>(false) : stored.status());
    return true;
  }
  put_grace(state, std::move(stored).value(), std::nullopt, commit);
  commit.steps.push_back(
      {nullptr, [done](const Status& status) { succeed_with(done, true, status); }});
  return true;
}

Result<std::vector<AttachedJob>> adopt(State& state) {
  std::vector<AttachedJob> jobs = std::exchange(state.orphans, {});
  std::erase_if(jobs, [&](const AttachedJob& job) { return !state.index.contains(job.id); });
  return jobs;
}

}  // namespace parkd::embedded
