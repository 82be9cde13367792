// Batches of files where it is PostgreSQL's alone: two daemons, the doors of SQL, who sees what,
// and programs of before.
#include <gtest/gtest.h>

#include "lib/store/batch_rules.h"
#include "lib/store/postgres/client.h"
#include "lib/store/postgres/migrator.h"
#include "tests/store/postgres/roles_world.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

using std::chrono::seconds;

BatchSpec of_a_file(const std::string& tenant) {
  BatchSpec spec;
  spec.tenant = tenant;
  spec.file = FileBatchSpec{"file-1", std::string(kEndpoints[0].path), "24h"};
  return spec;
}

FileProgress at_stage(FileStage stage, int64_t reached = 0) {
  FileProgress progress;
  progress.stage = stage;
  progress.model = "m";
  progress.lines = 1;
  progress.reached = reached;
  return progress;
}

class FileBatches : public Roles {
 protected:
  PostgresOptions options() {
    PostgresOptions options = quiet_options(database_.dsn_as("dora"));
    options.test_clock = &clock_;
    options.beat = std::chrono::hours(1);
    options.ttl = std::chrono::hours(24 * 365);
    return options;
  }
  std::string open_one(StoreRig& daemon, const std::string& tenant = "alice") {
    const auto opened = daemon.driver->open_batch(of_a_file(tenant));
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    return opened.ok() ? opened->batch.id : "";
  }
  static std::string next(StoreRig& daemon, const std::string& name) {
    const auto work = daemon.driver->next_batch_work({name, seconds(60)});
    EXPECT_TRUE(work.ok()) << work.status().to_string();
    return work.ok() && *work ? (*work)->id : "";
  }
  static JobSpec line_of(const std::string& batch, int64_t offset = 0) {
    JobSpec line = spec("alice");
    line.idempotency_key = line_key(batch, offset);
    line.batch_id = batch;
    line.mailbox_key = batch;
    return line;
  }
  // A batch of alice's with one result.
  std::string with_a_result(StoreRig& daemon) {
    const std::string id = open_one(daemon);
    const auto submitted = daemon.driver->submit({line_of(id)});
    EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
    EXPECT_TRUE(daemon.driver->advance_batch(id, at_stage(FileStage::running)).ok());
    const auto jobs = daemon.driver->claim("m", 10);
    EXPECT_EQ(jobs.value().size(), 1u);
    EXPECT_TRUE(
        daemon.driver->finish({{jobs->front().id, jobs->front().lease, ending("{}")}}).ok());
    return id;
  }

  ManualClock clock_{SystemClock().now()};
};

// --- two daemons

TEST_F(FileBatches, what_a_daemon_works_on_another_gets_when_it_has_been_silent_for_the_hold) {
  StoreRig one(options());
  StoreRig other(options());
  const std::string id = open_one(one);
  EXPECT_EQ(next(one, "one"), id);
  EXPECT_EQ(next(other, "other"), "");
  EXPECT_EQ(next(one, "one"), id) << "its own again";
  clock_.advance(seconds(59));
  EXPECT_EQ(next(other, "other"), "");
  clock_.advance(seconds(1));
  EXPECT_EQ(next(other, "other"), id);
  EXPECT_EQ(next(one, "one"), "") << "it is the other's now";
}

TEST_F(FileBatches, a_daemon_that_goes_on_keeps_what_it_works_on) {
  StoreRig one(options());
  StoreRig other(options());
  const std::string id = open_one(one);
  EXPECT_EQ(next(one, "one"), id);
  for (const FileProgress& progress :
       {at_stage(FileStage::expanding), at_stage(FileStage::expanding, 100),
        at_stage(FileStage::expanding, 100)}) {  // the last two are the same
    clock_.advance(seconds(50));
    ASSERT_TRUE(one.driver->advance_batch(id, progress).ok());
    EXPECT_EQ(next(other, "other"), "");
  }
  clock_.advance(seconds(50));
  ASSERT_TRUE(one.driver->advance_batch(id, at_stage(FileStage::expanding, 99)).ok());
  clock_.advance(seconds(10));
  EXPECT_EQ(next(other, "other"), id) << "one that is behind does not count";
}

