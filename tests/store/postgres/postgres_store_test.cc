// What only this store promises: cursors under concurrent commits, bad rows, many daemons, a
// database that is away or another one, LISTEN.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

TEST_F(PostgresStoreTest, an_answer_that_nobody_can_take_ends_no_session) {
  StoreRig daemon(quiet_options(database_.dsn()));
  std::atomic<int> n_answers{0};
  daemon.store->list({}, [&n_answers](const Result<ListAnswer>&) {
    ++n_answers;
    throw std::runtime_error("the caller's own");
  });
  EXPECT_TRUE(daemon.driver->list({}).ok()) << "behind it, on the same session";
  EXPECT_EQ(n_answers, 2) << "the answer, and why it was none";
}

// --- cursors

TEST_F(PostgresStoreTest, a_cursor_does_not_skip_a_commit_that_comes_late) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec(), spec(), spec()}).ok());
  const auto jobs = daemon.driver->claim("m", 3);
  ASSERT_EQ(jobs->size(), 3u);
  const auto finish = [&](pqxx::work& tx, const Job& job) {
    tx.exec("SELECT * FROM parkd.finish_v1(ARRAY[" + std::to_string(job.id) + "], ARRAY[" +
            std::to_string((job.lease.epoch << 32) | job.lease.n) +
            "]::bigint[], '{completed}', '{\"\"}', '{\"\"}', '{\"\"}', '{200}', '{\"{}\"}', '{1}', "
            "'{1}', '{1}', '{1}', '{1}')");
  };
  auto slow = database_.connect();
  auto slow_tx = std::make_unique<pqxx::work>(*slow);
  finish(*slow_tx, jobs->at(0));  // draws the first sequence, commits last
  ASSERT_TRUE(daemon.driver->finish({{jobs->at(1).id, jobs->at(1).lease, ending("{}")}}).ok());
  const auto held = daemon.driver->fetch({"default", "box", 0, 10});
  EXPECT_TRUE(held->messages.empty()) << "what lies past a finish in flight is held back";
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.results"), 1) << "a plain SELECT sees it";
  slow_tx->commit();
  const auto both = daemon.driver->fetch({"default", "box", held->next_sequence, 10});
  ASSERT_EQ(both->messages.size(), 2u);
  EXPECT_EQ(both->messages[0].job_id, jobs->at(0).id);

  // One that is rolled back holds nothing back for ever.
  slow_tx = std::make_unique<pqxx::work>(*slow);
  finish(*slow_tx, jobs->at(2));
  slow_tx->abort();
  ASSERT_TRUE(daemon.driver->finish({{jobs->at(2).id, jobs->at(2).lease, ending("{}")}}).ok());
  EXPECT_EQ(daemon.driver->fetch({"default", "box", both->next_sequence, 10})->messages.size(), 1u);
}

TEST_F(PostgresStoreTest, a_reader_never_sees_a_gap_close_behind_its_cursor) {
  StoreRig daemon(quiet_options(database_.dsn()));
  constexpr size_t kJobs = 400;
  ASSERT_TRUE(daemon.driver->submit(std::vector<JobSpec>(kJobs, spec())).ok());
  const auto jobs = daemon.driver->claim("m", static_cast<int32_t>(kJobs));
  std::vector<std::thread> finishers;
  for (int t = 0; t < 4; ++t) {
    finishers.emplace_back([&, t] {
      StoreRig other(quiet_options(database_.dsn()));
      for (size_t i = static_cast<size_t>(t); i < kJobs; i += 4) {
        EXPECT_TRUE(other.driver->finish({{jobs->at(i).id, jobs->at(i).lease, ending("{}")}}).ok());
      }
    });
  }
  std::set<JobId> seen;
  uint64_t cursor = 0;
  EXPECT_TRUE(eventually([&] {
    const auto page = daemon.driver->fetch({"default", "box", cursor, 50});
    for (const Message& message : page->messages) EXPECT_TRUE(seen.insert(message.job_id).second);
    cursor = page->next_sequence;
    return seen.size() == kJobs;
  })) << "the cursor passed "
      << kJobs - seen.size() << " messages";
  for (std::thread& finisher : finishers) finisher.join();
}

