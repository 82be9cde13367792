// What an administrator's hand takes away is mended, and said.
#include <algorithm>

#include "lib/base/clock.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

class Administrator : public PostgresStoreTest {
 protected:
  // The text of a notice; "" when it is not up.
  static std::string notice(StoreRig& daemon, const std::string& code) {
    const Result<StoreStats> stats = daemon.driver->stats();
    for (const HealthNotice& notice : stats->notices) {
      if (notice.code == code) return notice.text;
    }
    return "";
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }
  std::vector<JobId> submit(StoreRig& daemon, int n, const JobSpec& given) {
    const auto submitted =
        daemon.driver->submit(std::vector<JobSpec>(static_cast<size_t>(n), given));
    EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
    std::vector<JobId> ids;
    for (const SubmittedJob& job : *submitted) ids.push_back(job.id);
    return ids;
  }
  void finish_one(StoreRig& daemon) {
    const auto jobs = daemon.driver->claim("m", 1);
    ASSERT_EQ(jobs->size(), 1u);
    const auto answers = daemon.driver->finish({{(*jobs)[0].id, (*jobs)[0].lease, ending("{}")}});
    ASSERT_TRUE(answers.ok()) << answers.status().to_string();
    EXPECT_EQ((*answers)[0], FinishAnswer::finished_now);
  }
  // The partitions of what ends now.
  void take_partitions_away(const std::string& how) {
    database_.run(
        "DO $$ DECLARE p record; BEGIN FOR p IN SELECT i.inhrelid::regclass AS name, "
        "i.inhparent::regclass AS parent FROM pg_inherits i WHERE i.inhparent IN "
        "('parkd.mailbox'::regclass, 'parkd.history'::regclass) AND "
        "right(i.inhrelid::regclass::text, 8) "
        "IN (SELECT to_char(d, 'YYYYMMDD') FROM (SELECT now() AT TIME ZONE 'UTC' AS at) n, unnest("
        "ARRAY[at + '7 days', at + '8 days', date_trunc('week', at)]) d) LOOP EXECUTE format('" +
        how + "', p.name, p.parent); END LOOP; END $$");
  }
  std::string open_batch(StoreRig& daemon) {
    BatchSpec given;
    given.tenant = "default";
    return daemon.driver->open_batch(given)->batch.id;
  }
};

TEST_F(Administrator, deletes_the_row_of_a_model_and_the_daemon_names_it_again) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ModelRegistration model{.name = "m", .content_hash = "abc", .context_tokens = 2048};
  StoreDriver& driver = *daemon.driver;
  ASSERT_TRUE(driver.register_model(model)->same);
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_TRUE(driver.stats()->notices.empty());

  const std::string row = "SELECT content_hash || ' ' || context_tokens FROM parkd.models";
  database_.run("DELETE FROM parkd.models");
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_EQ(database_.value(row), "abc 2048");
  EXPECT_TRUE(has(notice(daemon, "model_deleted"), "row of model m")) << "not said";
  EXPECT_TRUE(driver.stats()->healthy);

  // It lets the next daemon say which files are meant.
  database_.run("UPDATE parkd.models SET content_hash = NULL");
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_EQ(database_.value("SELECT content_hash IS NULL FROM parkd.models"), "t");

  database_.run("UPDATE parkd.models SET content_hash = 'other'");
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_TRUE(has(notice(daemon, "model_files_differ"), "other files")) << "not said";
  database_.run("UPDATE parkd.models SET content_hash = 'abc'");
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_EQ(notice(daemon, "model_files_differ"), "");
}

TEST_F(Administrator, takes_partitions_away_and_every_verb_makes_them_anew) {
  StoreRig daemon(quiet_options(database_.dsn()));
  StoreDriver& driver = *daemon.driver;
  const std::pair<const char*, std::function<void()>> verbs[] = {
      {"finish", [&] { finish_one(daemon); }},
      {"cancel",
       [&] {
         const auto cancelled = driver.cancel(
             static_cast<JobId>(database_.number("SELECT min(id) FROM parkd.jobs")), "");
         ASSERT_TRUE(cancelled.ok()) << cancelled.status().to_string();
         EXPECT_EQ(*cancelled, CancelAnswer::cancelled);
       }},
      {"deadline",
       [&] {
         database_.run("UPDATE parkd.jobs SET deadline = now() - interval '1 s'");
         const auto purged = driver.purge();
         ASSERT_TRUE(purged.ok()) << purged.status().to_string();
         EXPECT_EQ(purged->deadlines_missed, 1);
       }},
      {"quarantine",
       [&] {
         for (int64_t n = 0; n == 0;) {
           const auto jobs = driver.claim("m", 1);
           ASSERT_EQ(jobs->size(), 1u);
           const auto noted =
               driver.note_deaths({.noted = true, .present = {{(*jobs)[0].id, (*jobs)[0].lease}}});
           ASSERT_TRUE(noted.ok()) << noted.status().to_string();
           n = noted->quarantined;
           (void)driver.release({{(*jobs)[0].id, (*jobs)[0].lease, false, std::nullopt}});
         }
       }},
  };
  for (const char* how : {"DROP TABLE %s", "ALTER TABLE %2$s DETACH PARTITION %1$s"}) {
    for (const auto& [name, verb] : verbs) {
      SCOPED_TRACE(std::string(name) + " after " + how);
      JobSpec given = spec();
      given.mailbox_key = std::string(name) + how;
      submit(daemon, 1, given);
      take_partitions_away(how);
      ASSERT_NO_FATAL_FAILURE(verb());
      EXPECT_EQ(driver.fetch({"default", given.mailbox_key, 0, 10})->messages.size(), 1u);
    }
    ASSERT_TRUE(driver.purge().ok());
    const std::string said = notice(daemon, "partition_dropped");
    EXPECT_TRUE(has(said, "dropped or detached")) << said;
    EXPECT_TRUE(has(said, "are lost")) << said;
  }
  EXPECT_GT(database_.number("SELECT count(*) FROM parkd.mishaps WHERE text LIKE '%history_%'"), 0);
  // What was detached still has its rows.
  EXPECT_GT(database_.number("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE "
                             "'mailbox_from_%_detached_%'"),
            0);
}

