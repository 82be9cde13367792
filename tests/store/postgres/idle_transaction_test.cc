// A submitter that idles in a transaction holds up what it has touched and nothing else.
#include <cstdlib>
#include <set>

#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

TEST_F(PostgresStoreTest, an_idle_cancel_holds_up_its_own_job_alone) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit(std::vector<JobSpec>(4, spec())).ok());
  const auto jobs = daemon.driver->claim("m", 4);
  auto idler = std::make_unique<Idler>(
      database_, "SELECT parkd.cancel(" + std::to_string(jobs->at(0).id) + "), parkd.cancel(" +
                     std::to_string(jobs->at(1).id) + ")");
  std::promise<std::vector<FinishAnswer>> finished;
  std::promise<std::vector<ReleaseAnswer>> released;
  auto own = finished.get_future();
  auto back = released.get_future();
  daemon.store->finish({{jobs->at(0).id, jobs->at(0).lease, ending("{}")}},
                       [&](auto answers) { finished.set_value(*answers); });
  ReleaseItem release;
  release.id = jobs->at(1).id;
  release.lease = jobs->at(1).lease;
  daemon.store->release({release}, [&](auto answers) { released.set_value(*answers); });
  for (const size_t i : {2, 3}) {
    EXPECT_EQ(daemon.driver->finish({{jobs->at(i).id, jobs->at(i).lease, ending("{}")}})->at(0),
              FinishAnswer::finished_now);
  }
  EXPECT_FALSE(is_ready(own) || is_ready(back));
  idler.reset();
  EXPECT_EQ(own.get().at(0), FinishAnswer::finished_now);
  EXPECT_EQ(back.get().at(0), ReleaseAnswer::released);
}

TEST_F(PostgresStoreTest, an_idle_insert_into_a_batch_holds_up_that_batch_alone) {
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  BatchSpec batch;
  batch.tenant = "default";
  const std::string id = daemon.driver->open_batch(batch)->batch.id;
  JobSpec member = spec();
  member.batch_id = id;
  member.deadline = daemon.driver->get_batch(id, "default")->spec.deadline;
  ASSERT_TRUE(daemon.driver->submit({member, member, member, spec(), spec()}).ok());
  auto jobs = daemon.driver->claim("m", 10).value();
  ASSERT_EQ(jobs.size(), 5u);
  database_.run("UPDATE parkd.jobs SET state = 'queued', daemon_id = NULL WHERE id = " +
                std::to_string(jobs[0].spec.batch_id.empty() ? jobs[4].id : jobs[0].id));
  auto idler = std::make_unique<Idler>(
      database_,
      "SET parkd.tenant = 'default'; INSERT INTO parkd.jobs (model, body, tenant, "
      "batch_id) VALUES ('m', '{}', 'default', '" +
          id + "')");
  std::vector<FinishItem> members;
  std::vector<FinishItem> singles;
  for (const Job& job : jobs) {
    (job.spec.batch_id.empty() ? singles : members).push_back({job.id, job.lease, ending("{}")});
  }
  std::promise<std::vector<FinishAnswer>> finished;
  auto own = finished.get_future();
  daemon.store->finish(members, [&](auto answers) { finished.set_value(*answers); });
  EXPECT_EQ(daemon.driver->finish(singles)->at(1), FinishAnswer::finished_now);
  std::promise<Status> submitted;
  auto more = submitted.get_future();
  daemon.store->submit({member}, [&](auto answer) { submitted.set_value(answer.status()); });
  EXPECT_TRUE(daemon.driver->submit({spec()}).ok());
  EXPECT_FALSE(is_ready(own) || is_ready(more));
  // Its deadline passes; everybody else's work is looked after.
  database_.run("UPDATE parkd.jobs SET deadline = now() - interval '1 s' WHERE batch_id IS NULL");
  database_.run("UPDATE parkd.jobs SET deadline = now() - interval '1 s' WHERE state = 'queued'");
  const auto purged = daemon.driver->purge();
  ASSERT_TRUE(purged.ok()) << purged.status().to_string();
  EXPECT_EQ(purged->deadlines_missed, 1) << "the single one; the member is held";
  idler.reset();
  EXPECT_EQ(own.get().size(), members.size());
  EXPECT_TRUE(more.get().ok());
  EXPECT_EQ(daemon.driver->purge()->deadlines_missed, 1);
}

TEST_F(PostgresStoreTest, an_idle_key_holds_up_its_own_submit_alone) {
  StoreRig daemon(quiet_options(database_.dsn()));
  JobSpec keyed = spec("postgres");
  keyed.idempotency_key = "k";
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  auto idler = std::make_unique<Idler>(
      database_,
      "INSERT INTO parkd.jobs (model, body, tenant, mailbox_key, idempotency_key) VALUES ('m', "
      "'{}', 'postgres', 'box', 'k')");
  std::promise<Status> submitted;
  auto own = submitted.get_future();
  daemon.store->submit({keyed}, [&](auto answer) { submitted.set_value(answer.status()); });
  for (int i = 0; i < 3; ++i) {
    JobSpec other = spec("postgres");
    other.idempotency_key = "other" + std::to_string(i);
    EXPECT_TRUE(daemon.driver->submit({other}).ok());
  }
  EXPECT_FALSE(is_ready(own));
  idler.reset();
  EXPECT_TRUE(own.get().ok());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 4);
}