TEST_F(PostgresStoreTest, numbers_go_on_beyond_what_a_lost_past_gave_out) {
  StoreRig daemon(quiet_options(database_.dsn()));
  const auto stored = [&] {
    EXPECT_TRUE(eventually([&] { return daemon.driver->submit({spec()}).ok(); }));
    std::vector<Job> jobs;
    EXPECT_TRUE(eventually([&] {
      const auto claimed = daemon.driver->claim("m", 1);
      if (claimed.ok()) jobs = *claimed;
      return !jobs.empty();
    }));
    EXPECT_TRUE(daemon.driver->finish({{jobs[0].id, jobs[0].lease, ending("{}")}}).ok());
    return jobs[0].id;
  };
  for (int i = 0; i < 5; ++i) stored();
  const auto seen = daemon.driver->fetch({"default", "box", 0, 10});
  ASSERT_EQ(seen->messages.size(), 5u);
  // As after a failover that lost the last of it.
  database_.run(
      "DELETE FROM parkd.mailbox; SELECT setval('parkd.message_sequence', 1), "
      "setval('parkd.jobs_id_seq', 1)");
  database_.run(
      "UPDATE parkd.fence SET timeline = 'before'; UPDATE parkd.daemons SET timeline = 'before'");
  EXPECT_FALSE(daemon.driver->claim("m", 1).ok());
  ASSERT_TRUE(eventually([&] { return daemon.driver->claim("m", 1).ok(); }));
  const JobId id = stored();
  EXPECT_GT(id, seen->messages.back().job_id);
  const auto after = daemon.driver->fetch({"default", "box", seen->next_sequence, 10});
  ASSERT_EQ(after->messages.size(), 1u) << "behind the reader's cursor";
  EXPECT_EQ(after->messages[0].job_id, id);
}

// --- rows that cannot be stored as they are

TEST_F(PostgresStoreTest, one_bad_result_is_repaired_or_fails_alone) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit(std::vector<JobSpec>(7, spec())).ok());
  const auto jobs = daemon.driver->claim("m", 7);
  const std::vector<std::string> bodies = {
      R"({"choices":[{"message":{"content":"fine"}}]})",
      R"({"choices":[{"message":{"content":"a\u0000b"}}]})",
      R"({"choices":[{"message":{"content":"half \ud83d"}}]})",
      "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
      R"({"choices":[{"message":{"content":")" + std::string(1, '\0') + R"("}}]})",
      "no json {",
      std::string((size_t{64} << 20) + 1, 'x'),
  };
  std::vector<FinishItem> items;
  for (size_t i = 0; i < bodies.size(); ++i) {
    items.push_back({jobs->at(i).id, jobs->at(i).lease, ending(bodies[i])});
  }
  const auto answers = daemon.driver->finish(items);
  ASSERT_TRUE(answers.ok()) << answers.status().to_string();
  EXPECT_EQ(*answers, std::vector<FinishAnswer>(7, FinishAnswer::finished_now));
  // Every text can be read, by SQL too.
  EXPECT_EQ(
      database_.value("SELECT string_agg(coalesce(text, '-') || ':' || outcome, '|' ORDER BY id) "
                      "FROM parkd.results"),
      "fine:completed|a\xef\xbf\xbd"
      "b:completed|half "
      "\xef\xbf\xbd:completed|\xef\xbf\xbd:completed|\xef\xbf\xbd:completed|-:completed|-:failed");
  const auto box = daemon.driver->fetch({"default", "box", 0, 10});
  EXPECT_EQ(box->messages.at(5).ending.body, "no json {");
  EXPECT_EQ(box->messages.at(6).ending.error_code, "too_large");
}

