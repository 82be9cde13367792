#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/batch_verbs.h"
#include "lib/store/rocksdb/daemon_verbs.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

constexpr size_t kPurgeEndingsMax = 256;  // jobs ended by one purge()
constexpr int kPurgeRowsMax = 1000;       // rows dropped by one purge()

Status sweep_one(const State& state, const record::Due& due, PurgeAnswer& answer, Commit& commit) {
  if (due.kind == record::DueKind::history) {
    (void)commit.batch.Delete(state.database->history(), due.target);
    ++answer.history_rows;
    return {};
  }
  const Result<std::string> bytes = state.database->get(state.database->idempotency(), due.target);
  if (!bytes.ok()) {
    return is_not_found(bytes.status()) ? Status() : bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(const record::StoredKey key, record::decode_key(*bytes));
  if (key.expires_at != due.at) return {};  // expired and used again since: another job's key
  (void)commit.batch.Delete(state.database->idempotency(), due.target);
  commit.touched_keys.insert("i" + due.target);
  return {};
}

Status sweep_due(State& state, WallTime now, PurgeAnswer& answer, Commit& commit) {
  const std::string last = record::due_bound(now);
  const std::string first = state.due_low;
  const rocksdb::Slice first_slice(first);
  const rocksdb::Slice last_slice(last);
  const auto iterator = state.database->iterate(state.database->due(), &first_slice, &last_slice);
  for (int n = 0; iterator->Valid() && n < kPurgeRowsMax; iterator->Next(), ++n) {
    const std::string key = iterator->key().ToString();
    Result<record::Due> due = record::decode_due_key(key);
    if (due.ok()) {
      const std::string touched = "i" + due->target;
      if (due->kind == record::DueKind::idempotency && commit.touched_keys.contains(touched)) {
        return {};  // a submit of this commit uses the key again: go on with the next purge
      }
      PARKD_RETURN_IF_ERROR(sweep_one(state, *due, answer, commit));
    }
    (void)commit.batch.SingleDelete(state.database->due(), key);  // written once, with its end
    state.due_low = key;
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return {};
}

}  // namespace

bool purge(State& state, const Completion<PurgeAnswer>& done, Commit& commit) {
  commit.begin(0);
  const WallTime now = state.clock.now();
  const WallTime drop_before = state.drop_clock->now();  // what is deleted cannot be had back
  PurgeAnswer answer;
  std::vector<JobId> ended_ids;
  for (const JobId id : state.index.overdue(now, kPurgeEndingsMax)) {
    if (commit.touched_jobs.contains(id)) continue;
    Result<Ended> ended = prepare_end(state, id, {}, deadline_missed_ending(), now);
    // One job that cannot be read does not keep the others past their deadlines.
    if (!ended.ok()) continue;  // logged
    state.index.hold(id);
    write_end(state, *ended, now, commit);
    ended_ids.push_back(id);
  }
  answer.deadlines_missed = static_cast<int64_t>(ended_ids.size());
  PARKD_KILL_POINT("purge.mid");  // and once more on the sync thread, between write and drop

  sweep_batches(state, now, drop_before, commit);
  const Status swept = sweep_due(state, drop_before, answer, commit);
  if (!swept.ok()) log_error("store.sweep_failed", {{"error", swept.to_string()}});

  for (const auto& [name, period] : state.database->periods()) {
    if (period.end > drop_before) continue;
    commit.expired.push_back(period);
    (void)commit.batch.Delete(state.database->meta(), period_count_key(name));
    answer.messages += period.n_messages;
  }
  if (state.clock.boot_now() >= state.mark_due) state.put_time_mark(commit.batch);
  commit.has_purge = true;
  commit.steps.push_back(
      {[&state, ended_ids = std::move(ended_ids)] {
         for (const JobId id : ended_ids) apply_end(state, id);
       },
       [done, answer](const Status& status) { succeed_with(done, answer, status); }});
  return true;
}

}  // namespace parkd::embedded
