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

constexpr size_t kListRows = 2000;  // looked at for a page of jobs that no index finds: some 10 ms

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
                         database_->get_large(database_->bodies(), record::id_key(id)));
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
  const Result<std::string> bytes = database_->get_large(
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
  const Status usable_now = under_way_ != nullptr ? failure_ : usable();
  if (!usable_now.ok()) {
    done(usable_now);
    return;
  }
  std::vector<JobId> ids;
  try {
    const WallTime now = clock_.now();
    std::vector<Job> jobs;
    ids = index_.claim(request, now);
    for (const JobId id : ids) {
      claims_[id] = {{open_epoch_, ++n_claims_}, now, false};
      Result<Job> job = read_whole_job(id, now);
      if (!job.ok()) {
        // It stays claimed, without an owner: an operator must look, and the queue goes on behind
        // it.
        log_error("store.job_unreadable", {{"id", id}, {"error", job.status().to_string()}});
        database_->note_damage("job " + std::to_string(id) + ": " + job.status().message());
        continue;
      }
      jobs.push_back(std::move(job).value());
    }
    PARKD_KILL_POINT("claim.after");
    done(std::move(jobs));
  } catch (...) {
    for (const JobId id : ids) claims_.erase(id);  // they have no owner
    tear();
    throw;
  }
}

