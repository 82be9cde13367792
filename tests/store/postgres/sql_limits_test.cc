// The depth limit of the database, at every SQL door.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/store/postgres/roles_world.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

TEST_F(Roles, a_full_queue_refuses_by_the_last_sample_or_waits) {
  database_.run("INSERT INTO parkd.limits VALUES ('m', 3, 'refuse', 3)");
  insert("alice",
         "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 3)");
  database_.run("SELECT parkd.sample_depth_v1()");
  EXPECT_TRUE(has(refused("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"),
                  "depth 3, limit 3"));
  EXPECT_TRUE(has(refused("alice",
                          "SET parkd.on_full = 'wait'; SET statement_timeout = '300ms'; "
                          "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"),
                  "statement timeout"));
  EXPECT_TRUE(has(refused("alice",
                          "SET parkd.on_full = 'wait'; SET parkd.wait_at_most = '0.3 s'; "
                          "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"),
                  "No room appeared within 00:00:00.3"));
  EXPECT_TRUE(has(refused("alice",
                          "SET parkd.on_full = 'wait'; BEGIN ISOLATION LEVEL REPEATABLE READ; "
                          "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"),
                  "READ COMMITTED"));
  finish_all();
  database_.run("SELECT parkd.sample_depth_v1()");
  EXPECT_EQ(refused("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"), "");
}

TEST_F(Roles, a_waiter_goes_on_when_room_appears) {
  database_.run("INSERT INTO parkd.limits VALUES ('m', 3, 'wait', 3)");
  insert("alice",
         "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 3)");
  auto waiting = std::async(std::launch::async, [&] {
    return refused("bob",
                   "SET parkd.wait_at_most = '10 minutes'; INSERT INTO parkd.jobs (model, body) "
                   "VALUES ('m', '{}')");
  });
  while (database_.number("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bob' AND "
                          "datname = current_database() AND wait_event = 'PgSleep'") == 0 &&
         waiting.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 3) << "bob waits";
  finish_all();
  EXPECT_EQ(waiting.get(), "");
  EXPECT_EQ(database_.value("SELECT string_agg(tenant, ',') FROM parkd.jobs"), "bob");
}

// No daemon, no housekeeping: nobody samples.
TEST_F(Roles, a_limit_holds_without_a_sample_and_in_spite_of_an_old_one) {
  database_.run("INSERT INTO parkd.limits VALUES ('', 3, 'refuse', 3)");
  const std::string one = "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')";
  EXPECT_EQ(refused("alice",
                    "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM "
                    "generate_series(1, 2)"),
            "");
  EXPECT_EQ(refused("alice", one), "") << "the third, not counted twice";
  EXPECT_TRUE(has(refused("alice", one), "depth 3, limit 3"));
  EXPECT_TRUE(has(refused("alice", "SELECT * FROM parkd.submit('{\"model\":\"m\",\"body\":{}}')"),
                  "depth 3, limit 3"));
  // A sample of a full queue that nobody renews.
  database_.run("SELECT parkd.sample_depth_v1()");
  finish_all();
  EXPECT_TRUE(has(refused("alice", one), "depth 3, limit 3")) << "fresh";
  database_.run(
      "UPDATE parkd.depth_samples SET sampled_at = now() - interval '16 s', took = '1 ms'");
  EXPECT_EQ(refused("alice", one), "");
}

TEST_F(Roles, limits_hold_for_each_tenant_by_every_sql_door) {
  database_.run("INSERT INTO parkd.limits VALUES ('m', 5, 'refuse')");  // of a tenant three
  database_.run("UPDATE parkd.settings SET max_scheduled_per_tenant = 2, max_open_batches = 2");
  const auto inserted = [](int n, const std::string& more = "", const std::string& value = "") {
    return "INSERT INTO parkd.jobs (model, body" + more + ") SELECT 'm', '{}'" + value +
           " FROM generate_series(1, " + std::to_string(n) + ")";
  };
  EXPECT_TRUE(has(refused("alice", inserted(4)), "depth 0, limit 3 a tenant; 4 were submitted"));
  EXPECT_TRUE(has(refused("alice", inserted(4)), "submit them in pieces"));
  const std::string batch = value("alice", "SELECT parkd.open_batch()");
  insert("alice", inserted(1));
  insert("alice", inserted(2, ", batch_id", ", '" + batch + "'"));
  const std::string copied = "INSERT INTO parkd.jobs_copy (model, body) VALUES ('m', '{}')";
  const std::string called = "SELECT * FROM parkd.submit('{\"model\":\"m\",\"body\":{}}')";
  for (const std::string& sql :
       {inserted(1), inserted(1, ", batch_id", ", '" + batch + "'"), copied, called}) {
    EXPECT_TRUE(has(refused("alice", sql), "full for tenant alice: depth 3, limit 3 a tenant"))
        << sql;
  }
  EXPECT_TRUE(has(refused("alice", inserted(1)), "An administrator sets parkd.limits"));
  EXPECT_EQ(refused("bob", inserted(2)), "") << "alice's limit is not his";
  EXPECT_TRUE(has(refused("bob", inserted(1)), "the queue of model m is full: depth 5, limit 5"));

  const std::string later = inserted(1, ", run_at", ", now() + interval '1 h'");
  for (const char* login : {"alice", "bob"}) {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(refused(login, later), "") << "an account of their own";
    EXPECT_TRUE(
        has(refused(login, later),
            std::string("tenant ") + login + " has 2 scheduled jobs of model m waiting, limit 2"));
  }
  // The same by the samples of housekeeping.
  database_.run("SELECT parkd.sample_depth_v1()");
  EXPECT_TRUE(has(refused("alice", inserted(1)), "full for tenant alice: depth 3"));
  EXPECT_TRUE(has(refused("alice", later), "2 scheduled jobs"));
  EXPECT_EQ(database_.value("SELECT concat_ws('|', waiting, scheduled) FROM parkd.tenant_samples "
                            "WHERE tenant = 'bob'"),
            "2|2");

  EXPECT_EQ(refused("alice", "SELECT parkd.open_batch()"), "");
  EXPECT_TRUE(has(refused("alice", "SELECT parkd.open_batch()"),
                  "tenant alice has 2 batches that are not finished, the limit is 2"));
  EXPECT_EQ(refused("bob", "SELECT parkd.open_batch()"), "");

  // What is requeued needs room as well.
  database_.run("DELETE FROM parkd.depth_samples");
  const std::string id = value("bob", "SELECT min(id) FROM parkd.jobs");
  insert("bob", "SELECT parkd.cancel(" + id + ")");
  EXPECT_EQ(refused("bob", inserted(1)), "") << "what is cancelling waits no more";
  database_.run("SELECT * FROM parkd.end_cancelled_v1(0)");  // as a daemon does
  EXPECT_TRUE(
      has(refused("bob", "SELECT * FROM parkd.requeue(ARRAY[" + id + "])"), "depth 5, limit 5"));
}

TEST_F(Roles, a_client_cannot_say_that_the_limit_was_looked_at) {
  database_.run("INSERT INTO parkd.limits VALUES ('m', 1, 'refuse')");
  insert("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  for (const char* word : {"held", "anything"}) {
    EXPECT_TRUE(has(refused("alice", "SET parkd.on_full = '" + std::string(word) +
                                         "'; INSERT INTO parkd.jobs (model, body) VALUES ('m', "
                                         "'{}')"),
                    "SET parkd.on_full = 'wait' or 'refuse'"))
        << word;
  }
}

}  // namespace
}  // namespace parkd
