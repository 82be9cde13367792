// How far readers may read: what holds the horizon up, and who cannot (horizon_v1, 0014).
#include <gtest/gtest.h>

#include "tests/store/postgres/roles_world.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

// Advisory locks are anybody's; a PREPARE locks the tables of a schema that a login may use.
TEST_F(Roles, locks_of_an_outsider_hold_up_no_results_and_no_housekeeping) {
  auto outsider = database_.connect("nobody_in_particular");
  pqxx::work held(*outsider);
  held.exec(
      "SELECT pg_advisory_xact_lock(1886540395, n) FROM generate_series(1, 4) n; "
      "SELECT pg_advisory_xact_lock_shared(1886540396, n) FROM generate_series(0, 3) n; "
      "SELECT pg_advisory_xact_lock(1886540396, n) FROM generate_series(4, 40) n");
  for (const char* sql :
       {"PREPARE p1 AS DELETE FROM parkd_private.finishing",
        "PREPARE p2 AS SELECT FROM parkd_private.turns FOR UPDATE",
        "PREPARE p3 AS SELECT FROM parkd_private.began_0", "BEGIN; LOCK TABLE parkd_private.turns",
        "SELECT nextval('parkd_private.began_0')"}) {
    EXPECT_TRUE(has(refused("bob", sql), "permission denied for schema parkd_private")) << sql;
  }
  insert("alice", "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', 'new')");
  database_.run("SET lock_timeout = '5s'");
  finish_all();
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('new')"), "1");
  insert("alice",
         "INSERT INTO parkd.jobs (model, body, deadline) VALUES ('m', '{}', now() + '1 d')");
  database_.run("UPDATE parkd.jobs SET deadline = now() - interval '1 s'");
  EXPECT_EQ(value("dora", "SELECT count(*) FROM parkd.end_overdue_v1()"), "1");
  EXPECT_EQ(value("dora", "SELECT parkd.sample_depth_v1(NULL, '1 us')"), "t");
  database_.run("DROP TABLE parkd.mailbox_" +
                database_.value("SELECT to_char(now() AT TIME ZONE "
                                "'UTC' + interval '9 d', 'YYYYMMDD')"));
  EXPECT_EQ(value("dora", "SELECT parkd.ensure_partitions_v1()"), "1");
}

// In flight: nothing behind it is read past; ended: all is.
TEST_F(Roles, a_finish_in_flight_holds_the_horizon_until_it_ends) {
  for (const char* key : {"first", "second"}) {
    insert("alice", "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', '" +
                        std::string(key) + "')");
  }
  auto dora = database_.connect("dora");
  auto open = std::make_unique<pqxx::work>(*dora);
  const std::string cancel =
      "SELECT answer FROM parkd.cancel_v1((SELECT id FROM parkd.jobs WHERE "
      "mailbox_key = '";
  open->exec(cancel + "first'), '')");
  EXPECT_EQ(value("dora", cancel + "second'), '')"), "cancelled") << "a second place";
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('second')"), "0");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.results WHERE mailbox_key = 'second'"), "1");
  open->commit();
  open.reset();
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('second')"), "1");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('first')"), "1");
  EXPECT_TRUE(has(refused("alice",
                          "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM "
                          "parkd.fetch('first')"),
                  "a cursor could skip them"));
}

// Its plan is from before, and it has taken no lock since: that would have told it of the
// partition.
TEST_F(Roles, a_transaction_that_has_fetched_sees_what_comes_into_a_partition_attached_since) {
  auto alice = database_.connect("alice");
  pqxx::work open(*alice);
  const auto fetched = [&] { return open.exec("SELECT * FROM parkd.fetch('late')").size(); };
  EXPECT_EQ(fetched(), 0u);
  const auto store = [](const std::string& expires_at) {
    return "INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, "
           "expires_at, queue_us, run_us, units, prompt_tokens, completion_tokens, status_code, "
           "attempts, outcome, tenant, mailbox_key, model) VALUES "
           "(nextval('parkd.message_sequence'), 1, 1, now(), now(), " +
           expires_at + ", 0, 0, 0, 0, 0, 200, 1, 'completed', 'alice', 'late', 'm'); ";
  };
  // As a late member of a batch ends, and an ordinary job behind it.
  database_.run(
      "DO $$ DECLARE d timestamptz := date_trunc('day', now(), 'UTC') + interval '50 days'; BEGIN "
      "PERFORM parkd.ensure_partition_v1('mailbox', d, d + interval '1 day'); "
      "PERFORM parkd.enter_finish_v1(); " +
      store("d + interval '1 hour'") + store("now() + interval '1 hour'") + "END $$");
  EXPECT_EQ(fetched(), 2u);
}

// Who attaches one and stays, without results of its own, holds up nobody's.
TEST_F(Roles, a_transaction_that_attaches_a_partition_holds_up_no_reader) {
  insert("alice", "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', 'late')");
  Idler open(database_,
             "SELECT parkd.ensure_partition_v1('mailbox', '2041-01-01Z', '2041-01-02Z')");
  EXPECT_EQ(value("dora",
                  "SELECT answer FROM parkd.cancel_v1((SELECT id FROM parkd.jobs WHERE "
                  "mailbox_key = 'late'), '')"),
            "cancelled");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('late')"), "1");
  open.commit();
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('late')"), "1");
}

TEST_F(Roles, a_transaction_that_ends_many_jobs_takes_one_place) {
  insert("alice",
         "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 300)");
  auto dora = database_.connect("dora");
  pqxx::work tx(*dora);
  tx.exec("SELECT parkd.cancel_v1(id, '') FROM parkd.live");
  EXPECT_EQ(
      database_.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR relation "
                       "IN (SELECT began FROM parkd_private.finishing)"),
      1);
}

}  // namespace
}  // namespace parkd
