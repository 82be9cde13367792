#include "lib/store/rocksdb/salvage_facts.h"

#include <algorithm>

#include "lib/store/rocksdb/database.h"

namespace parkd {
namespace {

constexpr char kRequestMark = '\xff';  // begins the keys of requests, and none of messages

bool is_message(const wal::RawRow& row) {
  const Result<Message> message = record::decode_message(row.value);
  return message.ok() &&
         record::message_key(message->tenant, message->mailbox_key, message->sequence) == row.key;
}

}  // namespace

SalvagedKind kind_of(const wal::RawRow& row) {
  const std::string_view family = row.family;
  if (family == "default") return SalvagedKind::meta;
  if (family == "jobs") return SalvagedKind::job;
  if (family == "bodies") return SalvagedKind::body;
  if (family == "history") return SalvagedKind::history;
  if (family == "idempotency") return SalvagedKind::idempotency;
  if (family == "outbox") return SalvagedKind::outbox;
  if (family == "batches") return SalvagedKind::batch;
  if (family == "due" || row.key.empty()) return SalvagedKind::none;
  if (record::is_batch_request_key(row.key)) return SalvagedKind::none;  // made of the requests
  const bool is_request = row.key.front() == kRequestMark;
  const SalvagedKind kind = is_request ? SalvagedKind::request : SalvagedKind::message;
  if (end_of_period(family)) return kind;
  // Without a name, the row must show it itself; a tombstone cannot.
  if (!row.is_put) return SalvagedKind::none;
  if (is_request ? record::decode_request(row.value).ok() : is_message(row)) return kind;
  return SalvagedKind::none;
}

void SalvageFacts::see_id(uint64_t id) {
  ids_.push_back(id);
  last_id_ = std::max(last_id_, id);
}

void SalvageFacts::see_sequence(uint64_t sequence) {
  sequences_.push_back(sequence);
  last_sequence_ = std::max(last_sequence_, sequence);
}

void SalvageFacts::note(const wal::RawRow& row) {
  const SalvagedKind kind = kind_of(row);
  if (kind == SalvagedKind::none) return;
  Newest& newest = newest_[kind][std::string(row.key)];
  if (row.sequence >= newest.sequence) {
    newest.sequence = row.sequence;
    newest.is_put = row.is_put;
  }
  note_kept(kind, row);
  note_end(kind, row);
  if (kind != SalvagedKind::message || !row.is_put || newest.is_counted) return;
  newest.is_counted = true;  // a row may lie in a log and in a table
  const Result<Message> message = record::decode_message(row.value);
  if (!message.ok() || message->batch_id.empty()) return;
  ++tallies_[message->batch_id].by_outcome.at(static_cast<size_t>(message->ending.outcome));
}

void SalvageFacts::note_kept(SalvagedKind kind, const wal::RawRow& row) {
  if (kind == SalvagedKind::meta) {
    if (row.is_put && row.key == meta_key::kFormat && !record::decode_count(row.value).ok()) {
      ++n_undecodable_;
      return;
    }
    Versioned<std::string>& version = meta_versions_[std::string(row.key)];
    if (row.sequence >= version.sequence)
      version = {row.sequence, row.is_put, std::string(row.value)};
  } else if (kind == SalvagedKind::batch) {
    Result<record::StoredBatch> batch = record::decode_batch(row.value);
    if (row.is_put && !(batch.ok() && batch->batch.id == row.key)) {
      ++n_undecodable_;
      return;
    }
    Versioned<record::StoredBatch>& version = batch_versions_[std::string(row.key)];
    if (row.sequence < version.sequence) return;
    version = {row.sequence, row.is_put, batch.ok() ? std::move(*batch) : record::StoredBatch()};
  } else if (kind == SalvagedKind::job && row.is_put) {
    const Result<JobId> id = record::decode_id_key(row.key);
    Result<record::StoredJob> stored = record::decode_job(row.value);
    if (!id.ok() || !stored.ok() || stored->job.id != *id) {
      ++n_undecodable_;
      return;
    }
    last_epoch_ = std::max(last_epoch_, stored->job.noted_lease.epoch);
    Live& live = jobs_[*id];
    if (row.sequence < live.sequence) return;
    live = {std::move(*stored), row.sequence, std::string(row.value)};
  }
}

void SalvageFacts::note_message(const Message& message) {
  see_id(message.job_id);
  see_sequence(message.sequence);
  ended_.insert(message.job_id);
  last_epoch_ = std::max(last_epoch_, message.lease.epoch);
}

void SalvageFacts::note_end(SalvagedKind kind, const wal::RawRow& row) {
  const auto id = [&row] { return record::decode_id_key(row.key); };
  if (kind == SalvagedKind::job || kind == SalvagedKind::body || kind == SalvagedKind::history) {
    if (!id().ok()) return;
    see_id(*id());
    if (kind == SalvagedKind::history || !row.is_put) ended_.insert(*id());
    if (kind != SalvagedKind::history || !row.is_put) return;
    const Result<record::StoredHistory> history = record::decode_history(row.value);
    if (!history.ok()) {
      ++n_undecodable_;
      return;
    }
    see_sequence(history->sequence);
    last_epoch_ = std::max(last_epoch_, history->lease.epoch);
  } else if (kind == SalvagedKind::message && row.is_put) {
    const Result<Message> message = record::decode_message(row.value);
    if (!message.ok()) {
      ++n_undecodable_;
      return;
    }
    note_message(*message);
  } else if (kind == SalvagedKind::idempotency && row.is_put) {
    const Result<record::StoredKey> key = record::decode_key(row.value);
    if (key.ok()) see_id(key->id);
  } else if (kind == SalvagedKind::outbox && id().ok()) {
    see_sequence(*id());
    if (!first_undelivered_ || *id() < *first_undelivered_) first_undelivered_ = *id();
  }
}

void SalvageFacts::settle() {
  std::erase_if(jobs_, [this](const auto& job) {
    return ended_.contains(job.first) || !has(SalvagedKind::job, record::id_key(job.first));
  });
  for (auto& [id, version] : batch_versions_) {
    if (version.is_put) batches_.emplace(id, std::move(version.value));
  }
  for (auto& [key, version] : meta_versions_) {
    if (version.is_put) meta_.emplace(key, std::move(version.value));
  }
  const auto count = [this](const char* key) -> uint64_t {
    const auto found = meta_.find(key);
    const Result<uint64_t> value = found == meta_.end() ? 0 : record::decode_count(found->second);
    return value.ok() ? *value : 0;
  };
  // next_id itself was not given out.
  last_id_ = std::max(last_id_, std::max(count(meta_key::kNextId), uint64_t{1}) - 1);
  last_sequence_ = std::max(last_sequence_, count(meta_key::kLastSequence));
  last_epoch_ = std::max(last_epoch_, count(meta_key::kEpoch));
  for (std::vector<uint64_t>* seen : {&ids_, &sequences_}) {
    std::sort(seen->begin(), seen->end());
    seen->erase(std::unique(seen->begin(), seen->end()), seen->end());
  }
}

const SalvageFacts::Newest* SalvageFacts::find(SalvagedKind kind, std::string_view key) const {
  const auto rows = newest_.find(kind);
  if (rows == newest_.end()) return nullptr;
  const auto found = rows->second.find(std::string(key));
  return found == rows->second.end() ? nullptr : &found->second;
}

bool SalvageFacts::has(SalvagedKind kind, std::string_view key) const {
  const Newest* newest = find(kind, key);
  return newest != nullptr && newest->is_put;
}

bool SalvageFacts::has_tombstone(SalvagedKind kind, std::string_view key) const {
  const Newest* newest = find(kind, key);
  return newest != nullptr && !newest->is_put;
}

bool SalvageFacts::take_newest(const wal::RawRow& row) {
  const SalvagedKind kind = kind_of(row);
  if (kind == SalvagedKind::none || !row.is_put) return false;
  Newest& newest = newest_[kind][std::string(row.key)];
  if (newest.is_taken || !newest.is_put || newest.sequence != row.sequence) return false;
  newest.is_taken = true;
  return true;
}

std::vector<JobId> SalvageFacts::bodies_without_job() const {
  std::vector<JobId> found;
  const auto bodies = newest_.find(SalvagedKind::body);
  if (bodies == newest_.end()) return found;
  for (const auto& [key, newest] : bodies->second) {
    const Result<JobId> id = record::decode_id_key(key);
    if (id.ok() && newest.is_put && !has_ended(*id) && !is_live(*id)) found.push_back(*id);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<JobId> SalvageFacts::ended_without_history() const {
  std::vector<JobId> found;
  for (const JobId id : ended_) {
    if (find(SalvagedKind::history, record::id_key(id)) == nullptr) found.push_back(id);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// A leap after an earlier loss is not a gap.
SalvageFacts::Ranges SalvageFacts::gaps_of(const std::vector<uint64_t>& sorted, uint64_t last) {
  Ranges gaps;
  const auto add = [&gaps](uint64_t first, uint64_t end) {
    if (first < end && end - first < kLeapAfterLoss / 2) gaps.emplace_back(first, end - 1);
  };
  if (!sorted.empty()) add(1, sorted.front());
  for (size_t i = 0; i + 1 < sorted.size(); ++i) add(sorted[i] + 1, sorted[i + 1]);
  if (!sorted.empty()) add(sorted.back() + 1, last + 1);
  return gaps;
}

}  // namespace parkd
