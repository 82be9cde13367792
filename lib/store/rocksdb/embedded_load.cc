// Opening, and opening again after a failure: what State reads from the disk.
#include <algorithm>
#include <utility>

#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/answer_caught.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {
namespace {

constexpr std::chrono::minutes kTimeMarkEvery{10};  // a sync of its own in a store that idles

}  // namespace

Status State::open() {
  Status opened = load();
  if (opened.ok()) return {};
  // The outbox announces the epoch of an opening to the database: it needs a real one.
  if (opened.code() != StatusCode::exhausted || has_outbox()) return opened;
  failure.cannot_write(opened);
  serve_readers_only();
  if (database == nullptr) return opened;
  log_error("store.read_only", {{"dir", options.dir}, {"why", opened.message()}});
  return {};
}

const Status& State::usable() {
  // Healing replaces the database, so it waits until the sync thread does not use it.
  if (is_lent || failure.status().ok() || !failure.may_heal()) return failure.status();
  if (caught("heal", [this] { heal(); }).ok()) return failure.status();
  if (failure.must_reopen()) database.reset();  // half loaded
  failure.tear();
  failure.delay_healing();
  return failure.status();
}

// DB::Resume() is not used: it does not say what became of the write that failed, and refuses fatal
// errors.
void State::heal() {
  failure.delay_healing();
  if (failure.must_reopen()) database.reset();
  const Status loaded = failure.must_reopen() ? load() : load_rows();
  if (!loaded.ok()) {
    failure.healing_failed(loaded);
    if (loaded.code() == StatusCode::exhausted) serve_readers_only();
    return;
  }
  failure.healed();
  log_warn("store.healed", {{"dir", options.dir}, {"jobs", index.size()}});
  Wakeups wakeups;  // the dispatcher's last claim may have been refused
  for (const QueueIndex::ModelCounts& counts : index.counts()) {
    if (counts.queued > 0) wakeups.models.insert(counts.model);
  }
  tell(observer, wakeups);
}

// On a full disk that lets nothing be opened for writing: mailboxes and jobs are read all the same.
void State::serve_readers_only() {
  failure.wait_for_room();
  Result<std::unique_ptr<Database>> opened = Database::open_read_only(options, testing);
  Status loaded = opened.status();
  if (opened.ok()) {
    database = std::move(opened).value();
    loaded = load_rows();
  }
  if (loaded.ok()) return failure.state_was_read();
  database.reset();
  log_error("store.unreadable", {{"dir", options.dir}, {"error", loaded.to_string()}});
}

// --- reading the rows

Status State::load() {
  Result<std::unique_ptr<Database>> opened = Database::open(options, testing);
  if (!opened.ok()) return opened.status();
  database = std::move(opened).value();
  // No operator can have accepted a loss of a store that is open.
  const bool was_open = open_epoch != 0;
  Status loaded = was_open && database->taken_loss() ? corrupt("work was lost") : load_rows();
  if (!loaded.ok()) database.reset();
  return loaded;
}

Status State::load_rows() {
  PARKD_RETURN_IF_ERROR(load_meta());
  PARKD_RETURN_IF_ERROR(load_batches());
  return load_jobs();
}