TEST_F(FileBatches, what_has_nothing_to_do_is_held_by_nobody) {
  StoreRig one(options());
  StoreRig other(options());
  const std::string id = open_one(one);
  const auto submitted = one.driver->submit({line_of(id)});
  ASSERT_TRUE(submitted.ok()) << submitted.status().to_string();
  EXPECT_EQ(next(one, "one"), id);
  ASSERT_TRUE(one.driver->advance_batch(id, at_stage(FileStage::running)).ok());
  EXPECT_EQ(next(one, "one") + next(other, "other"), "");
  const auto jobs = other.driver->claim("m", 10);
  ASSERT_TRUE(other.driver->finish({{jobs->front().id, jobs->front().lease, ending("{}")}}).ok());
  EXPECT_EQ(next(other, "other"), id) << "at once, to count its results";
  EXPECT_EQ(next(one, "one"), "");
  ASSERT_TRUE(other.driver->advance_batch(id, at_stage(FileStage::ended)).ok());
  EXPECT_EQ(next(one, "one") + next(other, "other"), "");
}

TEST_F(FileBatches, a_batch_that_another_session_has_in_hand_is_passed_over) {
  StoreRig daemon(options());
  const std::string first = open_one(daemon);
  clock_.advance(seconds(1));
  const std::string second = open_one(daemon);
  {
    Idler idler(database_, "SELECT * FROM parkd.next_batch_work_v1('x', '1 min', '{}', '{}')");
    EXPECT_EQ(next(daemon, "one"), second);
  }
  EXPECT_EQ(next(daemon, "one"), first);
}

TEST_F(FileBatches, are_listed_alone_for_all_tenants_as_for_one) {
  StoreRig daemon(options());
  std::string all, of_files, of_none;  // the newest first
  for (const char* tenant : {"alice", "bob", "alice"}) {
    BatchSpec plain;
    plain.tenant = tenant;
    clock_.advance(seconds(1));
    const std::string none = daemon.driver->open_batch(plain)->batch.id + " ";
    clock_.advance(seconds(1));
    const std::string file = open_one(daemon, tenant) + " ";
    of_none.insert(0, none);
    of_files.insert(0, file);
    all.insert(0, file + none);
  }
  const auto listed = [&](std::optional<bool> of_file) {
    std::string ids;
    BatchFilter filter;
    filter.of_file = of_file;
    for (const Batch& batch : daemon.driver->list_batches(filter).value()) ids += batch.id + " ";
    return ids;
  };
  EXPECT_EQ(listed({}), all);
  EXPECT_EQ(listed(true), of_files);
  EXPECT_EQ(listed(false), of_none);
}

// --- webhooks

TEST_F(FileBatches, a_webhook_that_a_daemon_sends_another_gets_when_the_hold_is_over) {
  StoreRig one(options());
  StoreRig other(options());
  BatchSpec told = of_a_file("alice");
  told.file->webhook_url = "https://h/1";
  std::vector<std::string> ids;
  for (int i = 0; i < 2; ++i) {
    ids.push_back(one.driver->open_batch(told)->batch.id);
    ASSERT_TRUE(one.driver->advance_batch(ids.back(), at_stage(FileStage::failed)).ok());
    clock_.advance(seconds(1));
  }
  const auto next = [&](StoreRig& daemon, const char* name) {
    const auto due = daemon.driver->next_webhook({name, seconds(60)});
    EXPECT_TRUE(due.ok()) << due.status().to_string();
    return due.ok() && *due ? (*due)->id : "";
  };
  EXPECT_EQ(next(one, "one"), ids[0]);
  EXPECT_EQ(next(other, "other"), ids[1]);
  EXPECT_EQ(next(one, "one"), ids[0]) << "its own again";
  clock_.advance(seconds(59));
  EXPECT_EQ(next(other, "other"), ids[1]) << "its own again";
  clock_.advance(seconds(1));
  EXPECT_EQ(next(other, "other"), ids[0]) << "the one died";
  EXPECT_EQ(next(one, "one"), "") << "they are the other's now";
  WebhookAttempt failed{1, WebhookStatus::pending, seconds(5), "HTTP 500"};
  ASSERT_TRUE(other.driver->note_webhook(ids[0], failed).ok());
  clock_.advance(seconds(5));
  EXPECT_EQ(next(one, "one"), ids[0]) << "nobody holds one whose attempt is over";
  {
    Idler idler(database_, "SELECT 1 FROM parkd.file_batches FOR UPDATE");
    EXPECT_EQ(next(one, "one"), "") << "in another session's hands";
  }
}

