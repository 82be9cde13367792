// What clients of the database may stop: their own jobs, however many, and nobody's results.
#include <set>

#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

class Cancels : public PostgresStoreTest {
 protected:
  static void SetUpTestSuite() {
    pqxx::connection connection("dbname=postgres");
    pqxx::nontransaction tx(connection);
    { const TestDatabase creates_the_roles; }
    for (const char* login : {"carla", "dario"}) {
      tx.exec("DO $$ BEGIN IF to_regrole('" + std::string(login) + "') IS NULL THEN CREATE ROLE " +
              login + " LOGIN IN ROLE parkd_submitter, parkd_reader; END IF; END $$");
    }
  }

  void SetUp() override { database_.run("INSERT INTO parkd.models (name) VALUES ('m')"); }

  std::string value(const std::string& login, const std::string& sql) {
    const auto session = database_.connect(login);
    return pqxx::nontransaction(*session).exec1(sql)[0].c_str();
  }
  void insert(const std::string& login, int n, const std::string& key = "box") {
    const auto session = database_.connect(login);
    pqxx::nontransaction(*session).exec(
        "INSERT INTO parkd.jobs (model, body, mailbox_key) SELECT 'm', '{}', '" + key +
        "' FROM generate_series(1, " + std::to_string(n) + ")");
  }
  // One of dario's jobs, from its INSERT to his reading of the result.
  bool dario_is_served(StoreRig& daemon, const std::string& key) {
    insert("dario", 1, key);
    const auto jobs = daemon.driver->claim("m", 1).value();
    if (jobs.size() != 1 || jobs[0].spec.mailbox_key != key) return false;
    if (daemon.driver->finish({{jobs[0].id, jobs[0].lease, ending("{}")}})->at(0) !=
        FinishAnswer::finished_now) {
      return false;
    }
    return value("dario", "SELECT count(*) FROM parkd.fetch('" + key + "')") == "1";
  }
  void expect_ended_as_cancelled(int64_t n) {
    EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
    EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox WHERE outcome = 'cancelled' AND "
                               "status_code = 499"),
              n);
  }
};

TEST_F(Cancels, a_job_that_is_cancelling_never_runs_and_ends_as_cancelled) {
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run("INSERT INTO parkd.tenants VALUES ('carla', 1, true)");
  const auto session = database_.connect("carla");
  {
    pqxx::nontransaction tx(*session);
    tx.exec(
        "INSERT INTO parkd.jobs (model, body, mailbox_key, priority, run_at, deadline, "
        "idempotency_key) VALUES ('m', '{}', 'box', 'critical', NULL, NULL, 'a'), ('m', '{}', "
        "'box', 'normal', NULL, now() + interval '1 hour', 'b'), ('m', '{}', 'box', 'low', now() + "
        "interval '1 day', NULL, 'c')");
    for (const auto& row : tx.exec("SELECT id, parkd.cancel(id) FROM parkd.jobs")) {
      EXPECT_STREQ(row[1].c_str(), "cancelling");
    }
    EXPECT_STREQ(tx.exec1("SELECT string_agg(DISTINCT state, ' ') FROM parkd.live")[0].c_str(),
                 "cancelling");
    EXPECT_STREQ(
        tx.exec1("SELECT string_agg(DISTINCT parkd.cancel(id), ' ') FROM parkd.live")[0].c_str(),
        "cancelling")
        << "as often as it is asked";
    tx.exec(
        "INSERT INTO parkd.jobs (model, body, mailbox_key, priority, idempotency_key) VALUES ('m', "
        "'{}', 'box', 'critical', 'a')");
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 3) << "its key still holds";
  database_.run(
      "UPDATE parkd.jobs SET deadline = now() - interval '1 s', run_at = now() - interval '1 s'");
  EXPECT_TRUE(daemon.driver->claim("m", 10)->empty());
  ListFilter filter;
  filter.state = JobState::cancelling;
  EXPECT_EQ(daemon.driver->list(filter)->size(), 3u);
  database_.run("SELECT parkd.sample_depth_v1()");
  EXPECT_EQ(database_.number("SELECT sum(waiting) FROM parkd.depth_samples"), 0);
  const auto purged = daemon.driver->purge();
  EXPECT_EQ(purged->deadlines_missed, 0) << "the cancel came first";
  expect_ended_as_cancelled(3);
  EXPECT_EQ(daemon.driver->told().messages.size(), 3u) << "who waits for the key is told";
}

TEST_F(Cancels, are_carried_out_on_notification_by_whoever_runs) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.listen = true;
  StoreRig first(options);
  StoreRig second(options);
  insert("carla", 1200);
  EXPECT_EQ(value("carla", "SELECT parkd.cancel_all()"), "1200");
  EXPECT_TRUE(eventually([&] { return database_.number("SELECT count(*) FROM parkd.jobs") == 0; }));
  expect_ended_as_cancelled(1200);
}