TEST_F(PostgresStoreTest, one_bad_submission_does_not_fail_its_neighbours) {
  StoreRig daemon(quiet_options(database_.dsn()));
  std::vector<std::future<Status>> answers;
  for (int i = 0; i < 30; ++i) {
    auto promise = std::make_shared<std::promise<Status>>();
    answers.push_back(promise->get_future());
    JobSpec job = spec();
    if (i % 10 == 5) job.body = "{";
    daemon.store->submit({job}, [promise](const Result<std::vector<SubmittedJob>>& r) {
      promise->set_value(r.status());
    });
  }
  for (int i = 0; i < 30; ++i) {
    const Status status = answers[static_cast<size_t>(i)].get();
    EXPECT_EQ(status.ok(), i % 10 != 5) << status.to_string();
    if (!status.ok()) {
      EXPECT_EQ(status.param(), "jobs[0].body");
    }
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 27);
  JobSpec bad = spec();
  bad.custom_id = "\xff";
  EXPECT_EQ(daemon.driver->submit({spec(), bad}).status().param(), "jobs[1].custom_id");
}

// --- many daemons

void claim_concurrently(TestDatabase& database, int n_tenants) {
  constexpr int kClaimers = 4;
  constexpr int kTake = 25;
  constexpr int kJobs = 3000;
  {
    StoreRig submitter(quiet_options(database.dsn()));
    std::vector<JobSpec> jobs;
    for (int i = 0; i < kJobs; ++i) jobs.push_back(spec("tenant" + std::to_string(i % n_tenants)));
    ASSERT_TRUE(submitter.driver->submit(jobs).ok());
  }
  std::atomic<int> n_claimed{0};
  std::mutex mutex;
  std::multiset<JobId> ids;
  // They outlive the claimers: one that stops gives its claims back.
  std::vector<std::unique_ptr<StoreRig>> daemons;
  for (int t = 0; t < kClaimers; ++t) {
    daemons.push_back(std::make_unique<StoreRig>(quiet_options(database.dsn())));
  }
  std::vector<std::thread> claimers;
  for (int t = 0; t < kClaimers; ++t) {
    claimers.emplace_back([&, t] {
      StoreRig& daemon = *daemons[static_cast<size_t>(t)];
      for (;;) {
        const auto jobs = daemon.driver->claim("m", kTake);
        ASSERT_TRUE(jobs.ok()) << jobs.status().to_string();
        if (jobs->size() < kTake) {
          // Others may hold at most a claim each that they have not counted yet.
          EXPECT_GE(n_claimed + kClaimers * kTake, kJobs)
              << "a claimer went short before the queue did";
        }
        if (jobs->empty()) break;
        n_claimed += static_cast<int>(jobs->size());
        const std::lock_guard lock(mutex);
        for (const Job& job : *jobs) ids.insert(job.id);
      }
    });
  }
  for (std::thread& claimer : claimers) claimer.join();
  EXPECT_EQ(ids.size(), static_cast<size_t>(kJobs));
  EXPECT_EQ(std::set<JobId>(ids.begin(), ids.end()).size(), static_cast<size_t>(kJobs))
      << "claimed twice";
}

TEST_F(PostgresStoreTest, four_claimers_share_one_tenants_queue_and_none_starves) {
  claim_concurrently(database_, 1);
}

TEST_F(PostgresStoreTest, four_claimers_share_many_tenants_queues_and_none_starves) {
  claim_concurrently(database_, 7);
}

TEST_F(PostgresStoreTest, two_daemons_share_the_tenants_turns) {
  StoreRig first(quiet_options(database_.dsn()));
  StoreRig second(quiet_options(database_.dsn()));
  std::map<std::string, int64_t> needs = {{"a", 100}, {"b", 300}, {"c", 1000}};
  for (const auto& [tenant, need] : needs) {
    JobSpec job = spec(tenant);
    job.prompt_tokens = static_cast<int32_t>(need);
    ASSERT_TRUE(first.driver->submit(std::vector<JobSpec>(100, job)).ok());
  }
  std::map<std::string, int64_t> given;
  for (int i = 0; i < 40; ++i) {
    // What one has no room for, the other daemon gives.
    ClaimRequest request{"m", 1 + i % 3};
    if (i % 4 == 0) request.tenant_room["c"] = 0;
    const auto jobs = (i % 2 == 0 ? first : second).driver->claim(request);
    ASSERT_TRUE(jobs.ok()) << jobs.status().to_string();
    for (const Job& job : *jobs) given[job.spec.tenant] += job.spec.need_tokens();
    for (const auto& [one, n] : needs) {
      for (const auto& [other, m] : needs) {
        EXPECT_LE(std::abs(given[one] - given[other]), n + m) << one << other << " after " << i;
      }
    }
  }
}

