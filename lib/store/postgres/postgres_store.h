// The PostgreSQL store: one database, many daemons. migrations/ holds its schema and verbs.
//
// Promises beyond JobStore's: a finish is kept and sent again until the database has it (its answer
// tells a repeated one from a lost lease, so a commit whose answer was lost does no harm); a
// submit whose answer was lost answers unavailable, unless all its jobs have idempotency keys: then
// it is sent again; a claim whose answer was lost is given back by the next; a take whose commit
// was not answered asks the database what became of it, and answers the messages if it was
// committed. Connections: submit, claim, finish, read, upkeep, and one for heartbeat and LISTEN:
// six; a daemon's seventh is postgres_files.h's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/store_options.h"

namespace parkd {

class JobStore;

struct PostgresOptions {
  std::string dsn;         // libpq keywords; a password belongs into PGPASSFILE or a credential
  std::string listen_dsn;  // straight to the server, where dsn goes through a pooler; empty: dsn
  bool transaction_pooling = false;  // dsn is a pooler that shares sessions: no prepared statements
  bool listen = true;                // false: poll only
  std::chrono::milliseconds poll{2000};   // jittered; the net under lost notifications. 0: none
  std::chrono::milliseconds beat{5000};   // between heartbeats
  std::chrono::milliseconds ttl{30'000};  // silent for longer: others take this daemon's jobs
  // How old the counted depth may become before housekeeping counts again (sample_depth_v1: at most
  // a fiftieth of a core). 0: each time.
  std::chrono::milliseconds depth_sample{5000};
  // An open transaction that holds up readers is told of when it has been seen for so long.
  std::chrono::milliseconds finish_notice_after{30'000};
  // For how long a verb is tried again while the database is away. The last try may take
  // statement_limit more, twice that when nothing answers.
  std::chrono::milliseconds verb_limit{5000};
  // A statement that runs for longer is ended by the server; one without an answer after twice that
  // loses its connection (half-open: nothing else would notice).
  std::chrono::milliseconds statement_limit{30'000};
  std::chrono::milliseconds stop_limit{10'000};  // how long stop() tries to store what is finished
  std::string host = "localhost";                // shown in parkd.workers
  std::string version = "0";
  // What this daemon parks and runs, as JSON for parkd.live; called at each heartbeat.
  std::function<std::string()> status;
  std::function<bool()> draining;  // shown in parkd.workers; the same
  // The daemon was silent for too long, or the database is another one: its claims are anybody's
  // now, and it must stop their work. Called on a store thread; must only push into an Inbox.
  std::function<void()> ownership_lost;
  // Tests alone: the time of every verb. Empty: the database's clock.
  Clock* test_clock = nullptr;
};

// Connects, checks the schema, registers this process. A database that cannot be reached is waited
// for in the background: verbs answer unavailable, stats() says why. Errors: conflict, when the
// schema is not one this parkd knows; the message says what to run.
Result<std::unique_ptr<JobStore>> open_postgres_store(PostgresOptions options, StoreOptions store);

}  // namespace parkd
