#include "lib/store/rocksdb/read_verbs.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

constexpr size_t kListRows = 2000;  // looked at for a page of jobs that no index finds: some 10 ms

// A period as all of a fetch sees it.
struct PeriodView {
  const Period& period;
  rocksdb::ManagedSnapshot& snapshot;
  WallTime now;
};

// Where a mailbox in one period can be read again behind damage that was met after `last_read`: the
// sequence before it; nothing readable behind it: `end`. Blocks are damaged whole, so the place is
// found by halving. `read` tries to read behind a sequence.
uint64_t find_end_of_damage(uint64_t last_read, uint64_t end,
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

// The first messages of one period, as many as a page may need, and what in it cannot be read.
Status fetch_period(const State& state, const FetchRequest& request, const PeriodView& view,
                    std::vector<Message>& found, std::optional<DamagedRange>& damaged) {
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
    iterator =
        state.database->iterate_at(view.snapshot, view.period.family, &first_slice, &last_slice);
    return iterator->status();
  };
  (void)read_behind(request.after_sequence);
  uint64_t last_read = request.after_sequence;
  int64_t bytes = 0;
  for (int32_t n = 0;;) {
    for (; iterator->Valid() && n < request.limit && bytes <= request.bytes_max; iterator->Next()) {
      PARKD_ASSIGN_OR_RETURN(Message message,
                             record::decode_message(iterator->value().ToStringView()));
      last_read = message.sequence;
      if (message.expires_at <= view.now) continue;
      bytes += page_bytes(message);
      found.push_back(std::move(message));
      ++n;
    }
    if (iterator->status().ok()) return {};
    // An I/O error may pass, and then nothing was damaged.
    if (!iterator->status().IsCorruption()) return unavailable(iterator->status().ToString());
    state.database->note_damage(iterator->status().ToString());
    const uint64_t newest = std::max(state.last_sequence, last_read);
    const uint64_t through = find_end_of_damage(last_read, newest, read_behind);
    if (!damaged) damaged = DamagedRange{last_read, through};
    damaged->after = std::min(damaged->after, last_read);
    damaged->through = std::max(damaged->through, through);
    if (!request.skip_damaged || through >= newest) return {};
    last_read = through;
    (void)read_behind(through);
  }
}

}  // namespace

Result<JobRecord> get(const State& state, JobId id, const std::string& tenant) {
  if (!state.can_read()) return state.failure.status();
  const WallTime now = state.clock.now();
  Result<Job> job = state.read_whole_job(id, now);
  // A commit that ends the job may land between two reads; then its past is there.
  if (!job.ok()) {
    if (is_not_found(job.status())) return state.read_past(id, tenant, now);
    return job.status();
  }
  if (!may_act(tenant, job->spec.tenant)) return JobRecord();
  return JobRecord(std::move(job).value());
}