TEST_F(PostgresStoreTest, the_jobs_of_a_daemon_that_leaves_are_charged_once) {
  auto leaving = std::make_unique<StoreRig>(quiet_options(database_.dsn()));
  StoreRig other(quiet_options(database_.dsn()));
  JobSpec large = spec("large");
  large.prompt_tokens = 1000;
  ASSERT_TRUE(other.driver->submit(std::vector<JobSpec>(5, large)).ok());
  ASSERT_TRUE(other.driver->submit(std::vector<JobSpec>(300, spec("small"))).ok());
  ASSERT_EQ(leaving->driver->claim(ClaimRequest{"m", 2, {{"small", 0}}, {}})->size(), 2u);
  leaving.reset();
  const auto next = other.driver->claim("m", 3);
  EXPECT_TRUE(std::any_of(next->begin(), next->end(), [](const Job& job) {
    return job.spec.tenant == "large";
  })) << "it has been given nothing";
}

TEST_F(PostgresStoreTest, stats_read_no_job) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  ASSERT_TRUE(daemon.driver->purge().ok());
  const Idler nobody_can_read(database_, "LOCK TABLE parkd.jobs IN ACCESS EXCLUSIVE MODE");
  const auto stats = daemon.driver->stats();
  ASSERT_TRUE(stats.ok()) << stats.status().to_string();
  EXPECT_TRUE(stats->healthy) << stats->health_error;
  ASSERT_EQ(stats->models.size(), 1u);
  EXPECT_EQ(stats->models[0].queued, 2);
}

TEST_F(PostgresStoreTest, the_jobs_of_a_silent_daemon_are_rescued_and_its_finish_is_lease_lost) {
  StoreRig silent(quiet_options(database_.dsn()));
  StoreRig other(quiet_options(database_.dsn()));
  ASSERT_TRUE(silent.driver->submit({spec()}).ok());
  const Job before = silent.driver->claim("m", 1)->at(0);
  ASSERT_TRUE(other.driver->purge().ok());
  EXPECT_TRUE(other.driver->claim("m", 1)->empty()) << "a live daemon's job stays its own";
  database_.run(
      "UPDATE parkd.daemons SET beat_at = now() - interval '1 hour' WHERE id = "
      "(SELECT daemon_id FROM parkd.jobs)");
  ASSERT_TRUE(other.driver->purge().ok());
  const auto rescued = other.driver->claim("m", 1);
  ASSERT_EQ(rescued->size(), 1u);
  EXPECT_GT(rescued->at(0).lease, before.lease);
  EXPECT_EQ(rescued->at(0).attempts, 0);
  EXPECT_EQ(silent.driver->finish({{before.id, before.lease, ending("{}")}})->at(0),
            FinishAnswer::lease_lost);
  // It notices with its next claim, says so once, and registers anew.
  EXPECT_EQ(silent.driver->claim("m", 1).status().code(), StatusCode::unavailable);
  EXPECT_EQ(silent.n_lost, 1);
  EXPECT_TRUE(eventually([&] { return silent.driver->claim("m", 1).ok(); }));
  EXPECT_EQ(other.driver->finish({{before.id, rescued->at(0).lease, ending("{}")}})->at(0),
            FinishAnswer::finished_now);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 1);
}

TEST_F(PostgresStoreTest, another_database_raises_the_epoch_and_ends_every_claim_right) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const Job before = daemon.driver->claim("m", 1)->at(0);
  // As after a promotion: the server is on another timeline than the rows know.
  database_.run(
      "UPDATE parkd.fence SET timeline = 'before'; UPDATE parkd.daemons SET timeline = 'before'");
  EXPECT_EQ(daemon.driver->claim("m", 1).status().code(), StatusCode::unavailable);
  EXPECT_EQ(daemon.n_lost, 1);
  ASSERT_TRUE(eventually([&] { return daemon.driver->stats()->healthy; }));
  const auto after = daemon.driver->claim("m", 2);
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  ASSERT_EQ(after->size(), 2u) << "what the lost registration held was given back";
  for (const Job& job : *after) EXPECT_GT(job.lease.epoch, before.lease.epoch);
}