// By a program that knows no webhooks, too.
TEST_F(FileBatches, whoever_ends_a_batch_makes_its_webhook_due) {
  StoreRig daemon(options());
  BatchSpec told = of_a_file("alice");
  told.file->webhook_url = "https://h/1";
  const std::string id = daemon.driver->open_batch(told)->batch.id;
  database_.run("SELECT parkd.advance_batch_v1('" + id +
                "', 'failed', '', 0, 0, NULL, 0, 0, false, 0, 0, false, 0, 0, 0, 0)");
  EXPECT_TRUE(daemon.driver->get_batch(id, "")->webhook.next_attempt_at);
  EXPECT_EQ(value("dora",
                  "SELECT existed FROM parkd.open_batch_v2('alice', '', NULL, '', NULL, NULL, '1 "
                  "day', false, NULL, 5, 'file-1', '/v1', '24h')"),
            "f");
}

// --- doors

TEST_F(FileBatches, results_that_are_lines_of_files_go_through_no_door) {
  StoreRig daemon(options());
  const std::string id = with_a_result(daemon);
  const std::string take = "SELECT count(*) FROM parkd.take('" + id + "')";
  const std::string why = "the messages of mailbox key " + id + " are the lines of the batch's";
  for (const char* login : {"alice", "anna"}) {
    const std::string whose = std::string(login) == "anna"
                                  ? "SELECT count(*) FROM parkd.take('" + id + "', 1, 'alice')"
                                  : take;
    EXPECT_TRUE(has(refused(login, whose), why)) << login;
    EXPECT_TRUE(has(refused(login, whose), "delete them when they are not wanted")) << login;
  }
  EXPECT_TRUE(has(refused("dora", "SELECT parkd.take_v1('alice', '" + id + "', '{1}')"), why));
  PostgresClient client(database_.dsn_as("alice"), "");
  const Status refusal = client.take(id, 10, [](const auto&) { return Status(); });
  EXPECT_EQ(refusal.code(), StatusCode::conflict) << refusal.to_string();
  EXPECT_TRUE(has(refusal.message(), "Read those files")) << refusal.message();
  EXPECT_EQ(daemon.driver->take("alice", id, {1}).status().param(), "mailbox_key");
  EXPECT_EQ(value("bob", take), "0") << "another tenant's box of that name";
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.fetch('" + id + "')"), "1");

  FileProgress ended = at_stage(FileStage::ended);
  ended.output.deleted = true;
  ASSERT_TRUE(daemon.driver->advance_batch(id, ended).ok());
  EXPECT_TRUE(has(refused("alice", take), why)) << "the error file is still there";
  ended.errors.deleted = true;
  ASSERT_TRUE(daemon.driver->advance_batch(id, ended).ok());
  EXPECT_EQ(value("alice", take), "1");
}

TEST_F(FileBatches, a_client_adds_no_members_to_a_batch_of_a_file) {
  StoreRig daemon(options());
  const std::string id = open_one(daemon);
  const auto inserted = [&](const std::string& table, const std::string& key) {
    return "INSERT INTO parkd." + table +
           " (model, body, batch_id, mailbox_key, tenant) VALUES "
           "('m', '{}', '" +
           id + "', '" + key + "', 'alice')";
  };
  const std::string why = "batch " + id + " takes the lines of a file and no other jobs";
  for (const char* login : {"alice", "anna"}) {
    for (const std::string& sql :
         {inserted("jobs", "box"), inserted("jobs", id), inserted("jobs_copy", "box"),
          R"(SELECT parkd.submit('{"model":"m","body":{},"tenant":"alice","batch_id":")" + id +
              "\"}')"}) {
      const std::string refusal = refused(login, sql);
      EXPECT_TRUE(has(refusal, why) && has(refusal, "Open a batch of your own")) << refusal;
    }
  }
  PostgresClient client(database_.dsn_as("alice"), "");
  EXPECT_EQ(client.submit({line_of(id)}).status().code(), StatusCode::conflict);
  EXPECT_TRUE(has(refused("postgres", inserted("jobs", "box")), why)) << "as a daemon of before";

  // A daemon refuses what is no line, and nothing else that came with it.
  JobSpec other = line_of(id);
  other.mailbox_key = "box";
  const auto refusal = daemon.driver->submit({spec("alice"), other}).status();
  EXPECT_EQ(refusal.code(), StatusCode::conflict) << refusal.to_string();
  EXPECT_EQ(refusal.param(), "jobs[1].batch_id");
  EXPECT_TRUE(has(refusal.message(), "file-1")) << refusal.message();
  JobSpec of_bob = other;
  of_bob.tenant = "bob";
  EXPECT_TRUE(daemon.driver->submit({of_bob}).ok()) << "a label of another tenant's";
  EXPECT_TRUE(daemon.driver->submit({line_of(id)}).ok());
  EXPECT_EQ(daemon.driver->get_batch(id, "alice")->total, 1);
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.jobs"), "1");
}

