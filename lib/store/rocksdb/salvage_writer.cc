#include "lib/store/rocksdb/salvage_writer.h"

#include <algorithm>
#include <utility>

#include "lib/base/text.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr size_t kWriteBytes = size_t{4} << 20;

Ending lost_request_ending() {
  return ended_as(failure::kInternal,
                  "the store was damaged and the request of this job is lost: submit it again");
}

bool is_batch_id(std::string_view id) {
  constexpr std::string_view kPrefix = "batch_";
  return id.size() == kPrefix.size() + 32 && id.starts_with(kPrefix) &&
         id.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

}  // namespace

SalvageWriter::SalvageWriter(SalvageFacts& facts, Database& database, WallTime now, Lost lost,
                             const List& list)
    : facts_(facts), database_(database), now_(now), lost_(lost), list_(list) {
  last_sequence_ = facts_.last_sequence() + kLeapAfterLoss;
  for (const auto& [id, live] : facts_.live()) {
    const JobSpec& spec = live.stored.job.spec;
    if (!spec.idempotency_key.empty()) {
      live_keys_.insert(record::idempotency_key(spec.tenant, spec.idempotency_key));
    }
    if (!spec.batch_id.empty()) ++n_live_[spec.batch_id];
  }
}

Status SalvageWriter::take(const wal::RawRow& row) {
  const SalvagedKind kind = kind_of(row);
  if (kind == SalvagedKind::none || !facts_.take_newest(row)) return {};
  switch (kind) {
    case SalvagedKind::body: {
      const Result<JobId> id = record::decode_id_key(row.key);
      if (!id.ok() || !facts_.is_live(*id)) return {};
      (void)batch_.Put(database_.bodies(), record::id_key(*id),
                       rocksdb::Slice(row.value.data(), row.value.size()));
      bodies_.insert(*id);
      break;
    }
    case SalvagedKind::history:
      PARKD_RETURN_IF_ERROR(take_history(row));
      break;
    case SalvagedKind::message:
      PARKD_RETURN_IF_ERROR(take_message(row));
      break;
    case SalvagedKind::request:
      PARKD_RETURN_IF_ERROR(take_request(row));
      break;
    case SalvagedKind::idempotency:
      PARKD_RETURN_IF_ERROR(take_key(row));
      break;
    default:  // kept by the facts, or derived
      break;
  }
  return flush_if_large();
}

void SalvageWriter::put_history(const record::StoredHistory& history) {
  const std::string id = record::id_key(history.row.job_id);
  (void)batch_.Put(database_.history(), id, record::encode(history));
  (void)batch_.Put(database_.due(),
                   record::due_key({history.expires_at, record::DueKind::history, id}), "");
  ++summary_.n_history;
}

Status SalvageWriter::take_history(const wal::RawRow& row) {
  const Result<record::StoredHistory> history = record::decode_history(row.value);
  if (!history.ok() || record::id_key(history->row.job_id) != row.key) return {};  // counted
  put_history(*history);
  const std::string message =
      record::message_key(history->row.tenant, history->mailbox_key, history->sequence);
  const bool is_due = history->message_expires_at > now_;
  if (lost_.any && is_due && !facts_.has(SalvagedKind::message, message) &&
      !facts_.has_tombstone(SalvagedKind::message, message)) {
    SalvageFinding finding{"result_gone", "its message is not there: it was taken, or is lost"};
    finding.id = history->row.job_id;
    finding.sequence = history->sequence;
    finding.tenant = history->row.tenant;
    finding.mailbox_key = history->mailbox_key;
    ++summary_.n_results_gone;
    list_(finding);
  }
  return {};
}

