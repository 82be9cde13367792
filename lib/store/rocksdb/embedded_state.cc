#include "lib/store/rocksdb/embedded_state.h"

#include <utility>

#include "lib/store/rules.h"

namespace parkd::embedded {

State::State(RocksDbStoreOptions given, RocksDbTesting given_testing, Clock& its_clock)
    : options(std::move(given)),
      testing(given_testing),
      clock(its_clock),
      failure(options, testing, clock) {}

void State::promote_due(WallTime now) {
  for (const std::string& model : index.promote_due(now)) {
    if (observer.work_available) observer.work_available(model);
  }
}

// --- rows

Result<record::StoredJob> State::read_job(JobId id) const {
  PARKD_ASSIGN_OR_RETURN(const std::string bytes,
                         database->get(database->jobs(), record::id_key(id)));
  return record::decode_job(bytes);
}

Result<Job> State::read_whole_job(JobId id, WallTime now) const {
  PARKD_ASSIGN_OR_RETURN(record::StoredJob stored, read_job(id));
  PARKD_ASSIGN_OR_RETURN(stored.job.spec.body,
                         database->get_large(database->bodies(), record::id_key(id)));
  Job job = std::move(stored.job);
  // Not in the index: its submit has just been synced and is not acknowledged yet.
  const bool lies_ahead = job.spec.run_at && *job.spec.run_at > now;
  job.state = lies_ahead ? JobState::scheduled : JobState::queued;
  if (index.contains(id)) job.state = index.state_of(id);
  const auto claim = claims.find(id);
  if (claim != claims.end()) {
    job.lease = claim->second.lease;
    job.claimed_at = claim->second.claimed_at;
  }
  return job;
}

Result<record::StoredHistory> State::read_history(JobId id) const {
  PARKD_ASSIGN_OR_RETURN(const std::string bytes,
                         database->get(database->history(), record::id_key(id)));
  return record::decode_history(bytes);
}

// The message of a finished job, or its history row, or nothing.
Result<JobRecord> State::read_past(JobId id, const std::string& tenant, WallTime now) const {
  const Result<record::StoredHistory> history = read_history(id);
  if (!history.ok()) {
    if (is_not_found(history.status())) return JobRecord();
    return history.status();
  }
  if (history->expires_at <= now || !may_act(tenant, history->row.tenant)) return JobRecord();
  Period* period = database->find_period(history->period);
  if (history->message_expires_at <= now || period == nullptr) return JobRecord(history->row);
  const Result<std::string> bytes = database->get_large(
      period->family,
      record::message_key(history->row.tenant, history->mailbox_key, history->sequence));
  if (!bytes.ok()) {
    if (is_not_found(bytes.status())) return JobRecord(history->row);
    return bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(Message message, record::decode_message(*bytes));
  return JobRecord(std::move(message));
}

bool State::holds_lease(JobId id, RunLease lease) const {
  const auto claim = claims.find(id);
  return claim != claims.end() && claim->second.lease == lease;
}

// --- batches

const record::StoredBatch* State::find_batch(const std::string& id, const std::string& tenant,
                                             const Commit& commit) const {
  if (id.empty() || commit.forgotten_batches.contains(id)) return nullptr;
  const auto changed = commit.batches.find(id);
  const record::StoredBatch* found = nullptr;
  if (changed != commit.batches.end()) {
    found = &changed->second;
  } else {
    const auto committed = batches.find(id);
    if (committed != batches.end()) found = &committed->second;
  }
  return found != nullptr && may_act(tenant, found->batch.spec.tenant) ? found : nullptr;
}

Batch& State::edit_batch(const std::string& id, Commit& commit) const {
  auto changed = commit.batches.find(id);
  if (changed == commit.batches.end()) changed = commit.batches.emplace(id, batches.at(id)).first;
  return changed->second.batch;
}

bool State::is_member(const JobSpec& spec) const {
  const auto batch = spec.batch_id.empty() ? batches.end() : batches.find(spec.batch_id);
  return batch != batches.end() && batch->second.batch.spec.tenant == spec.tenant;
}

bool State::is_of_cancelled_batch(const JobSpec& spec) const {
  return is_member(spec) && batches.at(spec.batch_id).batch.cancel_at.has_value();
}

void State::write_batches(Commit& commit) const {
  for (const auto& [id, stored] : commit.batches) {
    (void)commit.batch.Put(database->batches(), id, record::encode(stored));
  }
  for (const std::string& id : commit.forgotten_batches) {
    (void)commit.batch.Delete(database->batches(), id);
  }
}

void State::apply_batches(const Commit& commit) {
  const auto forget = [&](const std::string& id) {
    const auto known = batches.find(id);
    if (known == batches.end()) return;
    batch_accounts.remove(known->second.batch);
    batches.erase(known);
  };
  for (const auto& [id, stored] : commit.batches) {
    forget(id);
    batch_accounts.add(stored.batch);
    batches.emplace(id, stored);
  }
  for (const std::string& id : commit.forgotten_batches) forget(id);
}

}  // namespace parkd::embedded