// Asks until there is something; nothing when that takes too long.
std::vector<Job> claim_in_time(StoreRig& daemon) {
  std::vector<Job> jobs;
  EXPECT_TRUE(eventually([&] {
    const auto answer = daemon.driver->claim("m", 5);
    if (answer.ok()) jobs = *answer;
    return !jobs.empty();
  }));
  return jobs;
}

TEST_F(PostgresStoreTest, a_claim_whose_answer_was_lost_is_given_back) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const Job known = daemon.driver->claim("m", 1)->at(0);
  // What a lost answer leaves: a row claimed by this daemon that it never heard of.
  database_.run("SELECT * FROM parkd.claim_v1((SELECT max(id) FROM parkd.daemons), 'm', 1)");
  // While the session of the claims is dead, a claim is in doubt.
  database_.run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
      "'parkd-claim' "
      "AND datname = current_database()");
  EXPECT_FALSE(daemon.driver->claim("m", 1).ok());
  std::vector<Job> again;
  EXPECT_TRUE(eventually([&] {
    const auto jobs = daemon.driver->claim("m", 5);
    if (jobs.ok()) again = *jobs;
    return jobs.ok();
  }));
  ASSERT_EQ(again.size(), 1u) << "the unknown one alone came back";
  EXPECT_NE(again[0].id, known.id);
}

// The server learns late that a session is gone: a claim it was sent may be carried out after the
// daemon, in a new session, has asked for what it does not know of.
TEST_F(PostgresStoreTest, a_claim_carried_out_after_its_session_was_cut_is_given_back_in_a_ttl) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.beat = std::chrono::milliseconds(100);
  options.ttl = std::chrono::milliseconds(6000);
  StoreRig daemon(options);
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const Job known = daemon.driver->claim("m", 1)->at(0);
  database_.run("SELECT * FROM parkd.claim_v1((SELECT max(id) FROM parkd.daemons), 'm', 1)");
  const std::vector<Job> again = claim_in_time(daemon);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_NE(again[0].id, known.id);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.daemons"), 1) << "it never lost its own";
}

TEST_F(PostgresStoreTest, what_a_restored_copy_believes_to_be_claimed_is_given_back) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.beat = std::chrono::milliseconds(100);
  StoreRig daemon(options);
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const Job known = daemon.driver->claim("m", 1)->at(0);
  database_.run("SELECT * FROM parkd.claim_v1((SELECT max(id) FROM parkd.daemons), 'm', 1)");
  // All that the daemon sees of a restore is that its sessions end; the claims' own is idle.
  database_.run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
      "'parkd-beat' "
      "AND datname = current_database()");
  const std::vector<Job> again = claim_in_time(daemon);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_NE(again[0].id, known.id) << "the one it works on stays its own";
}

// --- housekeeping beside a reader

TEST_F(PostgresStoreTest, a_partition_somebody_reads_stays_and_everything_else_is_done) {
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run("SELECT parkd.ensure_partition_v1('mailbox', '2020-01-01Z', '2020-01-02Z')");
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  ASSERT_EQ(daemon.driver->claim("m", 1)->size(), 1u);
  database_.run("UPDATE parkd.daemons SET beat_at = now() - interval '1 h'");
  auto reader = std::make_unique<Idler>(database_, "SELECT count(*) FROM parkd.mailbox");
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.value("SELECT state FROM parkd.jobs"), "queued") << "rescued";
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.past_partitions WHERE retry_at > now() + "
                             "interval '4 minutes'"),
            1);
  reader.reset();
  const std::string there = "SELECT count(*) FROM pg_class WHERE relname = 'mailbox_20200101'";
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.number(there), 1) << "not before the five minutes are over";
  database_.run("UPDATE parkd.past_partitions SET retry_at = now()");
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.number(there), 0);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.past_partitions"), 0);
}

