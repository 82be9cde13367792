// The outbox: reading it from the front, and removing what was delivered or taken.
#include <algorithm>
#include <utility>

#include "lib/base/check.h"

#include "lib/store/rocksdb/embedded_store.h"

namespace parkd {
namespace {}  // namespace

void RocksDbOutbox::read(size_t messages_max, size_t bytes_max, Completion<OutboxPage> done) {
  store_.read_outbox(messages_max, bytes_max, std::move(done));
}
void RocksDbOutbox::drop_delivered(uint64_t through, Completion<int64_t> done) {
  store_.drop_delivered(through, std::move(done));
}
void RocksDbOutbox::find_message(JobId id, Completion<std::optional<MessagePlace>> done) {
  store_.find_message(id, std::move(done));
}

void RocksDbOutbox::forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done) {
  store_.forget_requests(std::move(places), std::move(done));
}

Result<OutboxIdentity> EmbeddedStore::read_outbox_identity() const {
  OutboxIdentity identity;
  PARKD_ASSIGN_OR_RETURN(identity.store, database_->get(database_->meta(), meta_key::kUuid));
  identity.epoch = open_epoch_;
  identity.last_sequence = last_sequence_;
  PARKD_ASSIGN_OR_RETURN(identity.dropped_through,
                         database_->get_count(meta_key::kDroppedThrough, 0));
  const auto iterator = database_->iterate(database_->outbox(), nullptr, nullptr);
  identity.is_empty = !iterator->Valid();
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return identity;
}

Result<OutboxPage> EmbeddedStore::do_read_outbox(size_t messages_max, size_t bytes_max) {
  if (!can_read()) return failure_;
  const WallTime now = clock_.now();
  OutboxPage page;
  const std::string first = outbox_low_;
  const rocksdb::Slice first_slice(first);
  const auto iterator = database_->iterate(database_->outbox(), &first_slice, nullptr);
  size_t n_bytes = 0;
  size_t n_rows = 0;
  for (; iterator->Valid() && page.messages.size() < messages_max; iterator->Next()) {
    if (++n_rows > 4 * messages_max) break;  // most of them have expired: the next page goes on
    PARKD_ASSIGN_OR_RETURN(const uint64_t sequence,
                           record::decode_id_key(iterator->key().ToStringView()));
    PARKD_ASSIGN_OR_RETURN(const record::StoredUndelivered row,
                           record::decode_undelivered(iterator->value().ToStringView()));
    const Period* period = database_->find_period(row.period);
    if (period != nullptr && period->end > now) {
      const Result<std::string> bytes = database_->get_large(period->family, row.message_key);
      if (bytes.ok()) {
        if (!page.messages.empty() && n_bytes + bytes->size() > bytes_max) break;
        n_bytes += bytes->size();
        PARKD_ASSIGN_OR_RETURN(Message message, record::decode_message(*bytes));
        if (message.expires_at > now) page.messages.push_back(std::move(message));
      } else if (bytes.status().code() != StatusCode::not_found) {
        return bytes.status();
      }
    }
    page.through = sequence;
  }
  if (!iterator->status().ok()) return unavailable(iterator->status().ToString());
  return page;
}

bool EmbeddedStore::build_drop_delivered(uint64_t through, const Completion<int64_t>& done,
                                         Commit& commit) {
  const WallTime now = clock_.now();
  const std::string first = outbox_low_;
  const std::string last = record::id_key(through + 1);
  const rocksdb::Slice first_slice(first);
  const rocksdb::Slice last_slice(last);
  const auto iterator = database_->iterate(database_->outbox(), &first_slice, &last_slice);
  struct Row {
    std::string key;
    record::StoredUndelivered place;
  };
  std::vector<Row> rows;
  for (; iterator->Valid(); iterator->Next()) {
    Result<record::StoredUndelivered> place =
        record::decode_undelivered(iterator->value().ToStringView());
    if (!place.ok()) {
      done(place.status());
      return true;
    }
    // A take of this commit removes the same rows; each may be removed once.
    if (commit.touched_keys.contains("m" + place->message_key)) return false;
    rows.push_back({iterator->key().ToString(), std::move(place).value()});
  }
  if (!iterator->status().ok()) {
    done(unavailable(iterator->status().ToString()));
    return true;
  }
  commit.begin(0);
  int64_t n_messages = 0;
  for (const Row& row : rows) {
    (void)commit.batch.SingleDelete(database_->outbox(), row.key);
    Period* period = database_->find_period(row.place.period);
    if (period == nullptr || period->end <= now) continue;  // expired: dropped whole
    const Result<std::string> bytes = database_->get_large(period->family, row.place.message_key);
    if (!bytes.ok()) continue;  // a message is removed once
    (void)commit.batch.SingleDelete(period->family, row.place.message_key);
    commit.touched_keys.insert("m" + row.place.message_key);
    --commit.n_messages_change[period->name];
    ++n_messages;
  }
  PARKD_CHECK(through <= last_sequence_, "delivered what was never stored");
  (void)commit.batch.Put(database_->meta(), meta_key::kDroppedThrough,
                         record::encode_count(through));
  commit.steps.push_back({[this, last] { outbox_low_ = std::max(outbox_low_, last); },
                          [done, n_messages](const Status& status) {
                            status.ok() ? done(n_messages) : done(status);
                          }});
  return true;
}

bool EmbeddedStore::build_forget_requests(const std::vector<RequestPlace>& places,
                                          const Completion<int64_t>& done, Commit& commit) {
  commit.begin(0);
  int64_t n_forgotten = 0;
  for (const RequestPlace& place : places) {
    const std::string key = record::request_key(place.error_code, place.sequence);
    for (const auto& [name, period] : database_->periods()) {
      if (!database_->get_large(period.family, key).ok()) continue;
      (void)commit.batch.Delete(period.family, key);
      ++n_forgotten;
    }
  }
  commit.steps.push_back({nullptr, [done, n_forgotten](const Status& status) {
                            status.ok() ? done(n_forgotten) : done(status);
                          }});
  return true;
}

void EmbeddedStore::leave_outbox(uint64_t sequence, Commit& commit) {
  const std::string key = record::id_key(sequence);
  // Messages from before the store had an outbox have no row.
  if (database_->get(database_->outbox(), key).ok()) {
    (void)commit.batch.SingleDelete(database_->outbox(), key);
  }
}

Result<std::optional<MessagePlace>> EmbeddedStore::do_find_message(JobId id) const {
  if (!can_read()) return failure_;
  const Result<record::StoredHistory> history = read_history(id);
  if (!history.ok()) {
    if (history.status().code() == StatusCode::not_found) return std::optional<MessagePlace>();
    return history.status();
  }
  return std::optional(MessagePlace{history->row.tenant, history->mailbox_key, history->sequence,
                                    history->message_expires_at});
}

}  // namespace parkd