Result<JobRecord> EmbeddedStore::do_get(JobId id, const std::string& tenant) {
  if (!can_read()) return failure_;
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

Result<ListAnswer> EmbeddedStore::do_list(const ListFilter& filter) {
  if (!can_read()) return failure_;
  ListAnswer answer;
  // Of one tenant's batch; others may have its id for a label.
  const auto batch = filter.batch_id ? batches_.find(*filter.batch_id) : batches_.end();
  const bool is_of_batch =
      batch != batches_.end() && filter.tenant == batch->second.batch.spec.tenant;
  if (is_of_batch && !index_.has_members(*filter.batch_id)) return answer;
  const bool is_of_label = filter.batch_id && !is_of_batch;
  ListFilter in_index = filter;
  if (is_of_label) in_index.batch_id.reset();
  const bool looks_at_rows = is_of_label || filter.mailbox_key || filter.custom_id;
  const auto is = [](const std::optional<std::string>& wanted, const std::string& text) {
    return !wanted || *wanted == text;
  };
  const WallTime now = clock_.now();
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  size_t n_rows = 0;
  JobId after = filter.after;
  // One more than are wanted, which says that there are more. The index still has jobs whose end
  // was synced a moment ago: they are passed over.
  for (;;) {
    const size_t n_ids = looks_at_rows ? kListRows - n_rows : limit + 1 - answer.jobs.size();
    const QueueIndex::Page page = index_.list(in_index, after, n_ids);
    for (const JobId id : page.ids) {
      ++n_rows;
      if (looks_at_rows) {
        const Result<record::StoredJob> row = read_job(id);
        if (!row.ok() && !is_not_found(row.status())) return row.status();
        if (!row.ok()) continue;
        const JobSpec& spec = row->job.spec;
        if (!is(filter.mailbox_key, spec.mailbox_key) || !is(filter.custom_id, spec.custom_id) ||
            (is_of_label && !is(filter.batch_id, spec.batch_id))) {
          continue;
        }
      }
      Result<Job> job = read_whole_job(id, now);
      if (!job.ok() && !is_not_found(job.status())) return job.status();
      if (!job.ok()) continue;
      if (answer.jobs.size() == limit) {
        answer.next_after = answer.jobs.empty() ? filter.after : answer.jobs.back().id;
        return answer;
      }
      answer.jobs.push_back(std::move(job).value());
    }
    if (!page.next_after) return answer;
    after = *page.next_after;
    const bool walked_far = page.ids.size() < n_ids;
    if (walked_far || (looks_at_rows && n_rows >= kListRows)) {
      answer.next_after = after;
      return answer;
    }
  }
}

// Where a mailbox in one period can be read again behind damage that was met after `last_read`: the
// sequence before it; nothing readable behind it: `end`. Blocks are damaged whole, so the place is
// found by halving. `read` tries to read behind a sequence.
uint64_t EmbeddedStore::find_end_of_damage(uint64_t last_read, uint64_t end,
                                           const std::function<rocksdb::Status(uint64_t)>& read) {
  uint64_t bad = last_read;
  uint64_t good = end;
  if (!read(good).ok()) return end;
  while (good - bad > 1) {
    const uint64_t middle = bad + (good - bad) / 2;
    (read(middle).ok() ? good : bad) = middle;
  }
  return good;
}

// The first `limit` messages of one period, and what in it cannot be read.
Status EmbeddedStore::fetch_period(const FetchRequest& request, const PeriodView& view,
                                   std::vector<Message>& found,
                                   std::optional<DamagedRange>& damaged) {
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  const auto key_of = [&request](uint64_t sequence) {
    return record::message_key(request.tenant, request.mailbox_key, sequence);
  };
  const std::string last = key_of(kLast);
  const rocksdb::Slice last_slice(last);
  std::string first;
  rocksdb::Slice first_slice;
  std::unique_ptr<rocksdb::Iterator> iterator;
  // A new one each time: one that has met damage keeps a memory of the block (7.8).
  const auto read_behind = [&](uint64_t sequence) {
    iterator.reset();
    first = key_of(sequence + 1);
    first_slice = first;
    iterator = database_->iterate_at(view.snapshot, view.period.family, &first_slice, &last_slice);
    return iterator->status();
  };
  (void)read_behind(request.after_sequence);
  uint64_t last_read = request.after_sequence;
  for (int32_t n = 0;;) {
    for (; iterator->Valid() && n < request.limit; iterator->Next()) {
      PARKD_ASSIGN_OR_RETURN(Message message,
                             record::decode_message(iterator->value().ToStringView()));
      last_read = message.sequence;
      if (message.expires_at <= view.now) continue;
      found.push_back(std::move(message));
      ++n;
    }
    if (iterator->status().ok()) return {};
    // An I/O error may pass, and then nothing was damaged.
    if (!iterator->status().IsCorruption()) return unavailable(iterator->status().ToString());
    database_->note_damage(iterator->status().ToString());
    const uint64_t newest = std::max(last_sequence_, last_read);
    const uint64_t through = find_end_of_damage(last_read, newest, read_behind);
    if (!damaged) damaged = DamagedRange{last_read, through};
    damaged->after = std::min(damaged->after, last_read);
    damaged->through = std::max(damaged->through, through);
    if (!request.skip_damaged || through >= newest) return {};
    last_read = through;
    (void)read_behind(through);
  }
}

Result<FetchAnswer> EmbeddedStore::do_fetch(const FetchRequest& request) {
  if (!can_read()) return failure_;
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  if (request.limit <= 0 || request.after_sequence >= kLast - 1) return answer;
  const WallTime now = clock_.now();
  // Each period gives its first `limit`; the smallest of all of them are the answer. One view of
  // all periods: a commit that spans two of them would else be seen in the second one alone, and
  // the cursor pass what it put into the first.
  const auto snapshot = database_->snapshot();
  std::vector<Message> found;
  for (const auto& [name, period] : database_->periods()) {
    if (period.end <= now) continue;
    PARKD_RETURN_IF_ERROR(fetch_period(request, {period, *snapshot, now}, found, answer.damaged));
  }
  std::sort(found.begin(), found.end(),
            [](const Message& a, const Message& b) { return a.sequence < b.sequence; });
  if (answer.damaged && !request.skip_damaged) {
    std::erase_if(found,
                  [&](const Message& message) { return message.sequence > answer.damaged->after; });
  }
  const bool is_cut = found.size() > static_cast<size_t>(request.limit);
  if (is_cut) found.resize(static_cast<size_t>(request.limit));
  if (!found.empty()) answer.next_sequence = found.back().sequence;
  const bool is_full = found.size() == static_cast<size_t>(request.limit);
  if (answer.damaged && is_full && answer.next_sequence <= answer.damaged->after) {
    answer.damaged.reset();  // the reader has not come to it
  }
  if (answer.damaged && request.skip_damaged && !is_full) {
    answer.next_sequence = std::max(answer.next_sequence, answer.damaged->through);
  }
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
  if (!failure_.ok()) stats.notices.push_back(failure_notice());
  if (const auto notice = drop_clock_->gap_notice()) stats.notices.push_back(*notice);
  if (!can_read()) return stats;
  if (!database_->damage().empty()) {
    stats.notices.push_back({"store_damaged",
                             "bytes of the store are damaged: what needs them answers with an "
                             "error, mailbox pages name the range (" +
                                 database_->damage() + "); stop parkd, run `jobctl store verify " +
                                 options_.dir +
                                 "`, and `jobctl store salvage` for a fresh store without them",
                             false});
  }
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