// What is a partition says the catalog, not a name.
TEST_F(PostgresStoreTest, a_table_named_like_a_past_partition_is_left_alone) {
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run(
      "CREATE TABLE parkd.mailbox_20200101 AS SELECT 'mine' AS note;"
      "CREATE TABLE parkd.history_20200106 AS SELECT 'mine' AS note;"
      "CREATE TABLE parkd.mailbox_archive_20200101 AS SELECT 'mine' AS note");
  database_.run(
      "SELECT parkd.ensure_partition_v1('mailbox', '2020-01-02Z', '2020-01-03Z'), "
      "parkd.ensure_partition_v1('history', '2020-01-13Z', '2020-01-20Z')");
  // Partitions somebody made by hand: by their bounds alone can one see that the first has passed.
  database_.run(
      "CREATE SCHEMA old;"
      "CREATE TABLE old.mailbox_99999999 PARTITION OF parkd.mailbox FOR VALUES FROM "
      "('2019-01-01Z') "
      "TO ('2019-02-01Z');"
      "CREATE TABLE parkd.mailbox_20190101 PARTITION OF parkd.mailbox DEFAULT");
  for (int round = 0; round < 2; ++round) {
    const auto purged = daemon.driver->purge();
    ASSERT_TRUE(purged.ok()) << purged.status().to_string();
  }
  EXPECT_EQ(database_.value("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE "
                            "relkind = 'r' AND relname ~ '^(mailbox|history)_.*(20(19|20)|9999)'"),
            "history_20200106 mailbox_20190101 mailbox_20200101 mailbox_archive_20200101");
  EXPECT_EQ(database_.value("SELECT m.note || h.note FROM parkd.mailbox_20200101 m, "
                            "parkd.history_20200106 h"),
            "minemine");
}

// A batch with a late deadline has its partition far ahead. Days later, with no daemon in between,
// that day is the last of those that are always there; the days before it are made all the same.
TEST_F(PostgresStoreTest, a_partition_far_ahead_does_not_stand_for_those_before_it) {
  const std::string later = "(now() + interval '10 days')";
  const auto ensure = [&](const char* table, const char* unit, const char* ahead) {
    database_.run(std::string("SELECT parkd.ensure_partition_v1('") + table +
                  "', f.t, f.t + interval '1 " + unit + "') FROM (SELECT date_trunc('" + unit +
                  "', " + later + ", 'UTC') + interval '" + ahead + "') f(t)");
  };
  ensure("mailbox", "day", "32 days");
  ensure("history", "week", "14 days");
  database_.run("SELECT parkd.ensure_partitions_v1(" + later + ")");
  const auto missing = [&](const char* table, const char* unit, int n) {
    return database_.value(
        std::string("SELECT string_agg(name, ' ') FROM (SELECT to_char(date_trunc('") + unit +
        "', " + later + " AT TIME ZONE 'UTC') + i * interval '1 " + unit + "', '\"" + table +
        "_\"YYYYMMDD') AS name FROM generate_series(0, " + std::to_string(n) +
        ") i) names WHERE to_regclass('parkd.' || name) IS NULL");
  };
  EXPECT_EQ(missing("mailbox", "day", 32), "");
  EXPECT_EQ(missing("history", "week", 2), "");
}

TEST_F(PostgresStoreTest, a_table_with_the_name_of_a_partition_to_come_does_not_keep_it_away) {
  StoreRig daemon(quiet_options(database_.dsn()));
  const auto take_name = [&](const std::string& table, const std::string& when) {
    const std::string name =
        "parkd." + table + "_" +
        database_.value("SELECT to_char((" + when + ") AT TIME ZONE 'UTC', 'YYYYMMDD')");
    database_.run("DROP TABLE " + name + "; CREATE TABLE " + name + " AS SELECT 'mine' AS note");
    return name;
  };
  // Where this job's message and history go.
  const std::string day = take_name("mailbox", "now() + interval '1 hour'");
  const std::string week = take_name("history", "date_trunc('week', now(), 'UTC')");
  ASSERT_TRUE(daemon.driver->purge().ok());
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  const Job job = daemon.driver->claim("m", 1)->at(0);
  EXPECT_EQ(daemon.driver->finish({{job.id, job.lease, ending("{}")}})->at(0),
            FinishAnswer::finished_now);
  EXPECT_EQ(daemon.driver->fetch({"default", "box", 0, 10})->messages.size(), 1u);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.history"), 1);
  EXPECT_EQ(database_.value("SELECT d.note || w.note FROM " + day + " d, " + week + " w"),
            "minemine");
  ASSERT_TRUE(daemon.driver->purge().ok()) << "it is made once";
}

