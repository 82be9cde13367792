// The kill loop on PostgreSQL: three daemons on one database, one or two killed at a time, and
// clients that come by HTTP, to whichever daemon, and by SQL.
#include <gtest/gtest.h>

#include "tests/crash/kills_sql_door.h"
#include "tests/crash/kills_world.h"
#include "tests/e2e/postgres_world.h"

namespace parkd::testing {
namespace {

constexpr size_t kDaemons = 3;

// What should not be there when all is done: words, and a statement that counts it.
struct Leak {
  const char* what;
  const char* count;
};
constexpr Leak kLeaks[] = {
    {"live jobs", "SELECT count(*) FROM parkd.jobs"},
    {"rows of COPY", "SELECT count(*) FROM parkd.jobs_copy"},
    {"messages without their history row of the same lease",
     "SELECT count(*) FROM parkd.mailbox m LEFT JOIN parkd.history h ON h.job_id = m.job_id AND "
     "h.run_lease = m.run_lease AND h.sequence = m.sequence WHERE h.job_id IS NULL"},
    {"jobs with two rows of history",
     "SELECT count(*) - count(DISTINCT job_id) FROM parkd.history"},
    {"idempotency keys of jobs that are not there",
     "SELECT count(*) FROM parkd.idempotency k WHERE NOT EXISTS (SELECT FROM parkd.history h WHERE "
     "h.job_id = k.job_id)"},
    {"batches without an end",
     "SELECT count(*) FROM parkd.batches WHERE sealed_at IS NULL OR finished_at IS NULL"},
    {"waiters that are gone",
     "SELECT count(*) FROM parkd.waiters w LEFT JOIN parkd.daemons d ON d.id = w.daemon_id WHERE "
     "d.id IS NULL OR d.lost_at IS NOT NULL"},
    {"dead daemons that are taken for living",
     "SELECT count(*) - 3 FROM parkd.daemons WHERE lost_at IS NULL"},
    {"units in use, by heartbeats", "SELECT coalesce(sum(in_use_units), 0) FROM parkd.pools"},
    {"locks of sessions at rest",
     "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE (l.locktype = "
     "'advisory' OR l.mode LIKE '%Exclusive%') AND a.datname = current_database() AND a.state LIKE "
     "'idle%'"},
    {"open transactions",
     "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE "
     "'idle in transaction%'"},
    {"prepared transactions", "SELECT count(*) FROM pg_prepared_xacts"},
};

// Heartbeats and housekeeping come by; what stays is a leak.
void look_for_leaks(const PostgresWorld& database, Account& account) {
  for (const Leak& leak : kLeaks) {
    int64_t n = 0;
    const bool none = KillWorld::wait_until(std::string("no ") + leak.what,
                                            [&] { return (n = database.number(leak.count)) == 0; });
    if (!none) account.found(Fault::leaked, std::to_string(n) + " " + leak.what);
  }
  const int64_t n_history = database.number("SELECT count(*) FROM parkd.history");
  if (n_history != account.n_ended()) {
    account.found(Fault::leaked, std::to_string(n_history) + " rows of history for " +
                                     std::to_string(account.n_ended()) + " ended jobs");
  }
}

TEST(Kills, three_daemons_on_one_database_lose_double_skip_and_leak_nothing) {
  PostgresWorld database;
  Clients::Options options;
  options.tenants = {"kill_a", "kill_b"};
  options.open_max = 120;
  for (const std::string& tenant : options.tenants) {
    database.run(
        "DO $$ BEGIN CREATE ROLE " + tenant +
        " LOGIN IN ROLE parkd_submitter; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  }
  options.sql = [&database](const std::string& tenant) {
    return std::make_unique<SqlDoor>(database.dsn_as(tenant.empty() ? "postgres" : tenant));
  };
  DaemonSetup setup;
  setup.max_num_seqs = 4;
  setup.kv_units = 64;
  setup.more_daemon = "  lot_jobs: 8\n";
  std::vector<DaemonProcess*> daemons;
  for (size_t i = 0; i < kDaemons; ++i) daemons.push_back(&database.start_daemon(setup));
  KillWorld world(daemons, options);
  if (!world.run()) FAIL() << daemons.front()->log().substr(0, 4000);
  world.judge();
  look_for_leaks(database, world.account());
  world.report("postgres");
}

}  // namespace
}  // namespace parkd::testing