TEST_F(FileBatches, a_submit_that_is_refused_leaves_those_that_came_with_it_alone) {
  StoreRig daemon(options());
  const std::string id = open_one(daemon);
  Idler idler(database_, "SELECT 1 FROM parkd.batches FOR UPDATE");  // so that some wait together
  std::vector<std::future<Result<std::vector<SubmittedJob>>>> answers;
  for (int i = 0; i < 6; ++i) {
    JobSpec job = i % 2 == 0 ? line_of(id, i) : spec("alice");
    if (i % 3 == 0) job.batch_id = id, job.mailbox_key = "box";
    auto promise = std::make_shared<std::promise<Result<std::vector<SubmittedJob>>>>();
    answers.push_back(promise->get_future());
    daemon.store->submit({job}, [promise](auto answer) { promise->set_value(std::move(answer)); });
  }
  idler.commit();
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto answer = answers[i].get();
    EXPECT_EQ(answer.ok(), i % 3 != 0) << i << " " << answer.status().to_string();
  }
  EXPECT_EQ(daemon.driver->get_batch(id, "alice")->total, 2);
}

// --- who sees what

TEST_F(FileBatches, are_seen_by_their_tenant) {
  StoreRig daemon(options());
  BatchSpec told = of_a_file("alice");
  told.file->webhook_url = "https://h/1";
  const std::string id = daemon.driver->open_batch(told)->batch.id;
  FileProgress bad = at_stage(FileStage::failed);
  bad.faults = {{"invalid_json_line", "is no JSON", "", 3}};
  ASSERT_TRUE(daemon.driver->advance_batch(id, bad).ok());
  const std::string look =
      "SELECT concat_ws(' ', stage, input_file_id, lines, model, faults #>> '{0,line}', "
      "webhook_url, webhook_status, webhook_attempts) FROM parkd.batch_status";
  for (const char* login : {"alice", "rita", "anna", "dora"}) {
    EXPECT_EQ(value(login, look), "failed file-1 1 m 3 https://h/1 pending 0") << login;
  }
  EXPECT_EQ(value("bob", look), "");
  for (const char* login : {"alice", "rita", "mona"}) {
    for (const char* sql : {"SELECT * FROM parkd.file_batches",
                            "SELECT * FROM parkd.next_batch_work_v1('x', '1 min', '{}', '{}')",
                            "SELECT * FROM parkd.list_batches_v2(NULL, '', 1, true)",
                            "SELECT * FROM parkd.next_webhook_v1('x', '1 min', '{}', '{}')",
                            "SELECT * FROM parkd.note_webhook_v1('x', 1, 'delivered', '0', '')",
                            "SELECT parkd.open_batch_v3('bob', '', NULL, '', NULL, NULL, '1 d')",
                            "SELECT parkd.open_batch_v2('bob', '', NULL, '', NULL, NULL, '1 d')"}) {
      EXPECT_TRUE(has(refused(login, sql), "permission denied")) << login << " " << sql;
    }
  }
  EXPECT_TRUE(has(refused("alice",
                          "SELECT parkd.advance_batch_v1('x', 'ended', '', 0, 0, NULL, 0, "
                          "0, true, 0, 0, true, 0, 0, 0, 0)"),
                  "permission denied"));
  EXPECT_TRUE(has(refused("dora", "DELETE FROM parkd.file_batches"), "permission denied"));
  PostgresClient client(database_.dsn_as("alice"), "");
  const auto seen = client.batch(id);
  ASSERT_TRUE(seen.ok()) << seen.status().to_string();
  EXPECT_EQ(seen->spec.file, told.file);
  EXPECT_EQ(seen->webhook, daemon.driver->get_batch(id, "alice")->webhook);
  EXPECT_EQ(seen->progress, daemon.driver->get_batch(id, "alice")->progress);
}