TEST_F(PostgresStoreTest, a_past_week_of_history_is_read_once_until_its_last_row_may_go) {
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run("SELECT parkd.ensure_partition_v1('history', '2020-01-06Z', '2020-01-13Z')");
  database_.run(
      "INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, "
      "expires_at, run_us, units, prompt_tokens, completion_tokens, outcome, tenant, mailbox_key, "
      "model) VALUES (1, 1, 1, now(), '2020-01-07', now(), 0, 0, 0, 0, 'completed', 't', 'k', "
      "'m')");
  ASSERT_TRUE(daemon.driver->purge().ok());
  database_.run("SELECT pg_stat_force_next_flush()");
  const std::string scans =
      "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'history_20200106'";
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.past_partitions WHERE last_expiry + "
                             "interval '29 days' > now()"),
            1);
  database_.run("UPDATE parkd.history SET expires_at = '2020-01-08'");  // unseen until then
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.history"), 1);
  database_.run("UPDATE parkd.past_partitions SET last_expiry = '2020-01-08'");
  EXPECT_EQ(daemon.driver->purge()->history_rows, 1);
}

// --- LISTEN

TEST_F(PostgresStoreTest, a_strangers_notification_cancels_nothing) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.listen = true;
  options.beat = std::chrono::hours(1);
  options.ttl = std::chrono::hours(4);
  StoreRig daemon(options);
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const auto jobs = daemon.driver->claim("m", 2);
  database_.run(
      "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; "
      "END $$");
  auto stranger = database_.connect("stranger");
  pqxx::nontransaction tx(*stranger);
  tx.exec("SELECT pg_notify('parkd_cancel', '" +
          std::to_string(daemon.driver->stats()->open_epoch) + " " +
          std::to_string(jobs->at(0).id) + " " +
          std::to_string((jobs->at(0).lease.epoch << 32) | jobs->at(0).lease.n) + "')");
  database_.run("SELECT parkd.cancel(" + std::to_string(jobs->at(1).id) + ")");
  std::vector<std::pair<JobId, RunLease>> cancels;
  EXPECT_TRUE(eventually([&] {  // a beat at once, long before its turn
    for (const auto& cancel : daemon.driver->told().cancels) cancels.push_back(cancel);
    return !cancels.empty();
  }));
  for (const auto& [id, lease] : cancels) EXPECT_EQ(id, jobs->at(1).id);
}

TEST_F(PostgresStoreTest, an_idle_daemon_hears_of_work_and_a_busy_one_is_not_notified) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.listen = true;
  StoreRig daemon(options);
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  const std::string insert =
      "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', 'box')";
  database_.run(insert);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.waiters"), 0) << "nobody waits yet";
  ASSERT_EQ(daemon.driver->claim("m", 5)->size(), 1u);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.waiters"), 1)
      << "a claim that went short waits";
  daemon.driver->told();
  database_.run(insert);
  EXPECT_TRUE(eventually([&] { return !daemon.driver->told().work.empty(); }));
  ASSERT_EQ(daemon.driver->claim("m", 1)->size(), 1u);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.waiters"), 0)
      << "a claim that was filled does not";

  const auto id = database_.value("SELECT min(id) FROM parkd.jobs WHERE state = 'claimed'");
  EXPECT_EQ(database_.value("SELECT parkd.cancel(" + id + ")"), "cancel_requested");
  EXPECT_TRUE(eventually([&] { return !daemon.driver->told().cancels.empty(); }));
}