// Days come and go by themselves.
TEST_F(Administrator, does_nothing_and_nothing_is_said) {
  ManualClock clock(from_unix_us(database_.number("SELECT parkd.us_v1(clock_timestamp())")));
  PostgresOptions options = quiet_options(database_.dsn());
  options.test_clock = &clock;
  StoreRig daemon(std::move(options));
  for (int day = 0; day < 70; ++day) {
    clock.advance(std::chrono::hours(24));
    ASSERT_TRUE(daemon.driver->purge().ok());
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mishaps"), 0);
  EXPECT_GT(database_.number("SELECT count(*) FROM parkd_private.partitions"), 33);
  EXPECT_LT(database_.number("SELECT count(*) FROM parkd_private.partitions"), 60);
  EXPECT_TRUE(daemon.driver->stats()->notices.empty());
}

TEST_F(Administrator, deletes_members_of_a_batch_and_it_is_finished_without_them) {
  StoreRig daemon(quiet_options(database_.dsn()));
  StoreDriver& driver = *daemon.driver;
  const std::string batch = open_batch(daemon);
  JobSpec member = spec();
  member.batch_id = batch;
  const std::vector<JobId> ids = submit(daemon, 3, member);
  ASSERT_TRUE(driver.seal_batch(batch, "").ok());
  database_.run("DELETE FROM parkd.jobs WHERE id = " + std::to_string(ids[1]));
  finish_one(daemon);
  ASSERT_TRUE(driver.purge().ok());
  EXPECT_EQ(driver.get_batch(batch, "")->total, 3) << "one of them lives";
  finish_one(daemon);
  ASSERT_TRUE(driver.purge().ok());
  const Batch closed = *driver.get_batch(batch, "");
  EXPECT_EQ(closed.state(), BatchState::finished);
  EXPECT_EQ(closed.total, 2);
  EXPECT_EQ(closed.completed, 2);
  EXPECT_EQ(database_.number("SELECT deleted FROM parkd.batch_status"), 1);
  const std::string said = notice(daemon, "batch_members_deleted");
  EXPECT_TRUE(has(said, "1 of 3 members of batch " + batch)) << said;
}

TEST_F(Administrator, deletes_members_of_many_batches_and_their_turn_comes_for_each) {
  StoreRig daemon(quiet_options(database_.dsn()));
  constexpr int kBatches = 50;
  for (int i = 0; i < kBatches; ++i) {
    JobSpec member = spec();
    member.batch_id = open_batch(daemon);
    submit(daemon, 1, member);
    ASSERT_TRUE(daemon.driver->seal_batch(member.batch_id, "").ok());
  }
  database_.run("DELETE FROM parkd.jobs WHERE id % 2 = 0");
  const int64_t n_live = database_.number("SELECT count(*) FROM parkd.jobs");
  for (int round = 0; round < 2 * kBatches / 20; ++round) ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.batches WHERE finished_at IS NULL"),
            n_live);
  EXPECT_EQ(database_.number("SELECT sum(deleted) FROM parkd.batches"), kBatches - n_live);
}

// Its members are gone for nobody but itself.
TEST_F(Administrator, is_not_taken_for_a_finish_in_flight) {
  StoreRig daemon(quiet_options(database_.dsn()));
  JobSpec member = spec();
  member.batch_id = open_batch(daemon);
  submit(daemon, 2, member);
  ASSERT_TRUE(daemon.driver->seal_batch(member.batch_id, "").ok());
  ASSERT_EQ(daemon.driver->claim("m", 2)->size(), 2u);
  Idler finishing(database_,
                  "SELECT parkd.finish_v1(array_agg(id), array_agg(run_lease), "
                  "'{completed,completed}', '{\"\",\"\"}', '{\"\",\"\"}', '{\"\",\"\"}', "
                  "'{200,200}', '{\"\",\"\"}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}') "
                  "FROM parkd.jobs");
  ASSERT_TRUE(daemon.driver->purge().ok());
  finishing.commit();
  ASSERT_TRUE(daemon.driver->purge().ok());
  const Batch batch = *daemon.driver->get_batch(member.batch_id, "");
  EXPECT_EQ(batch.state(), BatchState::finished);
  EXPECT_EQ(batch.completed, 2);
  EXPECT_EQ(batch.total, 2);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mishaps"), 0);
}

}  // namespace
}  // namespace parkd
