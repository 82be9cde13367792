// A real daemon behind pgbouncer in transaction mode (tests/store/postgres/with_pgbouncer.sh),
// where each transaction may have another session and notifications do not pass.
#include <gtest/gtest.h>

#include <pqxx/pqxx>
#include <set>

#include "tests/e2e/postgres_sessions.h"

namespace parkd::testing {
namespace {

constexpr size_t kPoolSize = 4;  // with_pgbouncer.sh

std::string pooled(const PostgresWorld& world) {
  const std::string host = std::getenv("PARKD_TEST_POOLER");
  return world.dsn_as("parkd_worker") + " " + host;  // the last host and port count
}

Access both_ways(const PostgresWorld& world, const std::string& keys) {
  return {pooled(world),
          "transaction_pooling: true, listen_dsn: '" + world.dsn_as("parkd_worker") + "', " + keys};
}

// Ten jobs, each inserted when the one before it is answered. Seconds of the database's clock.
double seconds_for_ten_in_turn(const PostgresWorld& world) {
  for (int64_t n = 1; n <= 10; ++n) {
    world.insert_jobs(1, 4);
    world.wait_for_messages(n);
  }
  world.expect_each_job_answered_once(10);
  return std::stod(world.value(
      "SELECT extract(epoch FROM max(finished_at) - min(created_at)) FROM parkd.history"));
}

TEST(PostgresPooler, notifications_take_listen_dsn_past_the_pooler) {
  PostgresWorld world;
  constexpr double kPollMin = 7.5;  // ten seconds, less a quarter of jitter
  world.start_daemon(eight_sequences(),
                     both_ways(world, "poll_ms: 10000, beat_ms: 60000, ttl_ms: 600000"));
  PostgresWorld::wait_until(
      [&] { return world.number("SELECT count(*) FROM parkd.waiters") == 1; });
  EXPECT_LT(seconds_for_ten_in_turn(world), 9 * kPollMin)
      << "polling would have found them: one a look";
}

TEST(PostgresPooler, without_listen_dsn_it_does_not_start_and_says_what_to_set) {
  PostgresWorld world;
  DaemonProcess& daemon =
      world.add_daemon(eight_sequences(), {pooled(world), "transaction_pooling: true"});
  EXPECT_FALSE(daemon.start());
  EXPECT_NE(daemon.log().find("notifications do not pass a pooler that shares sessions: set "
                              "listen_dsn straight to the server, or listen: false"),
            std::string::npos)
      << daemon.log();
}

TEST(PostgresPooler, without_listen_dsn_polling_alone_finds_work) {
  PostgresWorld world;
  world.start_daemon(eight_sequences(),
                     {pooled(world), "transaction_pooling: true, listen: false, poll_ms: 300"});
  seconds_for_ten_in_turn(world);
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.waiters"), 0);
}

TEST(PostgresPooler, limits_end_with_their_transaction) {
  PostgresWorld world;
  note_sessions(world);
  const DaemonProcess& daemon = world.start_daemon(
      eight_sequences(),
      both_ways(world, "beat_ms: 300, ttl_ms: 12000, poll_ms: 300, statement_limit_ms: 7000"));
  use_every_lane(world, daemon);
  EXPECT_EQ(noted_limits(world),
            "parkd-beat 2s 0 30s\n"
            "parkd-claim 7s 200ms 30s\n"
            "parkd-finish 7s 200ms 30s\n"
            "parkd-read 7s 200ms 30s\n"
            "parkd-submit 7s 200ms 30s\n"
            "parkd-upkeep 10min 200ms 30s");

  // Other clients of the pool, as many as it has sessions: so they see each of them.
  std::vector<std::unique_ptr<pqxx::connection>> clients;
  std::vector<std::unique_ptr<pqxx::work>> transactions;
  int64_t n_shared = 0;
  for (size_t i = 0; i < kPoolSize; ++i) {
    clients.push_back(std::make_unique<pqxx::connection>(pooled(world)));
    transactions.push_back(std::make_unique<pqxx::work>(*clients.back()));
    const pqxx::row session = transactions.back()->exec1(
        "SELECT concat_ws(' ', current_setting('statement_timeout'), "
        "current_setting('lock_timeout'), "
        "current_setting('idle_in_transaction_session_timeout')), pg_backend_pid()");
    EXPECT_STREQ(session[0].c_str(), "0 0 0") << "a limit of the daemon's is left in the session";
    n_shared +=
        world.number("SELECT count(*) FROM public.noted WHERE name <> 'parkd-beat' AND pid = " +
                     std::string(session[1].c_str()));
  }
  EXPECT_GT(n_shared, 0) << "the daemon has used none of these";
}

}  // namespace
}  // namespace parkd::testing