TEST_F(PostgresStoreTest, a_cut_listener_listens_again_and_looks_for_what_it_missed) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.listen = true;
  StoreRig daemon(options);
  ASSERT_TRUE(daemon.driver->claim("m", 1)->empty());
  daemon.driver->told();
  database_.run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
      "'parkd-beat' "
      "AND datname = current_database()");
  EXPECT_TRUE(eventually([&] { return !daemon.driver->told().work.empty(); }))
      << "the catch-up look";
  daemon.driver->told();
  EXPECT_TRUE(eventually([&] {  // listening again
    database_.run("NOTIFY parkd_work, 'm'");
    return !daemon.driver->told().work.empty();
  }));
}

// --- a database that is away

std::string control(const std::string& command) {
  return std::string(std::getenv("PG_SANDBOX_CTL")) + " " + command + " >/dev/null 2>&1";
}

TEST_F(PostgresStoreTest, a_finished_result_is_kept_until_the_database_is_back) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.verb_limit = std::chrono::milliseconds(200);
  StoreRig daemon(options);
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  const Job job = daemon.driver->claim("m", 1)->at(0);
  ASSERT_EQ(std::system(control("stop -m fast").c_str()), 0);
  EXPECT_EQ(daemon.driver->submit({spec()}).status().code(), StatusCode::unavailable);
  EXPECT_FALSE(daemon.driver->stats()->healthy);
  EXPECT_FALSE(daemon.driver->stats()->health_error.empty());
  std::promise<FinishAnswer> answer;
  daemon.store->finish({{job.id, job.lease, ending("{}")}},
                       [&](Result<std::vector<FinishAnswer>> r) {
                         answer.set_value(r.ok() ? r->at(0) : FinishAnswer::lease_lost);
                       });
  ASSERT_EQ(std::system(control("start").c_str()), 0);
  EXPECT_EQ(answer.get_future().get(), FinishAnswer::finished_now);
  EXPECT_TRUE(eventually([&] { return daemon.driver->stats()->healthy; }));
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 1);
}

TEST_F(PostgresStoreTest, a_server_that_crashed_never_gives_a_lease_out_twice) {
  StoreRig daemon(quiet_options(database_.dsn()));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(eventually([&] { return daemon.driver->submit({spec()}).ok(); }));
    std::vector<Job> before;
    ASSERT_TRUE(eventually([&] {
      const auto jobs = daemon.driver->claim("m", 10);
      if (jobs.ok()) before = *jobs;
      return jobs.ok();
    }));
    ASSERT_EQ(std::system(control("restart -m immediate").c_str()), 0);
    // The claims may be lost or not: they were not synced. A lost one is claimed again, by a larger
    // lease.
    std::vector<Job> after;
    ASSERT_TRUE(eventually([&] {
      const auto jobs = daemon.driver->claim("m", 10);
      if (jobs.ok()) after = *jobs;
      return jobs.ok();
    }));
    for (const Job& job : after) {
      for (const Job& old : before) {
        if (old.id != job.id) continue;
        EXPECT_GT(job.lease.epoch, old.lease.epoch);
        EXPECT_EQ(daemon.driver->finish({{old.id, old.lease, ending("{}")}})->at(0),
                  FinishAnswer::lease_lost);
      }
      EXPECT_EQ(daemon.driver->finish({{job.id, job.lease, ending("{}")}})->at(0),
                FinishAnswer::finished_now);
    }
  }
  EXPECT_EQ(daemon.n_lost, 0) << "a restart of the server ends no claim that it remembers";
}

TEST_F(PostgresStoreTest, a_daemon_that_starts_before_the_database_waits_for_it) {
  ASSERT_EQ(std::system(control("stop -m fast").c_str()), 0);
  PostgresOptions options = quiet_options(database_.dsn());
  options.verb_limit = std::chrono::milliseconds(100);
  StoreRig daemon(options);
  EXPECT_FALSE(daemon.driver->stats()->healthy);
  EXPECT_EQ(daemon.driver->claim("m", 1).status().code(), StatusCode::unavailable);
  ASSERT_EQ(std::system(control("start").c_str()), 0);
  EXPECT_TRUE(eventually([&] { return daemon.driver->claim("m", 1).ok(); }));
  EXPECT_TRUE(daemon.driver->submit({spec()}).ok());
}

}  // namespace
}  // namespace parkd