// The format is checked and, at the first opening for writing of a process, the epoch counted up:
// leases of earlier processes never equal ours.
Status State::load_meta() {
  PARKD_ASSIGN_OR_RETURN(const uint64_t format,
                         database->get_count(meta_key::kFormat, kStoreFormat));
  PARKD_RETURN_IF_ERROR(check_format(options.dir, format));
  PARKD_ASSIGN_OR_RETURN(const uint64_t epoch, database->get_count(meta_key::kEpoch, 0));
  PARKD_ASSIGN_OR_RETURN(const uint64_t stored_next_id, database->get_count(meta_key::kNextId, 1));
  PARKD_ASSIGN_OR_RETURN(const uint64_t stored_sequence,
                         database->get_count(meta_key::kLastSequence, 0));
  next_id = std::max(next_id, stored_next_id);
  last_sequence = std::max(last_sequence, stored_sequence);
  if (!drop_clock) load_drop_clock();
  if (open_epoch != 0 || database->is_read_only()) return {};

  uint64_t this_epoch = epoch + 1;
  rocksdb::WriteBatch batch;
  const bool has_loss = database->taken_loss().has_value();
  if (has_loss) {
    this_epoch += kLeapAfterLoss;
    next_id += static_cast<JobId>(kLeapAfterLoss);
    last_sequence += kLeapAfterLoss;
    (void)batch.Put(database->meta(), meta_key::kNextId,
                    record::encode_count(static_cast<uint64_t>(next_id)));
    (void)batch.Put(database->meta(), meta_key::kLastSequence, record::encode_count(last_sequence));
  }
  put_time_mark(batch);
  (void)batch.Put(database->meta(), meta_key::kFormat, record::encode_count(kStoreFormat));
  (void)batch.Put(database->meta(), meta_key::kEpoch, record::encode_count(this_epoch));
  if (epoch == 0) (void)batch.Put(database->meta(), meta_key::kUuid, random_hex(16));
  PARKD_RETURN_IF_ERROR(database->write(&batch));
  if (has_loss) PARKD_RETURN_IF_ERROR(database->settle_loss());
  open_epoch = this_epoch;
  return {};
}

// A mark that cannot be read is not a reason to refuse work: the clock is believed.
void State::load_drop_clock() {
  std::optional<ClockMark> last;
  const Result<std::string> text = database->get(database->meta(), meta_key::kTime);
  if (text.ok()) {
    const Result<ClockMark> mark = ClockMark::decode(*text);
    if (mark.ok()) {
      last = *mark;
    } else {
      log_warn("store.time_mark_unreadable", {{"error", mark.status().to_string()}});
    }
  }
  drop_clock.emplace(clock, last);
}

void State::put_time_mark(rocksdb::WriteBatch& batch) {
  (void)batch.Put(database->meta(), meta_key::kTime, drop_clock->mark().encode());
  mark_due = clock.boot_now() + kTimeMarkEvery;
}

Status State::load_batches() {
  batches.clear();
  batch_accounts = {};
  const auto iterator = database->iterate(database->batches(), nullptr, nullptr);
  for (; iterator->Valid(); iterator->Next()) {
    PARKD_ASSIGN_OR_RETURN(record::StoredBatch stored,
                           record::decode_batch(iterator->value().ToStringView()));
    batch_accounts.add(stored.batch);
    std::string id = stored.batch.id;
    batches.emplace(std::move(id), std::move(stored));
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return {};
}

// After load_batches(). The index is built from the jobs alone, so it cannot disagree with them.
// Claims of this process that are still live are put back (after a failed commit); there are none
// at the first open.
Status State::load_jobs() {
  const WallTime now = clock.now();
  index = QueueIndex();
  flagged.clear();
  must_end_flagged = false;
  orphans.clear();
  due_low.clear();
  outbox_low.clear();
  std::unordered_map<JobId, Claim> live;  // of `claims`
  const auto iterator = database->iterate(database->jobs(), nullptr, nullptr);
  for (; iterator->Valid(); iterator->Next()) {
    Result<record::StoredJob> stored = record::decode_job(iterator->value().ToStringView());
    if (!stored.ok()) {
      const Result<JobId> id = record::decode_id_key(iterator->key().ToStringView());
      return corrupt("job " + (id.ok() ? std::to_string(*id) : std::string("of an unknown id")) +
                     " in " + options.dir + ": " + stored.status().message());
    }
    const JobId id = stored->job.id;
    index.add(stored->job, now, is_member(stored->job.spec));
    next_id = std::max(next_id, id + 1);
    if (stored->caller_grace) {
      orphans.push_back({id, stored->job.spec.tenant, *stored->caller_grace});
    }
    const auto claim = claims.find(id);
    if (claim != claims.end()) {
      index.mark_claimed(id);
      live[id] = claim->second;
      live[id].cancel_requested = stored->cancel_requested;
    } else if (stored->cancel_requested || is_of_cancelled_batch(stored->job.spec)) {
      index.hold(id);
      flagged.push_back(id);
    }
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  claims = std::move(live);
  must_end_flagged = !flagged.empty();
  return {};
}

}  // namespace parkd::embedded
