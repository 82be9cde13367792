// PostgresMailbox: parkd.mailbox as an embedded store sees it, whose messages go there when their
// jobs have ended (lib/store/outbox; migration 0011).
//
// Owner: one thread; interrupt_if_overdue() and notices() may be called from any. One connection,
// opened when it is needed; each verb is one statement and tries once. Errors of every verb:
// unavailable (the database is away), conflict (the schema, or PK002: this store's directory is a
// copy of another). Sequences and job ids in and out are the embedded store's own; messages are
// visible until their exact expiry by `now`, the clock that stamped them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/client_store.h"
#include "lib/store/drop_clock.h"
#include "lib/store/postgres/postgres_store.h"
#include "lib/store/postgres/read_verbs.h"
#include "lib/store/postgres/store_notices.h"
#include "lib/store/store_options.h"

namespace parkd {

class Connection;

class PostgresMailbox {
 public:
  // Of the embedded store: its uuid, the count of its openings, and a uuid of this opening.
  struct Origin {
    std::string store;
    uint64_t epoch = 0;
    std::string process;
  };

  PostgresMailbox(const PostgresOptions& options, Origin origin,
                  const std::string& application_name);
  ~PostgresMailbox();
  PostgresMailbox(const PostgresMailbox&) = delete;
  PostgresMailbox& operator=(const PostgresMailbox&) = delete;

  // Checks schema and server and announces this opening of the store, whose last sequence so far is
  // `last_sequence`. Returns the sequence up to which the store has delivered.
  Result<uint64_t> announce(uint64_t last_sequence);

  // Stores messages, ascending by sequence; what is there already is passed over, so an answer that
  // was lost does no harm. A message PostgreSQL cannot hold is repaired, or stored as failed.
  // Requires announce().
  Status deliver(const std::vector<Message>& messages);

  // This store's messages under a key, ascending by sequence.
  Result<FetchAnswer> fetch(const FetchRequest& request, WallTime now);
  // The message of one place, if it is still there.
  Result<std::optional<Message>> find(const std::string& tenant, const std::string& mailbox_key,
                                      uint64_t sequence, WallTime now);
  // As take_messages(), and to be called again with `uncertain` where it throws, too.
  Result<std::vector<Message>> take(const std::string& tenant, const std::string& mailbox_key,
                                    const std::vector<uint64_t>& sequences, WallTime now,
                                    UncertainTake& uncertain);

  // Messages of every origin.
  Result<int64_t> count();
  // What maintain() last found. Any thread.
  std::vector<HealthNotice> notices() const { return notices_.all(); }
  // The database's housekeeping, by one caller at a time; returns the messages whose partitions
  // were dropped.
  Result<int64_t> maintain(const StoreOptions& options);

  void close();
  void interrupt_if_overdue();

 private:
  // What is kept as a JSON string because it is not JSON.
  enum class Wrapped { nothing, metadata, metadata_and_body };
  Status send(const std::vector<Message>& messages, Wrapped wrapped);
  Status deliver_range(const std::vector<Message>& messages, size_t first, size_t last);
  std::optional<int64_t> database_now() const;  // tests alone

  const Origin origin_;
  const std::string host_;
  Clock* const test_clock_;
  SystemClock system_clock_;
  DropClock drop_clock_;
  StoreNotices notices_;
  const std::unique_ptr<Connection> connection_;
};

}  // namespace parkd
