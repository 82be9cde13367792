#include "lib/store/rocksdb/outbox_verbs.h"

#include <algorithm>
#include <string>
#include <utility>

#include "lib/base/check.h"

namespace parkd::embedded {

Result<OutboxIdentity> read_outbox_identity(const State& state) {
  OutboxIdentity identity;
  PARKD_ASSIGN_OR_RETURN(identity.store,
                         state.database->get(state.database->meta(), meta_key::kUuid));
  identity.epoch = state.open_epoch;
  identity.last_sequence = state.last_sequence;
  PARKD_ASSIGN_OR_RETURN(identity.dropped_through,
                         state.database->get_count(meta_key::kDroppedThrough, 0));
  const auto iterator = state.database->iterate(state.database->outbox(), nullptr, nullptr);
  identity.is_empty = !iterator->Valid();
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return identity;
}

Result<OutboxPage> read_outbox(const State& state, size_t messages_max, size_t bytes_max) {
  if (!state.can_read()) return state.failure.status();
  const WallTime now = state.clock.now();
  OutboxPage page;
  const std::string first = state.outbox_low;
  const rocksdb::Slice first_slice(first);
  const auto iterator = state.database->iterate(state.database->outbox(), &first_slice, nullptr);
  size_t n_bytes = 0;
  size_t n_rows = 0;
  for (; iterator->Valid() && page.messages.size() < messages_max; iterator->Next()) {
    if (++n_rows > 4 * messages_max) break;  // most of them have expired: the next page goes on
    PARKD_ASSIGN_OR_RETURN(const uint64_t sequence,
                           record::decode_id_key(iterator->key().ToStringView()));
    PARKD_ASSIGN_OR_RETURN(const record::StoredUndelivered row,
                           record::decode_undelivered(iterator->value().ToStringView()));
    const Period* period = state.database->find_period(row.period);
    if (period != nullptr && period->end > now) {
      const Result<std::string> bytes = state.database->get_large(period->family, row.message_key);
      if (bytes.ok()) {
        if (!page.messages.empty() && n_bytes + bytes->size() > bytes_max) break;
        n_bytes += bytes->size();
        PARKD_ASSIGN_OR_RETURN(Message message, record::decode_message(*bytes));
        if (message.expires_at > now) page.messages.push_back(std::move(message));
      } else if (!is_not_found(bytes.status())) {
        return bytes.status();
      }
    }
    page.through = sequence;
  }
  if (!iterator->status().ok()) return unavailable(iterator->status().ToString());
  return page;
}

Result<std::optional<MessagePlace>> find_message(const State& state, JobId id) {
  if (!state.can_read()) return state.failure.status();
  const Result<record::StoredHistory> history = state.read_history(id);
  if (!history.ok()) {
    if (is_not_found(history.status())) return std::optional<MessagePlace>();
    return history.status();
  }
  return std::optional(MessagePlace{history->row.tenant, history->mailbox_key, history->sequence,
                                    history->message_expires_at});
}

bool drop_delivered(State& state, uint64_t through, const Completion<int64_t>& done,
                    Commit& commit) {
  const WallTime now = state.clock.now();
  const std::string first = state.outbox_low;
  const std::string last = record::id_key(through + 1);
  const rocksdb::Slice first_slice(first);
  const rocksdb::Slice last_slice(last);
  const auto iterator =
      state.database->iterate(state.database->outbox(), &first_slice, &last_slice);
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
    (void)commit.batch.SingleDelete(state.database->outbox(), row.key);
    Period* period = state.database->find_period(row.place.period);
    if (period == nullptr || period->end <= now) continue;  // expired: dropped whole
    const Result<std::string> bytes =
        state.database->get_large(period->family, row.place.message_key);
    if (!bytes.ok()) continue;  // a message is removed once
    (void)commit.batch.SingleDelete(period->family, row.place.message_key);
    commit.touched_keys.insert("m" + row.place.message_key);
    --commit.n_messages_change[period->name];
    ++n_messages;
  }
  PARKD_CHECK(through <= state.last_sequence, "delivered what was never stored");
  (void)commit.batch.Put(state.database->meta(), meta_key::kDroppedThrough,
                         record::encode_count(through));
  commit.steps.push_back({[&state, last] { state.outbox_low = std::max(state.outbox_low, last); },
                          [done, n_messages](const Status& status) {
                            status.ok() ? done(n_messages) : done(status);
                          }});
  return true;
}

bool forget_requests(State& state, const std::vector<RequestPlace>& places,
                     const Completion<int64_t>& done, Commit& commit) {
  commit.begin(0);
  int64_t n_forgotten = 0;
  for (const RequestPlace& place : places) {
    const std::string key = record::request_key(place.error_code, place.sequence);
    for (const auto& [name, period] : state.database->periods()) {
      if (!state.database->get_large(period.family, key).ok()) continue;
      (void)commit.batch.Delete(period.family, key);
      ++n_forgotten;
    }
  }
  commit.steps.push_back({nullptr, [done, n_forgotten](const Status& status) {
                            status.ok() ? done(n_forgotten) : done(status);
                          }});
  return true;
}

void leave_outbox(const State& state, uint64_t sequence, Commit& commit) {
  const std::string key = record::id_key(sequence);
  // Messages from before the store had an outbox have no row.
  if (state.database->get(state.database->outbox(), key).ok()) {
    (void)commit.batch.SingleDelete(state.database->outbox(), key);
  }
}

}  // namespace parkd::embedded
