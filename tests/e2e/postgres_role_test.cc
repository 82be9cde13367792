// All that a daemon does, as a login that has the role parkd_daemon and nothing else.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/e2e/postgres_sessions.h"

namespace parkd::testing {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Neither the server nor a daemon has said no to anybody.
void expect_nothing_was_forbidden(ServerLog& log, const PostgresWorld& world) {
  for (const char* no : {"permission denied", "must be owner", "row-level security"}) {
    EXPECT_FALSE(log.has(no)) << log.text();
  }
  for (const auto& daemon : world.daemons()) {
    for (const char* failure : {"store.purge_failed", "postgres.refused", "store.retry"}) {
      EXPECT_FALSE(has(daemon->log(), failure)) << daemon->log();
    }
  }
}

void wait_until_true(const PostgresWorld& world, const std::string& condition) {
  PostgresWorld::wait_until([&] { return world.value("SELECT " + condition) == "t"; });
}

// A drop that finds the table read gives up for five minutes: here these reads are the test's own.
void wait_until_dropped(const PostgresWorld& world, const std::string& partition) {
  PostgresWorld::wait_until([&] {
    world.run("UPDATE parkd.past_partitions SET retry_at = now()");
    return world.value("SELECT to_regclass('parkd." + partition + "') IS NULL") == "t";
  });
}

TEST(PostgresRole, the_login_of_these_tests_has_parkd_daemon_and_nothing_else) {
  PostgresWorld world;
  EXPECT_EQ(world.value("SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE "
                        "member = 'parkd_worker'::regrole"),
            "parkd_daemon");
  EXPECT_EQ(world.number("SELECT count(*) FROM pg_auth_members WHERE member = "
                         "'parkd_daemon'::regrole"),
            0);
  EXPECT_EQ(world.number("SELECT count(*) FROM pg_shdepend WHERE deptype = 'o' AND refobjid IN "
                         "('parkd_worker'::regrole, 'parkd_daemon'::regrole)"),
            0)
      << "it owns something";
  EXPECT_EQ(world.value("SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR "
                        "rolreplication FROM pg_roles WHERE rolname = 'parkd_worker'"),
            "f");
}

TEST(PostgresRole, suffices_for_housekeeping) {
  PostgresWorld world;
  ServerLog log;
  world.run("INSERT INTO parkd.models (name) VALUES ('tiny')");
  // For each step something to do. A daemon that is gone held a job,
  world.insert_jobs(1, 4, "rescued");
  world.run("SELECT parkd.register_v1('h', 1, 'v', '1 hour')");
  world.run("SELECT parkd.claim_v1((SELECT id FROM parkd.daemons), 'tiny', 1)");
  world.run("UPDATE parkd.daemons SET beat_at = now() - interval '2 hours'");
  const std::string body = "'{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'";
  world.run("INSERT INTO parkd.jobs (model, body, mailbox_key, run_at) VALUES ('tiny', " + body +
            ", 'scheduled', now() + interval '500 ms')");
  world.run("INSERT INTO parkd.jobs (model, body, mailbox_key, run_at) VALUES ('tiny', " + body +
            ", 'to be counted', now() + interval '1 day')");
  world.run("INSERT INTO parkd.jobs (model, body, mailbox_key, deadline) VALUES ('tiny', " + body +
            ", 'late', now() + interval '1 day')");
  world.run(
      "UPDATE parkd.jobs SET state = 'scheduled', run_at = now() + interval '1 hour', deadline = "
      "now() - interval '1 s' WHERE mailbox_key = 'late'");
  // the last day ahead has no partition, a past one has,
  world.run(
      "DO $$ BEGIN EXECUTE 'DROP TABLE parkd.mailbox_' || "
      "to_char((now() + interval '32 days') AT TIME ZONE 'UTC', 'YYYYMMDD'); END $$");
  world.run(
      "SELECT parkd.ensure_partition_v1('mailbox', '2020-01-01Z', '2020-01-02Z'), "
      "parkd.ensure_partition_v1('history', '2020-01-06Z', '2020-01-13Z')");
  // a batch and a key whose time is over, a limit, and dead rows, which are the owner's to vacuum.
  world.run("SELECT parkd.open_batch(p_idempotency_key => 'old')");
  world.run(
      "UPDATE parkd.batches SET created_at = now() - interval '90 days', deadline = now() - "
      "interval "
      "'89 days', sealed_at = now() - interval '80 days', finished_at = now() - interval '80 "
      "days'");
  world.run("INSERT INTO parkd.limits VALUES ('tiny', 100000, 'refuse')");
  world.run("ALTER TABLE parkd.idempotency SET (autovacuum_enabled = off)");
  world.run(
      "INSERT INTO parkd.idempotency (tenant, key, job_id, check_at, content_hash) SELECT 't', "
      "i::text, 1000000 + i, '2020-01-01', '' FROM generate_series(1, 9000) i; "
      "DELETE FROM parkd.idempotency WHERE job_id > 1000001");

  const DaemonProcess& daemon = world.start_daemon(eight_sequences());
  world.wait_for_messages(3);
  EXPECT_EQ(world.value("SELECT string_agg(mailbox_key || ' ' || outcome, ',' ORDER BY "
                        "mailbox_key) FROM parkd.results"),
            "late deadline_missed,rescued completed,scheduled completed");
  wait_until_true(world,
                  "to_regclass('parkd.mailbox_' || to_char((now() + interval '32 days') AT "
                  "TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL");
  wait_until_dropped(world, "mailbox_20200101");
  wait_until_dropped(world, "history_20200106");
  wait_until_true(world, "NOT EXISTS (SELECT FROM parkd.batches)");
  wait_until_true(world, "NOT EXISTS (SELECT FROM parkd.idempotency)");
  wait_until_true(world, "EXISTS (SELECT FROM parkd.depth_samples WHERE model = 'tiny')");
  PostgresWorld::wait_until([&] { return has(daemon.log(), "postgres.dead_rows_pile_up"); });
  EXPECT_TRUE(has(daemon.log(), "parkd_worker may not vacuum it")) << daemon.log();
  expect_nothing_was_forbidden(log, world);
}

TEST(PostgresRole, suffices_for_everything_asked_by_http) {
  PostgresWorld world;
  ServerLog log;
  DaemonSetup setup = eight_sequences();
  setup.context_tokens = 32768;
  DaemonProcess& daemon = world.start_daemon(setup);
  const auto client = daemon.client("default");
  const auto post = [&](const std::string& path, const json::object& body, int expected) {
    const HttpAnswer answer = must(client->post(path, body));
    EXPECT_EQ(answer.status, expected) << path << " " << answer.text;
    return answer;
  };
  json::object keyed = chat_job("box");
  keyed["idempotency_key"] = "once";
  EXPECT_EQ(submit(*client, keyed), submit(*client, keyed));
  wait_for_messages(*client, "box", 1);
  const std::string waiting = std::to_string(submit(*client, far_future(chat_job("box"))));
  post("/v1/jobs/" + waiting + "/cancel", {}, 200);
  post("/v1/jobs/requeue", {{"ids", json::array{std::stoll(waiting)}}}, 202);
  post("/v1/mailbox/box/take", {{"limit", 1}}, 200);
  const std::string batch =
      text_at(post("/v1/batches", {{"idempotency_key", "b"}}, 201).json, "id");
  json::object member = chat_job("box");
  member["batch_id"] = batch;
  post("/v1/jobs", member, 202);
  post("/v1/batches/" + batch + "/seal", {}, 200);
  post("/v1/batches/" + batch + "/cancel", {}, 200);
  for (const std::string& path :
       {std::string("/v1/jobs"), "/v1/jobs/" + waiting, std::string("/v1/batches"),
        "/v1/batches/" + batch, std::string("/v1/models"), std::string("/v1/pool"),
        std::string("/readyz"), std::string("/metrics"), std::string("/v1/mailbox/box")}) {
    EXPECT_EQ(must(client->get(path)).status, 200) << path;
  }
  // Asked of the database, carried out by the daemon. The job does not end by itself till then.
  world.insert_jobs(1, 30'000, "stopped", 8);
  wait_until_true(world, "EXISTS (SELECT FROM parkd.live WHERE state = 'running')");
  world.run("SELECT parkd.cancel(id) FROM parkd.jobs WHERE mailbox_key = 'stopped'");
  wait_until_true(world, "EXISTS (SELECT FROM parkd.results WHERE mailbox_key = 'stopped')");
  EXPECT_EQ(world.value("SELECT outcome FROM parkd.results WHERE mailbox_key = 'stopped'"),
            "cancelled");
  daemon.signal(SIGTERM);
  ASSERT_TRUE(daemon.wait_for_end(std::chrono::seconds(60)));
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.daemons WHERE lost_at IS NULL"), 0)
      << "it has said that it left";
  expect_nothing_was_forbidden(log, world);
}

TEST(PostgresRole, suffices_for_an_outbox) {
  PostgresWorld world;
  ServerLog log;
  DaemonSetup setup = eight_sequences();
  setup.more_lot =
      "  queue:\n    backend: rocksdb\n  mailbox:\n    backend: postgres\n    "
      "postgres_url: " +
      world.access().url + "\n";
  world.run("SELECT parkd.ensure_partition_v1('mailbox', '2020-01-01Z', '2020-01-02Z')");
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const auto client = daemon.client("default");
  submit(*client, chat_job("pair"));
  submit(*client, chat_job("pair"));
  EXPECT_EQ(wait_for_messages(*client, "pair", 2).size(), 2u);
  EXPECT_EQ(must(client->post("/v1/mailbox/pair/take", json::object{{"limit", 1}})).status, 200);
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.mailbox"), 1);
  wait_until_dropped(world, "mailbox_20200101");
  EXPECT_FALSE(has(daemon.log(), "store.purge_failed")) << daemon.log();
  expect_nothing_was_forbidden(log, world);
}

#ifdef PARKD_KILL_POINTS
TEST(PostgresRole, suffices_to_note_a_death_and_to_quarantine) {
  PostgresWorld world;
  ServerLog log;
  DaemonProcess& daemon = world.add_daemon(eight_sequences());
  const DaemonProcess::Environment armed = {{"PARKD_POISON", "666:segv:2"}};
  ASSERT_TRUE(daemon.start(armed));
  daemon.wait_for_model();
  // By SQL: over HTTP the daemon could die before it has answered.
  world.run(
      "INSERT INTO parkd.jobs (model, body) VALUES ('tiny', "
      R"('{"messages":[{"role":"user","content":"Die."}],"max_tokens":4,"seed":666}'))");
  PostgresWorld::wait_until([&] {
    if (!daemon.running()) daemon.start(armed);
    return world.number("SELECT count(*) FROM parkd.mailbox") == 1;
  });
  EXPECT_EQ(world.value("SELECT outcome FROM parkd.mailbox"), "quarantined");
  expect_nothing_was_forbidden(log, world);
}
#endif

}  // namespace
}  // namespace parkd::testing