Status SalvageWriter::put_message(const std::string& period, const std::string& key,
                                  std::string_view bytes, const Message& message) {
  PARKD_ASSIGN_OR_RETURN(const Period* place, database_.period_named(period));
  (void)batch_.Put(place->family, key, rocksdb::Slice(bytes.data(), bytes.size()));
  ++n_messages_[period];
  ++summary_.n_messages;
  const auto first = facts_.first_undelivered();
  const auto dropped = facts_.meta().find(meta_key::kDroppedThrough);
  const Result<uint64_t> through =
      dropped == facts_.meta().end() ? 0 : record::decode_count(dropped->second);
  // A row of the outbox that cannot be read is made again; a store without one has none.
  if (first && message.sequence >= *first && message.sequence > (through.ok() ? *through : 0)) {
    (void)batch_.Put(database_.outbox(), record::id_key(message.sequence),
                     record::encode(record::StoredUndelivered{period, key}));
  }
  if (facts_.has(SalvagedKind::history, record::id_key(message.job_id))) return {};
  messages_of_.insert(message.job_id);
  record::StoredHistory history;
  history.row = history_of(message);
  history.lease = message.lease;
  history.sequence = message.sequence;
  history.mailbox_key = message.mailbox_key;
  history.message_expires_at = message.expires_at;
  history.period = period;
  history.expires_at = history_expires_at(message, options_);
  put_history(history);
  return {};
}

Status SalvageWriter::take_message(const wal::RawRow& row) {
  const Result<Message> message = record::decode_message(row.value);
  if (!message.ok()) return {};  // counted
  const std::string key =
      record::message_key(message->tenant, message->mailbox_key, message->sequence);
  if (key != row.key) return {};
  // Message and row of the outbox go together: this one was delivered, or taken.
  if (facts_.has_tombstone(SalvagedKind::outbox, record::id_key(message->sequence))) return {};
  const auto end = end_of_period(row.family);
  const std::string period = end && *end >= message->expires_at
                                 ? std::string(row.family)
                                 : period_name(message->expires_at, message->finished_at);
  return put_message(period, key, row.value, *message);
}

// Beside its message, as long as that is there.
Status SalvageWriter::take_request(const wal::RawRow& row) {
  const Result<record::StoredRequest> request = record::decode_request(row.value);
  if (!request.ok() || !end_of_period(row.family)) return {};
  if (!facts_.has(SalvagedKind::message,
                  record::message_key(request->spec.tenant, request->spec.mailbox_key,
                                      request->sequence))) {
    return {};
  }
  PARKD_ASSIGN_OR_RETURN(const Period* place, database_.period_named(std::string(row.family)));
  (void)batch_.Put(place->family, rocksdb::Slice(row.key.data(), row.key.size()),
                   rocksdb::Slice(row.value.data(), row.value.size()));
  if (request->spec.batch_id.empty()) return {};
  PARKD_ASSIGN_OR_RETURN(const std::string code, record::error_code_of_request_key(row.key));
  (void)batch_.Put(place->family,
                   record::batch_request_key(request->spec.batch_id, request->sequence),
                   record::encode(record::BatchRequest{request->job_id, code}));
  return {};
}

void SalvageWriter::put_key(const std::string& key, const record::StoredKey& value) {
  (void)batch_.Put(database_.idempotency(), key, record::encode(value));
  if (value.expires_at != WallTime{}) {
    (void)batch_.Put(database_.due(),
                     record::due_key({value.expires_at, record::DueKind::idempotency, key}), "");
  }
  ++summary_.n_keys;
}

Status SalvageWriter::take_key(const wal::RawRow& row) {
  const std::string key(row.key);
  if (live_keys_.contains(key)) return {};  // written with its job
  Result<record::StoredKey> value = record::decode_key(row.value);
  if (!value.ok()) return {};
  if (value->expires_at == WallTime{}) {
    if (!facts_.has_ended(value->id)) {
      // Sent again, it makes the job anew.
      SalvageFinding& gone = gone_[value->id];
      gone.mailbox_key = value->mailbox_key;
      return {};
    }
    value->expires_at = now_ + options_.idempotency_retention_min;
  }
  put_key(key, *value);
  return {};
}

