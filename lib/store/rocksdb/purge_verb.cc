#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/batch_verbs.h"
#include "lib/store/rocksdb/daemon_verbs.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

constexpr int kPurgeRowsMax = 1000;  // rows dropped by one purge()

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

bool purge(State& state, int64_t& deadlines_missed, const Completion<PurgeAnswer>& done,
           Commit& commit) {
  const WallTime now = state.clock.now();
  std::vector<JobId> overdue = state.index.overdue(now, kEndingsMax);
  const bool is_last = overdue.size() < kEndingsMax;
  std::erase_if(overdue, [&](JobId id) { return commit.touched_jobs.contains(id); });
  commit.begin(0);
  Portion portion = end_portion(state, overdue, deadline_missed_ending, now, commit);
  deadlines_missed += static_cast<int64_t>(portion.ended.size());
  const bool goes_on = !portion.ended.empty() && (!is_last || portion.n_looked_at < overdue.size());
  commit.has_purge = true;
  PARKD_KILL_POINT("purge.mid");  // and once more on the sync thread, between write and drop
  auto apply = [&state, ended = std::move(portion.ended)] {
    for (const JobId id : ended) apply_end(state, id);
  };
  if (goes_on) {
    commit.steps.push_back({std::move(apply), nullptr});
    return false;
  }

  const WallTime drop_before = state.drop_clock->now();  // what is deleted cannot be had back
  PurgeAnswer answer;
  answer.deadlines_missed = deadlines_missed;
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
  commit.steps.push_back({std::move(apply), [done, answer](const Status& status) {
                            succeed_with(done, answer, status);
                          }});
  return true;
}

}  // namespace parkd::embedded
