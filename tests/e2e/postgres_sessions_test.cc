// The sessions of a real daemon: how many, with which limits, and with LISTEN or without.
#include <gtest/gtest.h>

#include <thread>

#include "tests/e2e/postgres_sessions.h"

namespace parkd::testing {
namespace {

constexpr const char* kAllNames =
    "parkd-beat,parkd-claim,parkd-files,parkd-finish,parkd-read,parkd-submit,parkd-upkeep";

void log_statements(const PostgresWorld& world) {
  world.run(
      "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = ''all''', "
      "current_database()); END $$");
}

TEST(PostgresSessions, each_lane_has_its_name_and_limits) {
  PostgresWorld world;
  note_sessions(world);
  const DaemonProcess& daemon = world.start_daemon(
      eight_sequences(),
      {world.access().url, "beat_ms: 300, ttl_ms: 12000, poll_ms: 300, statement_limit_ms: 7000"});
  use_every_lane(world, daemon);
  EXPECT_EQ(noted_limits(world),
            "parkd-beat 2s 0 30s\n"  // a sixth of the ttl, so that more than one try fits in
            "parkd-claim 7s 200ms 30s\n"
            "parkd-finish 7s 200ms 30s\n"
            "parkd-read 7s 200ms 30s\n"
            "parkd-submit 7s 200ms 30s\n"
            "parkd-upkeep 10min 200ms 30s");
}

// The login's limit is the proof: an eighth session would be refused, however short its life.
TEST(PostgresSessions, a_daemon_needs_seven_under_load_and_opens_each_once) {
  PostgresWorld world;
  world.run("DROP ROLE IF EXISTS parkd_seven");
  world.run("CREATE ROLE parkd_seven LOGIN IN ROLE parkd_daemon CONNECTION LIMIT 7");
  ServerLog log;
  Access seven = world.access();
  seven.url = world.dsn_as("parkd_seven");
  const DaemonProcess& daemon = world.start_daemon(eight_sequences(), seven);
  constexpr int kClients = 4;
  constexpr int kEach = 10;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&daemon, key = "client-" + std::to_string(i)] {
      const auto client = daemon.client("default");
      for (int n = 0; n < kEach; ++n) submit(*client, chat_job(key, 20));
      must(client->get("/v1/jobs"));
      must(client->post("/v1/batches", json::object()));
      must(client->get("/v1/files"));
      EXPECT_EQ(wait_for_messages(*client, key, kEach).size(), size_t{kEach});
    });
  }
  world.insert_jobs(100, 20);
  for (std::thread& client : clients) client.join();
  world.wait_for_messages(100 + kClients * kEach);
  const std::string ours = " FROM pg_stat_activity WHERE usename = 'parkd_seven'";
  const std::string refused = "too many connections for role";
  PostgresWorld::wait_until(
      [&] { return world.number("SELECT count(*)" + ours) >= 7 || log.has(refused); });
  EXPECT_EQ(
      world.value("SELECT string_agg(application_name, ',' ORDER BY application_name)" + ours),
      kAllNames);
  EXPECT_EQ(metric(daemon, "parkd_store_sessions_opened_total"), 6) << "all but the files'";
  EXPECT_FALSE(log.has(refused)) << log.text();
}

TEST(PostgresSessions, a_daemon_listens) {
  PostgresWorld world;
  log_statements(world);
  ServerLog log;
  world.start_daemon(eight_sequences());
  for (const char* channel : {"parkd_work", "parkd_cancel", "parkd_results"}) {
    EXPECT_TRUE(log.has("LISTEN \"" + std::string(channel) + "\"")) << log.text();
  }
  PostgresWorld::wait_until(
      [&] { return world.number("SELECT count(*) FROM parkd.waiters") == 1; });
}

TEST(PostgresSessions, a_daemon_that_polls_alone_listens_to_nothing_and_finds_a_plain_insert) {
  PostgresWorld world;
  log_statements(world);
  ServerLog log;
  Access polling = world.access();
  polling.keys += ", listen: false";
  world.start_daemon(eight_sequences(), polling);
  for (int64_t n = 1; n <= 3; ++n) {  // each found by another look
    world.insert_jobs(1, 4);
    world.wait_for_messages(n);
  }
  world.expect_each_job_answered_once(3);
  // It has gone short, and nobody is told: a NOTIFY would cost each submitter's commit a lock.
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.waiters"), 0);
  EXPECT_FALSE(log.has("LISTEN")) << log.text();
}

}  // namespace
}  // namespace parkd::testing