// --- jobs

Status SalvageWriter::write_jobs() {
  for (const auto& [id, live] : facts_.live()) {
    if (!bodies_.contains(id)) {
      PARKD_RETURN_IF_ERROR(fail_job(live));
      PARKD_RETURN_IF_ERROR(flush_if_large());
      continue;
    }
    const JobSpec& spec = live.stored.job.spec;
    (void)batch_.Put(database_.jobs(), record::id_key(id), live.bytes);
    ++summary_.n_jobs;
    if (!spec.idempotency_key.empty()) {
      put_key(record::idempotency_key(spec.tenant, spec.idempotency_key),
              {id, live.stored.fingerprint, spec.mailbox_key, {}});
    }
    PARKD_RETURN_IF_ERROR(flush_if_large());
  }
  return {};
}

// Its record is there and its request is not: its reader is told.
Status SalvageWriter::fail_job(const SalvageFacts::Live& live) {
  const Job& job = live.stored.job;
  const JobSpec& spec = job.spec;
  const Message message = message_of(job, {}, lost_request_ending(), ++last_sequence_, now_);
  const std::string period = period_name(message.expires_at, now_);
  PARKD_RETURN_IF_ERROR(put_message(
      period, record::message_key(message.tenant, message.mailbox_key, message.sequence),
      record::encode(message), message));
  --summary_.n_messages;  // it is none of the old store's
  if (!spec.idempotency_key.empty()) {
    put_key(record::idempotency_key(spec.tenant, spec.idempotency_key),
            {job.id, live.stored.fingerprint, spec.mailbox_key,
             idempotency_expires_at(job, now_, options_)});
  }
  if (!spec.batch_id.empty()) {
    --n_live_[spec.batch_id];
    ++n_failed_here_[spec.batch_id];
  }
  SalvageFinding finding{"job_failed", "its request is gone: it ends as failed"};
  finding.id = job.id;
  finding.sequence = message.sequence;
  finding.tenant = spec.tenant;
  finding.mailbox_key = spec.mailbox_key;
  finding.batch_id = spec.batch_id;
  ++summary_.n_jobs_failed;
  list_(finding);
  return {};
}

// --- batches

// Whatever its counters say, what is live will end once more, and the others have ended.
record::StoredBatch SalvageWriter::reconciled(record::StoredBatch stored) {
  Batch& batch = stored.batch;
  const Batch before = batch;
  const std::array<int64_t*, 5> ended = {&batch.completed, &batch.failed, &batch.cancelled,
                                         &batch.deadline_missed, &batch.quarantined};
  const auto tally = facts_.tallies().find(batch.id);
  if (tally != facts_.tallies().end()) {
    for (size_t i = 0; i < ended.size(); ++i) {
      *ended[i] = std::max(*ended[i], tally->second.by_outcome[i]);
    }
  }
  batch.failed += n_failed_here_[batch.id];
  const int64_t n_live = n_live_[batch.id];
  batch.total = std::max(batch.total, n_live + n_failed_here_[batch.id]);
  int64_t n_again = batch.ended() + n_live - batch.total;
  const int64_t n_lost = std::max<int64_t>(-n_again, 0);
  for (int64_t* count : ended) {
    const int64_t n = std::clamp<int64_t>(n_again, 0, std::max<int64_t>(*count, 0));
    *count -= n;
    n_again -= n;
  }
  batch.failed += n_lost;
  batch.truncated = std::min(batch.truncated, batch.completed);
  if (batch.unfinished() > 0) batch.finished_at.reset();
  if (batch.sealed_at && batch.unfinished() == 0 && !batch.finished_at) batch.finished_at = now_;
  const bool is_changed = batch.completed != before.completed || batch.failed != before.failed ||
                          batch.ended() != before.ended() || batch.total != before.total;
  if (is_changed) {
    SalvageFinding finding{
        "batch_counts",
        std::to_string(n_lost) + " members are gone and count as failed; counters were " +
            std::to_string(before.ended()) + " ended of " + std::to_string(before.total) +
            ", are " + std::to_string(batch.ended()) + " of " + std::to_string(batch.total)};
    finding.tenant = batch.spec.tenant;
    finding.batch_id = batch.id;
    list_(finding);
    // Its results are counted again.
    if (batch.progress.stage == FileStage::ended) batch.progress.stage = FileStage::running;
  }
  return stored;
}

