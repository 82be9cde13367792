// The pair rocksdb + postgres: an embedded queue whose finished jobs appear in the PostgreSQL
// mailbox.
//
// The queue is the embedded store, whole: submits, claims and finishes need no database and are
// durable in RocksDB alone. A finish commits the end of the job and its message, which waits in
// RocksDB's outbox; a thread of this store delivers the outbox to parkd.mailbox in the order of
// commits, and removes a message from it only when the database is known to have it. A delivery
// whose answer was lost is sent again and stored once (parkd.outboxes says how far each store has
// come).
//
// Cursors and message sequences are this store's own count of commits, before and after delivery
// alike, so a reader of this daemon sees each message of this store once and in order, wherever it
// lies by now. Messages that other daemons put into the same mailbox are read by SQL, or by a
// daemon on postgres + postgres; they count by parkd.mailbox.sequence. lib/store/README.md has the
// rule.
//
// While the database is away: everything but reading works. fetch, take and get answer from the
// outbox as long as what they name was never sent, and unavailable otherwise; stats() says why
// nothing is delivered (mailbox_error) and how much waits (undelivered_messages).
#pragma once

#include <memory>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/job_store.h"
#include "lib/store/postgres/postgres_store.h"
#include "lib/store/rocksdb/rocksdb_store.h"

namespace parkd {

struct OutboxOptions {
  RocksDbStoreOptions queue;
  // dsn, transaction_pooling, verb_limit, host and test_clock alone matter: this pair claims
  // nothing from the database, so it has neither heartbeat nor LISTEN. Two connections.
  PostgresOptions mailbox;
};

// Opens the queue, and the mailbox when the database is there; one that is away is waited for.
// Errors: those of open_rocksdb_store; conflict, when the database's schema is not one this parkd
// knows, or when it says that this directory is a copy (or an old backup) of a store that has
// delivered more. `clock` must outlive the store.
Result<std::unique_ptr<JobStore>> open_outbox_store(OutboxOptions options, Clock& clock);

}  // namespace parkd
