// RocksDbOutbox: the messages of an embedded store that are not yet where they belong, oldest
// first.
//
// lib/store/outbox delivers them. Verbs as JobStore's: asynchronous, any thread; completions run on
// the store's state thread. A message is in the outbox from the commit of its finish until
// drop_delivered() or a take; until then the store's own fetch, get and take see it. One that
// expires in the outbox is never delivered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/job_store.h"
#include "lib/store/rocksdb/rocksdb_store.h"

namespace parkd {

class EmbeddedStore;

struct OutboxPage {
  std::vector<Message> messages;  // ascending by sequence
  // Everything up to here is in `messages`, or expired or was taken. 0: the outbox is empty.
  uint64_t through = 0;
};

// Where the message of a finished job lies, or lay.
struct MessagePlace {
  std::string tenant;
  std::string mailbox_key;
  uint64_t sequence = 0;
  WallTime expires_at{};
};

// The request of a failed job (record::request_key).
struct RequestPlace {
  std::string error_code;
  uint64_t sequence = 0;  // of its message
};

struct OutboxIdentity {
  std::string store;             // made once with the directory: 32 hexadecimal digits
  uint64_t epoch = 0;            // counts the openings of the store
  uint64_t last_sequence = 0;    // given out at the opening
  uint64_t dropped_through = 0;  // the largest that drop_delivered() was given so far
  bool is_empty = true;
};

// A handle; the store it was opened with must outlive it.
class RocksDbOutbox {
 public:
  RocksDbOutbox(EmbeddedStore& store, OutboxIdentity identity)
      : store_(store), identity_(std::move(identity)) {}

  // From the front, at most so much (a first message larger than bytes_max comes alone).
  void read(size_t messages_max, size_t bytes_max, Completion<OutboxPage> done);
  // The messages up to `through` are where they belong: removes them, synced. Completes with how
  // many there were. `through` never goes back.
  void drop_delivered(uint64_t through, Completion<int64_t> done);
  // Empty: the job has not finished, or is forgotten.
  void find_message(JobId id, Completion<std::optional<MessagePlace>> done);

  // Messages that were taken after their delivery: their jobs cannot be requeued any more.
  // Completes with how many requests there were.
  void forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done);

  // As it was when the store was opened.
  const OutboxIdentity& identity() const { return identity_; }

 private:
  EmbeddedStore& store_;
  OutboxIdentity identity_;
};

struct OpenedOutbox {
  std::unique_ptr<JobStore> store;
  RocksDbOutbox outbox;
};

// As open_rocksdb_store. Requires options.outbox_filled.
Result<OpenedOutbox> open_rocksdb_store_with_outbox(RocksDbStoreOptions options, Clock& clock);

}  // namespace parkd