// --- programs of before, and what a hand wrote

TEST_F(FileBatches,
       a_key_of_a_batch_of_a_file_is_another_content_for_sql_and_for_programs_of_before) {
  StoreRig daemon(options());
  BatchSpec keyed = of_a_file("alice");
  keyed.idempotency_key = "k";
  const std::string id = daemon.driver->open_batch(keyed)->batch.id;
  EXPECT_TRUE(has(refused("alice", "SELECT parkd.open_batch(p_idempotency_key => 'k')"),
                  "belongs to batch " + id + ", whose content differs"));
  EXPECT_EQ(value("dora",
                  "SELECT conflict FROM parkd.open_batch_v1('alice', '', NULL, 'k', NULL, "
                  "NULL, '1 day')"),
            "t");
}

TEST_F(FileBatches, a_batch_that_is_forgotten_takes_its_file_row_with_it) {
  StoreRig daemon(options());
  const std::string id = open_one(daemon);
  ASSERT_TRUE(daemon.driver->advance_batch(id, at_stage(FileStage::failed)).ok());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.file_batches"), 1);
  clock_.advance(std::chrono::hours(24 * 40));
  ASSERT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(daemon.driver->get_batch(id, "").status().code(), StatusCode::not_found);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.file_batches"), 0);
}

TEST_F(FileBatches, faults_that_a_hand_has_broken_are_an_answer_and_not_the_end_of_a_daemon) {
  StoreRig daemon(options());
  const std::string id = open_one(daemon);
  database_.run("UPDATE parkd.file_batches SET faults = '{}'");
  EXPECT_EQ(daemon.driver->get_batch(id, "").status().code(), StatusCode::internal);
  database_.run("UPDATE parkd.file_batches SET faults = NULL");
  EXPECT_TRUE(daemon.driver->get_batch(id, "").ok());
}

// What was opened with a key before is found by the same call.
TEST(FileBatchMigration, keeps_the_contents_behind_keys) {
  TestDatabase database(TestDatabase::Schema::none);
  ASSERT_TRUE(Migrator(database.dsn(), embedded_migrations().first(15)).up(0).ok());
  database.run(
      "SELECT parkd.open_batch('{\"a\":1}', p_name => 'n', p_retention => '2 hours', "
      "p_idempotency_key => 'k')");
  ASSERT_TRUE(Migrator(database.dsn()).up(0).ok());
  StoreRig daemon(quiet_options(database.dsn()));
  BatchSpec spec;
  spec.name = "n";
  spec.metadata = R"({"a": 1})";
  spec.retention = seconds(7200);
  spec.idempotency_key = "k";
  const auto again = daemon.driver->open_batch(spec);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_TRUE(again->existed);
}

TEST(FileBatchMigration, going_down_loses_no_webhook) {
  TestDatabase database;
  Migrator migrator(database.dsn());
  {
    BatchSpec told = of_a_file("default");
    told.file->webhook_url = "https://h/1";
    StoreRig daemon(quiet_options(database.dsn()));
    ASSERT_TRUE(daemon.driver->open_batch(told).ok());
  }
  const Status refused = migrator.down(16);
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_NE(refused.message().find("1 batches have webhooks"), std::string::npos)
      << refused.message();
  database.run("UPDATE parkd.file_batches SET webhook_status = 'given_up'");
  EXPECT_TRUE(migrator.down(16).ok());
}

TEST(FileBatchMigration, going_down_loses_no_progress) {
  TestDatabase database;
  Migrator migrator(database.dsn());
  {
    StoreRig daemon(quiet_options(database.dsn()));
    ASSERT_TRUE(daemon.driver->open_batch(of_a_file("default")).ok());
  }
  const Status refused = migrator.down(15);
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_NE(refused.message().find("1 batches are of files"), std::string::npos)
      << refused.message();
  database.run("DELETE FROM parkd.batches WHERE stage IS NOT NULL");
  EXPECT_TRUE(migrator.down(15).ok());
}

}  // namespace
}  // namespace parkd