Result<ListAnswer> list(const State& state, const ListFilter& filter) {
  if (!state.can_read()) return state.failure.status();
  ListAnswer answer;
  // Of one tenant's batch; others may have its id for a label.
  const auto batch = filter.batch_id ? state.batches.find(*filter.batch_id) : state.batches.end();
  const bool is_of_batch =
      batch != state.batches.end() && filter.tenant == batch->second.batch.spec.tenant;
  if (is_of_batch && !state.index.has_members(*filter.batch_id)) return answer;
  const bool is_of_label = filter.batch_id && !is_of_batch;
  ListFilter in_index = filter;
  if (is_of_label) in_index.batch_id.reset();
  const bool looks_at_rows = is_of_label || filter.mailbox_key || filter.custom_id;
  const auto is = [](const std::optional<std::string>& wanted, const std::string& text) {
    return !wanted || *wanted == text;
  };
  const WallTime now = state.clock.now();
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  size_t n_rows = 0;
  JobId after = filter.after;
  // One more than are wanted, which says that there are more. The index still has jobs whose end
  // was synced a moment ago: they are passed over.
  for (;;) {
    const size_t n_ids = looks_at_rows ? kListRows - n_rows : limit + 1 - answer.jobs.size();
    const QueueIndex::Page page = state.index.list(in_index, after, n_ids);
    for (const JobId id : page.ids) {
      ++n_rows;
      if (looks_at_rows) {
        const Result<record::StoredJob> row = state.read_job(id);
        if (!row.ok() && !is_not_found(row.status())) return row.status();
        if (!row.ok()) continue;
        const JobSpec& spec = row->job.spec;
        if (!is(filter.mailbox_key, spec.mailbox_key) || !is(filter.custom_id, spec.custom_id) ||
            (is_of_label && !is(filter.batch_id, spec.batch_id))) {
          continue;
        }
      }
      Result<Job> job = state.read_whole_job(id, now);
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

Result<FetchAnswer> fetch(const State& state, const FetchRequest& request) {
  if (!state.can_read()) return state.failure.status();
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  if (request.limit <= 0 || request.after_sequence >= kLast - 1) return answer;
  const WallTime now = state.clock.now();
  // Each period gives its first; the smallest of all of them are the answer. One view of
  // all periods: a commit that spans two of them would else be seen in the second one alone, and
  // the cursor pass what it put into the first.
  const auto snapshot = state.database->snapshot();
  std::vector<Message> found;
  for (const auto& [name, period] : state.database->periods()) {
    if (period.end <= now) continue;
    PARKD_RETURN_IF_ERROR(
        fetch_period(state, request, {period, *snapshot, now}, found, answer.damaged));
  }
  std::sort(found.begin(), found.end(),
            [](const Message& a, const Message& b) { return a.sequence < b.sequence; });
  if (answer.damaged && !request.skip_damaged) {
    std::erase_if(found,
                  [&](const Message& message) { return message.sequence > answer.damaged->after; });
  }
  answer.is_full = cut_page(found, request);
  if (!found.empty()) answer.next_sequence = found.back().sequence;
  if (answer.damaged && answer.is_full && answer.next_sequence <= answer.damaged->after) {
    answer.damaged.reset();  // the reader has not come to it
  }
  if (answer.damaged && request.skip_damaged && !answer.is_full) {
    answer.next_sequence = std::max(answer.next_sequence, answer.damaged->through);
  }
  answer.messages = std::move(found);
  return answer;
}

Result<StoreStats> stats(State& state) {
  StoreStats stats;
  stats.syncs = state.n_syncs;
  stats.commits = state.n_commits;
  stats.open_epoch = state.open_epoch;
  stats.healthy = state.failure.status().ok();
  stats.health_error = state.failure.status().message();
  if (std::string lost = wal::accepted_loss(state.options.dir); !lost.empty()) {
    stats.notices.push_back({"store_loss_accepted",
                             "the store was opened without acknowledged work that it had lost (" +
                                 lost + "); `jobctl store acknowledge " + state.options.dir +
                                 "` ends this notice",
                             false});
  }
  if (!state.failure.status().ok()) stats.notices.push_back(state.failure.notice(state.can_read()));
  if (const auto notice = state.drop_clock->gap_notice()) stats.notices.push_back(*notice);
  if (!state.can_read()) return stats;
  if (!state.database->damage().empty()) {
    stats.notices.push_back({"store_damaged",
                             "bytes of the store are damaged: what needs them answers with an "
                             "error, mailbox pages name the range (" +
                                 state.database->damage() +
                                 "); stop parkd, run `jobctl store verify " + state.options.dir +
                                 "`, and `jobctl store salvage` for a fresh store without them",
                             false});
  }
  const WallTime now = state.clock.now();
  for (const auto& [name, period] : state.database->periods()) {
    if (period.end > now) stats.messages += period.n_messages;
  }
  stats.webhooks_pending = std::count_if(
      state.batches.begin(), state.batches.end(),
      [](const auto& entry) { return entry.second.batch.webhook.next_attempt_at.has_value(); });
  for (const QueueIndex::ModelCounts& counts : state.index.counts()) {
    ModelDepth depth;
    depth.model = counts.model;
    depth.scheduled = counts.scheduled;
    depth.queued = counts.queued;
    depth.claimed = counts.claimed;
    if (counts.oldest_queued != 0) {
      const Result<record::StoredJob> oldest = state.read_job(counts.oldest_queued);
      if (oldest.ok()) depth.oldest_created_at = oldest->job.created_at;
    }
    stats.models.push_back(std::move(depth));
  }
  return stats;
}

}  // namespace parkd::embedded