TEST_F(Cancels, of_a_batch_pass_over_what_an_open_transaction_holds) {
  StoreRig daemon(quiet_options(database_.dsn()));
  const auto session = database_.connect("carla");
  std::string batch;
  {
    pqxx::nontransaction tx(*session);
    batch = tx.exec1("SELECT parkd.open_batch()")[0].c_str();
    tx.exec("INSERT INTO parkd.jobs (model, body, batch_id) SELECT 'm', '{}', '" + batch +
            "' FROM generate_series(1, 700)");
    tx.exec("INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 30)");
    tx.exec("SELECT parkd.cancel_all()");
  }
  auto idler = std::make_unique<Idler>(
      database_,
      "SELECT FROM parkd.batches FOR UPDATE; SELECT FROM parkd.jobs WHERE id = (SELECT "
      "max(id) FROM parkd.jobs) FOR UPDATE");
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 701);
  idler.reset();
  ASSERT_TRUE(daemon.driver->purge().ok());
  expect_ended_as_cancelled(730);
  EXPECT_EQ(daemon.driver->get_batch(batch, "")->cancelled, 700);
}

// No lock but those of rows, however many, and others get on while the statement's transaction is
// open.
using Statements = std::pair<int, const char*>;  // jobs, and what cancels them all
class ManyCancels : public Cancels, public testing::WithParamInterface<Statements> {};

TEST_P(ManyCancels, are_one_cheap_statement_that_holds_up_nobody) {
  const auto [n_jobs, statement] = GetParam();
  StoreRig daemon(quiet_options(database_.dsn()));
  const auto session = database_.connect("carla");
  {
    pqxx::nontransaction tx(*session);
    tx.exec(
        "INSERT INTO parkd.jobs (model, body, batch_id) SELECT 'm', '{}', b FROM "
        "parkd.open_batch() b, generate_series(1, " +
        std::to_string(n_jobs) + ")");
  }
  const auto running = daemon.driver->claim("m", 10).value();
  ASSERT_EQ(running.size(), 10u);
  {
    pqxx::work tx(*session);
    tx.exec("SET LOCAL idle_in_transaction_session_timeout = 0");
    tx.exec(statement);
    EXPECT_LT(tx.exec1("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")[0].as<int>(),
              100);
    EXPECT_TRUE(dario_is_served(daemon, "his"));
    EXPECT_TRUE(daemon.driver->purge().ok());
    EXPECT_EQ(daemon.driver->told().cancels.size(), 0u) << "nothing is committed yet";
    tx.commit();
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'cancelling'"),
            n_jobs - 10);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'claimed' AND "
                             "cancel_at IS NOT NULL"),
            10);
  EXPECT_TRUE(dario_is_served(daemon, "again"));
  EXPECT_TRUE(eventually([&] {
    return daemon.driver->purge().ok() &&
           database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'cancelling'") == 0;
  }));
  std::vector<ReleaseItem> back;
  for (const Job& job : running) {
    ReleaseItem item;
    item.id = job.id;
    item.lease = job.lease;
    back.push_back(item);
  }
  ASSERT_TRUE(daemon.driver->release(back).ok());
  expect_ended_as_cancelled(n_jobs);
  EXPECT_EQ(database_.number("SELECT cancelled FROM parkd.batches"), n_jobs);
}

INSTANTIATE_TEST_SUITE_P(
    Cancels, ManyCancels,
    testing::Values(
        Statements(20'000,
                   "SELECT count(*) FROM parkd.cancel_jobs(ARRAY(SELECT id FROM parkd.jobs))"),
        Statements(1500, "SELECT count(parkd.cancel(id)) FROM parkd.jobs"),
        Statements(1500, "SELECT parkd.cancel_batch(id) FROM parkd.batch_status"),
        Statements(1500, "SELECT parkd.cancel_all()"),
        Statements(1500, "SELECT parkd.cancel_all('m')")));