// Of a batch whose record is gone its members know the tenant and the deadline. It takes members
// until then, as nothing says whether it was sealed.
void SalvageWriter::rebuild_lost_batches(std::map<std::string, record::StoredBatch>& batches) {
  for (const auto& [id, live] : facts_.live()) {
    const JobSpec& spec = live.stored.job.spec;
    if (!is_batch_id(spec.batch_id) || !spec.deadline || batches.contains(spec.batch_id)) continue;
    if (facts_.has_tombstone(SalvagedKind::batch, spec.batch_id)) continue;
    record::StoredBatch& stored = batches[spec.batch_id];
    stored.batch.id = spec.batch_id;
    stored.batch.spec.tenant = spec.tenant;
    stored.batch.spec.deadline = spec.deadline;
    stored.batch.spec.retention = spec.retention.value_or(options_.retention_default);
    stored.batch.created_at = live.stored.job.created_at;
    const auto tally = facts_.tallies().find(spec.batch_id);
    if (tally != facts_.tallies().end()) {
      for (const int64_t n : tally->second.by_outcome) stored.batch.total += n;
    }
    stored.batch.total += n_live_[spec.batch_id] + n_failed_here_[spec.batch_id];
    SalvageFinding finding{"batch_rebuilt",
                           "its record is gone: made again from its members, open until its "
                           "deadline, without name, metadata and those that are gone"};
    finding.tenant = spec.tenant;
    finding.batch_id = spec.batch_id;
    list_(finding);
  }
}

void SalvageWriter::write_batches() {
  std::map<std::string, record::StoredBatch> batches = facts_.batches();
  if (lost_.any) rebuild_lost_batches(batches);
  for (auto& [id, stored] : batches) {
    (void)batch_.Put(database_.batches(), id,
                     record::encode(lost_.any ? reconciled(std::move(stored)) : stored));
    ++summary_.n_batches;
  }
}

// --- the end

void SalvageWriter::write_meta() {
  const auto& meta = facts_.meta();
  const auto put_count = [this](const char* key, uint64_t value) {
    (void)batch_.Put(database_.meta(), key, record::encode_count(value));
  };
  put_count(meta_key::kFormat, kStoreFormat);
  put_count(meta_key::kEpoch, facts_.last_epoch() + kLeapAfterLoss);
  put_count(meta_key::kNextId, facts_.last_id() + 1 + kLeapAfterLoss);
  put_count(meta_key::kLastSequence, last_sequence_);
  for (const char* key : {meta_key::kUuid, meta_key::kDroppedThrough, meta_key::kTime}) {
    const auto found = meta.find(key);
    if (found != meta.end()) (void)batch_.Put(database_.meta(), key, found->second);
  }
  if (!meta.contains(meta_key::kUuid)) {
    (void)batch_.Put(database_.meta(), meta_key::kUuid, random_hex(16));
    list_({"identity_gone",
           "the store's uuid is gone and it has a new one: to a PostgreSQL mailbox it is another "
           "store, and what was being delivered may be delivered twice"});
  }
  for (const auto& [period, n] : n_messages_) {
    put_count(period_count_key(period).c_str(), static_cast<uint64_t>(n));
  }
}