class IdleBatchKey : public PostgresStoreTest {
 protected:
  IdleBatchKey() {
    keyed_.tenant = database_.value("SELECT parkd.my_tenant()");
    keyed_.idempotency_key = "night";
    idler_ = std::make_unique<Idler>(database_, kOpen);
  }

  // What another submitter of the same key is told, once this transaction has ended.
  std::future<Result<OpenedBatch>> open(StoreRig& daemon) {
    auto promise = std::make_shared<std::promise<Result<OpenedBatch>>>();
    daemon.store->open_batch(keyed_, [promise](auto opened) { promise->set_value(opened); });
    return promise->get_future();
  }
  static PostgresOptions patient(const TestDatabase& database) {
    PostgresOptions options = quiet_options(database.dsn());
    options.verb_limit = std::chrono::minutes(10);
    return options;
  }

  static constexpr const char* kOpen = "SELECT parkd.open_batch(p_idempotency_key => 'night')";
  BatchSpec keyed_;
  std::unique_ptr<Idler> idler_;
};

TEST_F(IdleBatchKey, holds_up_its_own_batch_alone_and_names_it_once_committed) {
  StoreRig daemon(patient(database_));
  auto own = open(daemon);
  BatchSpec other = keyed_;
  other.idempotency_key = "day";
  EXPECT_FALSE(daemon.driver->open_batch(other)->existed);
  EXPECT_TRUE(daemon.driver->get_batch(daemon.driver->open_batch(other)->batch.id, "").ok());
  EXPECT_FALSE(is_ready(own));
  idler_->commit();
  const auto opened = own.get();
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  EXPECT_TRUE(opened->existed);
  EXPECT_EQ(opened->batch.id, database_.value(kOpen));
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.batches"), 2);
}

TEST_F(IdleBatchKey, is_free_once_rolled_back) {
  StoreRig daemon(patient(database_));
  auto own = open(daemon);
  idler_.reset();
  EXPECT_FALSE(own.get()->existed);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.batches"), 1);
}

TEST_F(IdleBatchKey, of_other_content_is_a_conflict_once_committed) {
  StoreRig daemon(patient(database_));
  keyed_.name = "another";
  auto own = open(daemon);
  EXPECT_TRUE(daemon.driver->list_batches({}).ok());
  EXPECT_FALSE(is_ready(own)) << "nobody knows yet whose key it will be";
  idler_->commit();
  EXPECT_EQ(own.get().status().code(), StatusCode::conflict);
}

TEST_F(IdleBatchKey, is_waited_for_as_long_as_a_verb_may_take) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.verb_limit = std::chrono::milliseconds(300);
  StoreRig daemon(options);
  const auto refused = open(daemon).get();
  EXPECT_EQ(refused.status().code(), StatusCode::unavailable);
  idler_->commit();
  EXPECT_TRUE(open(daemon).get()->existed);
}

TEST_F(IdleBatchKey, is_waited_for_by_sql_as_the_session_says) {
  auto hasty = database_.connect();
  EXPECT_NE(refusal(*hasty, "SET lock_timeout = '50ms'; " + std::string(kOpen))
                .find("canceling statement due to lock timeout"),
            std::string::npos);
  auto waiting = std::async(std::launch::async, [&] {
    auto session = database_.connect();
    return std::string(pqxx::nontransaction(*session).exec1(kOpen)[0].c_str());
  });
  EXPECT_TRUE(eventually([&] {
    return database_.number(
               "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
               "wait_event_type = 'Lock'") == 1;
  }));
  EXPECT_FALSE(is_ready(waiting));
  idler_->commit();
  EXPECT_EQ(waiting.get(), database_.value(kOpen));
}

TEST_F(PostgresStoreTest, an_idle_take_has_its_messages_and_no_reader_waits) {
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec(), spec()}).ok());
  const auto jobs = daemon.driver->claim("m", 2);
  for (const Job& job : *jobs) {
    ASSERT_TRUE(daemon.driver->finish({{job.id, job.lease, ending("{}")}}).ok());
  }
  std::vector<uint64_t> sequences;
  const auto box = daemon.driver->fetch({"default", "box", 0, 9});
  for (const Message& message : box->messages) sequences.push_back(message.sequence);
  auto idler = std::make_unique<Idler>(
      database_, "DELETE FROM parkd.mailbox WHERE sequence = " + std::to_string(sequences.at(0)));
  EXPECT_EQ(daemon.driver->take("default", "box", sequences)->size(), 1u);
  idler.reset();
  EXPECT_EQ(daemon.driver->take("default", "box", sequences)->size(), 1u) << "it rolled back";
}

}  // namespace
}  // namespace parkd