// Every function that a client may call, in one transaction that stays open, with what else a
// client may do: all of it holds up the client's own jobs at most.
TEST_F(Cancels, nothing_that_a_client_may_call_holds_up_anybodys_results) {
  StoreRig daemon(quiet_options(database_.dsn()));
  // Arithmetic, and what looks.
  const std::set<std::string> harmless = {
      "acts_for_any", "my_tenant",         "us_v1",       "from_us_v1",   "need_tokens_v1",
      "delay_v1",     "new_seed_v1",       "is_plain_v1", "body_rule_v1", "new_mailbox_key_v1",
      "is_wrong_v1",  "is_whole_v1",       "bounds_v1",   "list_v1",      "list_until_v1",
      "is_deep_v1",   "may_be_doubled_v1", "endpoints_v1"};
  insert("carla", 8, "carlas");
  const auto done = daemon.driver->claim("m", 4).value();
  ASSERT_EQ(done.size(), 4u);
  Ending failed = ending("");
  failed.outcome = Outcome::failed;
  failed.error_code = "run_timeout";
  for (const Job& job : done) {
    ASSERT_TRUE(daemon.driver->finish({{job.id, job.lease, failed}}).ok());
  }
  const std::string batch = value("carla", "SELECT parkd.open_batch()");
  const std::string live = value("carla", "SELECT min(id) FROM parkd.jobs");
  const std::vector<std::pair<std::string, std::string>> calls = {
      {"submit",
       "submit('{\"model\": \"m\", \"body\": {}, \"idempotency_key\": \"k\", \"batch_id\": \"" +
           batch + "\"}')"},
      {"fetch", "fetch('carlas')"},
      {"results_payload", "results_payload('carlas')"},
      {"take", "take('carlas', 1)"},
      {"requeue", "requeue(p_error_code => 'run_timeout')"},
      {"open_batch", "open_batch(p_idempotency_key => 'k')"},
      {"cancel", "cancel(" + live + ")"},
      {"cancel_jobs", "cancel_jobs(ARRAY[" + live + " + 1])"},
      {"seal_batch", "seal_batch('" + batch + "')"},
      {"cancel_batch", "cancel_batch('" + batch + "')"},
      {"cancel_all", "cancel_all()"}};
  const auto session = database_.connect("carla");
  pqxx::work tx(*session);
  tx.exec("SET idle_in_transaction_session_timeout = 0");
  tx.exec("INSERT INTO parkd.jobs (model, body, batch_id) VALUES ('m', '{}', '" + batch + "')");
  tx.exec("INSERT INTO parkd.jobs_copy (model, body) VALUES ('m', '{}')");
  std::set<std::string> known = harmless;
  for (const auto& [name, call] : calls) {
    known.insert(name);
    ASSERT_NO_THROW(tx.exec("SELECT * FROM parkd." + call)) << name;
  }
  for (const auto& row :
       tx.exec("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'parkd'::regnamespace "
               "AND has_function_privilege(oid, 'EXECUTE')")) {
    EXPECT_EQ(known.count(row[0].c_str()), 1u) << row[0].c_str() << ": say here how it is called";
  }
  EXPECT_EQ(tx.exec("SELECT relation::regclass FROM pg_locks WHERE pid = pg_backend_pid() AND "
                    "mode <> 'AccessShareLock' AND relation::regclass::text ~ "
                    "'parkd_private|message_sequence'")
                .size(),
            0u);
  EXPECT_TRUE(dario_is_served(daemon, "his"));
  const auto purged = daemon.driver->purge();
  EXPECT_TRUE(purged.ok()) << purged.status().to_string();
  EXPECT_EQ(database_.value("SET lock_timeout = '5s'; SELECT parkd.ensure_partition_v1('mailbox', "
                            "'2031-01-01Z', '2031-01-02Z')"),
            "t");
}

// The places among the finishes are 64: who comes later waits for one, and its results are behind
// the horizon all the same.
TEST_F(Cancels, more_finishes_at_once_than_places_wait_and_skip_nothing) {
  constexpr int kPlaces = 64;
  StoreRig daemon(quiet_options(database_.dsn()));
  insert("dario", 2, "his");
  const auto jobs = daemon.driver->claim("m", 2).value();
  std::vector<std::unique_ptr<Idler>> slow;
  for (int i = 0; i < kPlaces; ++i) {
    slow.push_back(std::make_unique<Idler>(database_, "SELECT parkd.enter_finish_v1()"));
  }
  std::promise<std::vector<FinishAnswer>> finished;
  auto own = finished.get_future();
  daemon.store->finish({{jobs.at(0).id, jobs.at(0).lease, ending("{}")}},
                       [&](auto answers) { finished.set_value(*answers); });
  EXPECT_TRUE(eventually([&] {
    return database_.number(
               "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
               "'parkd-finish' AND wait_event_type = 'Lock'") == 1;
  }));
  EXPECT_FALSE(is_ready(own));
  slow.clear();
  EXPECT_EQ(own.get().at(0), FinishAnswer::finished_now);
  EXPECT_EQ(value("dario", "SELECT count(*) FROM parkd.fetch('his')"), "1");
}

// Whoever holds up all readers is named, with what ends it, for as long as it does.
TEST_F(Cancels, a_transaction_that_holds_up_all_readers_is_told_of_with_its_login) {
  PostgresOptions options = quiet_options(database_.dsn());
  StoreRig patient(options);
  options.finish_notice_after = std::chrono::milliseconds(0);
  StoreRig daemon(options);
  const auto notice_of = [](StoreRig& of) {
    EXPECT_TRUE(of.driver->purge().ok());
    const StoreStats stats = of.driver->stats().value();
    for (const HealthNotice& notice : stats.notices) {
      if (notice.code == "results_held") return notice.text;
    }
    return std::string();
  };
  EXPECT_EQ(notice_of(daemon), "");
  auto slow = std::make_unique<Idler>(database_, "SELECT parkd.enter_finish_v1()");
  const std::string pid = database_.value(
      "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in "
      "transaction'");
  const std::string told = notice_of(daemon);
  EXPECT_NE(told.find("session " + pid + " of login postgres"), told.npos) << told;
  EXPECT_NE(told.find("pg_terminate_backend(" + pid + ")"), told.npos) << told;
  EXPECT_EQ(notice_of(patient), "") << "it may be a large finish";
  slow.reset();
  EXPECT_EQ(notice_of(daemon), "");
}

}  // namespace
}  // namespace parkd