void SalvageWriter::list_traces() {
  for (const JobId id : facts_.bodies_without_job()) (void)gone_[id];
  for (auto& [id, finding] : gone_) {
    finding.what = "job_gone";
    finding.text = "its record is gone; a submit with its idempotency key makes it anew";
    finding.id = id;
    ++summary_.n_jobs_gone;
    list_(finding);
  }
  if (!lost_.any) return;
  for (const JobId id : facts_.ended_without_history()) {
    if (messages_of_.contains(id)) continue;  // made again from its message
    SalvageFinding finding{"history_gone",
                           "it has ended; its result and its history are lost, or long expired"};
    finding.id = id;
    list_(finding);
  }
  for (const auto& [first, last] : facts_.ids_without_trace()) {
    SalvageFinding finding{"ids_without_trace",
                           "nothing is left of jobs with these ids: lost, or long expired, or "
                           "never accepted"};
    finding.first_id = first;
    finding.last_id = last;
    summary_.n_ids_untraced += static_cast<int64_t>(last - first) + 1;
    list_(finding);
  }
  bool are_ends_lost = lost_.manifest;
  for (const auto& [first, last] : facts_.sequences_without_trace()) {
    SalvageFinding finding{
        "results_without_trace",
        "nothing is left of results with these sequences: lost, or long expired"};
    finding.first_sequence = first;
    finding.last_sequence = last;
    summary_.n_results_gone += static_cast<int64_t>(last - first) + 1;
    are_ends_lost = true;
    list_(finding);
  }
  if (lost_.beyond_rows) list_beyond();
  if (!are_ends_lost && !lost_.log) return;
  for (const auto& [id, live] : facts_.live()) {
    if (!bodies_.contains(id)) continue;
    SalvageFinding finding{"may_run_again",
                           "it runs; should its end be among what is lost, it runs again"};
    finding.id = id;
    finding.tenant = live.stored.job.spec.tenant;
    finding.mailbox_key = live.stored.job.spec.mailbox_key;
    finding.batch_id = live.stored.job.spec.batch_id;
    ++summary_.n_may_run_again;
    list_(finding);
  }
}

// The rows that say how far ids and sequences had come are among those that are gone.
void SalvageWriter::list_beyond() {
  constexpr uint64_t kRowsOfSubmit = 2, kRowsOfFinish = 5;  // at least, of each job
  const uint64_t n_rows = *lost_.beyond_rows;
  const auto last = [&](uint64_t known, uint64_t rows_each) {
    return n_rows > 0 ? std::optional(known + n_rows / rows_each) : std::nullopt;
  };
  const char* const text = "what cannot be read may have given out more than is known";
  SalvageFinding ids{"ids_without_trace", text};
  ids.first_id = facts_.last_id() + 1;
  ids.last_id = last(facts_.last_id(), kRowsOfSubmit);
  summary_.n_ids_untraced += static_cast<int64_t>(n_rows / kRowsOfSubmit);
  list_(ids);
  SalvageFinding results{"results_without_trace", text};
  results.first_sequence = facts_.last_sequence() + 1;
  results.last_sequence = last(facts_.last_sequence(), kRowsOfFinish);
  summary_.n_results_gone += static_cast<int64_t>(n_rows / kRowsOfFinish);
  list_(results);
}

Status SalvageWriter::finish(SalvageSummary& summary) {
  PARKD_RETURN_IF_ERROR(write_jobs());
  write_batches();
  list_traces();
  write_meta();
  PARKD_RETURN_IF_ERROR(flush());
  const SalvageSummary damage = summary;
  summary = summary_;
  summary.n_damaged = damage.n_damaged;
  summary.is_manifest_lost = damage.is_manifest_lost;
  return {};
}

Status SalvageWriter::flush_if_large() {
  return batch_.GetDataSize() < kWriteBytes ? Status() : flush();
}

Status SalvageWriter::flush() {
  if (batch_.Count() > 0) PARKD_RETURN_IF_ERROR(database_.write(&batch_));
  batch_.Clear();
  return {};
}

}  // namespace parkd
