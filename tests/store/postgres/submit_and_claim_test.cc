// A job that is submitted and claimed in one commit: what it means where daemons share the
// database.
#include <algorithm>
#include <set>

#include "lib/store/postgres/arguments.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

TEST_F(PostgresStoreTest, a_job_submitted_to_be_claimed_is_claimed_by_its_own_daemon) {
  StoreRig own(quiet_options(database_.dsn()));
  StoreRig other(quiet_options(database_.dsn()));
  const auto answer = own.driver->submit_and_claim(spec());
  ASSERT_TRUE(answer.ok()) << answer.status().to_string();
  ASSERT_TRUE(answer->claimed);
  EXPECT_EQ(answer->claimed->id, answer->submitted.id);
  EXPECT_GT(answer->claimed->lease.n, 0u);
  EXPECT_EQ(answer->claimed->spec.prompt_tokens, 10);
  EXPECT_TRUE(other.driver->claim("m", 10)->empty());
  // The database is asked what this daemon holds, and takes nothing back that it knows of.
  EXPECT_TRUE(own.driver->claim("m", 10)->empty());
  const auto ended =
      own.driver->finish({{answer->claimed->id, answer->claimed->lease, ending("{}")}});
  EXPECT_EQ(ended->front(), FinishAnswer::finished_now);
}

// As many at once as come: in few statements, and not one of them twice.
TEST_F(PostgresStoreTest, jobs_submitted_to_be_claimed_by_two_daemons_go_to_their_own) {
  StoreRig a(quiet_options(database_.dsn()));
  StoreRig b(quiet_options(database_.dsn()));
  constexpr int kJobs = 200;
  std::atomic<bool> claiming{true};
  std::set<JobId> taken;
  std::thread claimer([&] {
    while (claiming) {
      for (const Job& job : *b.driver->claim("m", 10)) taken.insert(job.id);
    }
  });
  std::vector<std::promise<Result<SubmittedAndClaimed>>> promised(2 * kJobs);
  for (size_t i = 0; i < promised.size(); ++i) {
    (i % 2 == 0 ? a : b).store->submit_and_claim(spec(i % 3 == 0 ? "x" : "y"), [&, i](auto answer) {
      promised[i].set_value(std::move(answer));
    });
  }
  std::set<JobId> claimed;
  for (auto& promise : promised) {
    const auto answer = promise.get_future().get();
    ASSERT_TRUE(answer.ok()) << answer.status().to_string();
    ASSERT_TRUE(answer->claimed);
    EXPECT_TRUE(claimed.insert(answer->claimed->id).second);
  }
  claiming = false;
  claimer.join();
  EXPECT_TRUE(taken.empty());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'claimed'"), 2 * kJobs);
  EXPECT_EQ(database_.number("SELECT max(n) FROM (SELECT count(*) AS n FROM parkd.jobs GROUP BY "
                             "daemon_id) x"),
            kJobs);
}

// A claim turns its transaction's sync off, which is another thing with a submit in it.
TEST_F(PostgresStoreTest, a_submit_with_a_claim_is_synced) {
  StoreRig daemon(quiet_options(database_.dsn()));
  const auto submitted = daemon.driver->submit({spec()});
  auto session = database_.connect();
  pqxx::work tx(*session);
  tx.exec("SET LOCAL synchronous_commit = 'remote_apply'");
  const auto claimed =
      tx.exec("SELECT * FROM parkd.claim_submitted_v1((SELECT max(id) FROM parkd.daemons), 'm', " +
              std::to_string(submitted->front().id) + ", NULL, false)");
  EXPECT_EQ(claimed.size(), 1u);
  EXPECT_EQ(tx.exec("SHOW synchronous_commit")[0][0].as<std::string>(), "remote_apply");
}

TEST_F(PostgresStoreTest, a_daemon_that_is_not_registered_any_more_submits_and_claims_nothing) {
  StoreRig daemon(quiet_options(database_.dsn()));
  auto session = database_.connect();
  pqxx::work tx(*session);
  tx.exec("UPDATE parkd.daemons SET lost_at = now()");
  tx.commit();
  const auto answer = daemon.driver->submit_and_claim(spec());
  ASSERT_TRUE(answer.ok()) << answer.status().to_string();
  EXPECT_FALSE(answer->claimed);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'queued'"), 1);
}

TEST_F(PostgresStoreTest, a_job_for_a_paused_model_waits) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->register_model({"m", "hash", 100}).ok());
  auto session = database_.connect();
  pqxx::work tx(*session);
  tx.exec("UPDATE parkd.models SET paused_at = now() WHERE name = 'm'");
  tx.commit();
  const auto answer = daemon.driver->submit_and_claim(spec());
  ASSERT_TRUE(answer.ok()) << answer.status().to_string();
  EXPECT_FALSE(answer->claimed);
}

}  // namespace
}  // namespace parkd
