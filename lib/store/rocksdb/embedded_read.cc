// Verbs that read, and claim. They see what is committed: a commit under way becomes visible to
// RocksDB's readers when it is synced, and to the index right after.
#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/embedded_store.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

bool is_not_found(const Status& status) {
  return status.code() == StatusCode::not_found;
}

}  // namespace

Result<record::StoredJob> EmbeddedStore::read_job(JobId id) const {
  PARKD_ASSIGN_OR_RETURN(const std::string bytes,
                         database_->get(database_->jobs(), record::id_key(id)));
  return record::decode_job(bytes);
}

Result<Job> EmbeddedStore::read_whole_job(JobId id, WallTime now) const {
  PARKD_ASSIGN_OR_RETURN(record::StoredJob stored, read_job(id));
  PARKD_ASSIGN_OR_RETURN(stored.job.spec.body,
                         database_->get(database_->bodies(), record::id_key(id)));
  Job job = std::move(stored.job);
  // Not in the index: its submit has just been synced and is not acknowledged yet.
  const bool lies_ahead = job.spec.run_at && *job.spec.run_at > now;
  job.state = lies_ahead ? JobState::scheduled : JobState::queued;
  if (index_.contains(id)) job.state = index_.state_of(id);
  const auto claim = claims_.find(id);
  if (claim != claims_.end()) {
    job.lease = claim->second.lease;
    job.claimed_at = claim->second.claimed_at;
  }
  return job;
}

Result<record::StoredHistory> EmbeddedStore::read_history(JobId id) const {
  PARKD_ASSIGN_OR_RETURN(const std::string bytes,
                         database_->get(database_->history(), record::id_key(id)));
  return record::decode_history(bytes);
}

// The message of a finished job, or its history row, or nothing.
Result<JobRecord> EmbeddedStore::read_past(JobId id, const std::string& tenant,
                                           WallTime now) const {
  const Result<record::StoredHistory> history = read_history(id);
  if (!history.ok()) {
    if (is_not_found(history.status())) return JobRecord();
    return history.status();
  }
  if (history->expires_at <= now || !may_act(tenant, history->row.tenant)) return JobRecord();
  Period* period = database_->find_period(history->period);
  if (history->message_expires_at <= now || period == nullptr) return JobRecord(history->row);
  const Result<std::string> bytes = database_->get(
      period->family,
      record::message_key(history->row.tenant, history->mailbox_key, history->sequence));
  if (!bytes.ok()) {
    if (is_not_found(bytes.status())) return JobRecord(history->row);
    return bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(Message message, record::decode_message(*bytes));
  return JobRecord(std::move(message));
}

void EmbeddedStore::do_claim(const ClaimRequest& request,
                             const Completion<std::vector<Job>>& done) {
  // Healing replaces the database, so it waits until the sync thread does not use it.
  const Status usable_now = commit_under_way_ ? failure_ : usable();
  if (!usable_now.ok()) {
    done(usable_now);
    return;
  }
  const WallTime now = clock_.now();
  std::vector<Job> jobs;
  for (const JobId id : index_.claim(request, now)) {
    claims_[id] = {{open_epoch_, ++n_claims_}, now, false};
    Result<Job> job = read_whole_job(id, now);
    if (!job.ok()) {
      // It stays claimed, by nobody: an operator must look, and the queue goes on behind it.
      log_error("store.job_unreadable", {{"id", id}, {"error", job.status().to_string()}});
      continue;
    }
    jobs.push_back(std::move(job).value());
  }
  PARKD_KILL_POINT("claim.after");
  done(std::move(jobs));
}

Result<JobRecord> EmbeddedStore::do_get(JobId id, const std::string& tenant) {
  if (database_ == nullptr) return failure_;
  const WallTime now = clock_.now();
  Result<Job> job = read_whole_job(id, now);
  // A commit that ends the job may land between two reads; then its past is there.
  if (!job.ok()) {
    if (is_not_found(job.status())) return read_past(id, tenant, now);
    return job.status();
  }
  if (!may_act(tenant, job->spec.tenant)) return JobRecord();
  return JobRecord(std::move(job).value());
}

Result<std::vector<Job>> EmbeddedStore::do_list(const ListFilter& filter) {
  if (database_ == nullptr) return failure_;
  const WallTime now = clock_.now();
  std::vector<Job> jobs;
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  for (const JobId id :
       index_.list(filter.tenant, filter.model, filter.state, filter.after, limit)) {
    Result<Job> job = read_whole_job(id, now);
    if (job.ok()) {
      jobs.push_back(std::move(job).value());
    } else if (!is_not_found(job.status())) {
      return job.status();
    }
  }
  return jobs;
}

Result<FetchAnswer> EmbeddedStore::do_fetch(const FetchRequest& request) {
  if (database_ == nullptr) return failure_;
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  if (request.limit <= 0 || request.after_sequence >= kLast - 1) return answer;
  const WallTime now = clock_.now();
  const std::string first =
      record::message_key(request.tenant, request.mailbox_key, request.after_sequence + 1);
  const std::string last = record::message_key(request.tenant, request.mailbox_key, kLast);
  const rocksdb::Slice first_slice(first);
  const rocksdb::Slice last_slice(last);
  // Each period gives its first `limit`; the smallest of all of them are the answer.
  std::vector<Message> found;
  for (const auto& [name, period] : database_->periods()) {
    if (period.end <= now) continue;
    const auto iterator = database_->iterate(period.family, &first_slice, &last_slice);
    for (int32_t n = 0; iterator->Valid() && n < request.limit; iterator->Next()) {
      PARKD_ASSIGN_OR_RETURN(Message message,
                             record::decode_message(iterator->value().ToStringView()));
      if (message.expires_at <= now) continue;
      found.push_back(std::move(message));
      ++n;
    }
    if (!iterator->status().ok()) return unavailable(iterator->status().ToString());
  }
  std::sort(found.begin(), found.end(),
            [](const Message& a, const Message& b) { return a.sequence < b.sequence; });
  if (found.size() > static_cast<size_t>(request.limit)) {
    found.resize(static_cast<size_t>(request.limit));
  }
  if (!found.empty()) answer.next_sequence = found.back().sequence;
  answer.messages = std::move(found);
  return answer;
}

Result<StoreStats> EmbeddedStore::do_stats() {
  StoreStats stats;
  stats.syncs = n_syncs_;
  stats.commits = n_commits_;
  stats.open_epoch = open_epoch_;
  stats.healthy = failure_.ok();
  stats.health_error = failure_.message();
  if (std::string lost = wal::accepted_loss(options_.dir); !lost.empty()) {
    stats.notices.push_back({"store_loss_accepted",
                             "the store was opened without acknowledged work that it had lost (" +
                                 lost + "); `jobctl store acknowledge " + options_.dir +
                                 "` ends this notice",
                             false});
  }
  if (database_ == nullptr) return stats;
  const WallTime now = clock_.now();
  for (const auto& [name, period] : database_->periods()) {
    if (period.end > now) stats.messages += period.n_messages;
  }
  for (const QueueIndex::ModelCounts& counts : index_.counts()) {
    ModelDepth depth;
    depth.model = counts.model;
    depth.scheduled = counts.scheduled;
    depth.queued = counts.queued;
    depth.claimed = counts.claimed;
    if (counts.oldest_queued != 0) {
      const Result<record::StoredJob> oldest = read_job(counts.oldest_queued);
      if (oldest.ok()) depth.oldest_created_at = oldest->job.created_at;
    }
    stats.models.push_back(std::move(depth));
  }
  return stats;
}

}  // namespace parkd
