// jobctl --dsn against a real server, logged in as the roles people have. The daemon's part is
// played by its own verbs, so that what is waited for happens when the test says so.
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include "tests/e2e/child_process.h"
#include "tests/store/postgres/test_database.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;
using jobctl::number_at;
using jobctl::text_at;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

class JobctlDsn : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const TestDatabase creates_the_roles;
    pqxx::connection connection("dbname=postgres");
    pqxx::nontransaction tx(connection);
    for (const char* login : {"ada IN ROLE parkd_submitter", "ben IN ROLE parkd_submitter",
                              "rea IN ROLE parkd_reader", "adm IN ROLE parkd_admin", "eve"}) {
      const std::string text = login;
      const size_t space = text.find(' ');
      const std::string login_name = text.substr(0, space);
      const std::string membership = space == text.npos ? "" : text.substr(space);
      if (!tx.exec("SELECT FROM pg_roles WHERE rolname = '" + login_name + "'").empty()) continue;
      tx.exec("CREATE ROLE " + login_name + " LOGIN" + membership);
    }
  }

  void SetUp() override { database_.run("SELECT parkd.register_model_v1('m', '', 8192)"); }

  std::vector<std::string> command(const std::string& login,
                                   std::vector<std::string> arguments) const {
    // Through a pooler, where tests/store/postgres/with_pgbouncer.sh runs one.
    const char* pooler = std::getenv("PARKD_TEST_POOLER");
    const std::string through = pooler == nullptr ? "" : std::string(pooler) + " ";
    arguments.insert(arguments.begin(), {"--dsn", through + database_.dsn_as(login)});
    return arguments;
  }
  JobctlResult as(const std::string& login, const std::vector<std::string>& arguments,
                  const std::string& input = "") const {
    return run_jobctl(command(login, arguments), input);
  }
  JobctlResult jobctl(const std::vector<std::string>& arguments,
                      const std::string& input = "") const {
    return as("ada", arguments, input);
  }
  // A submit's id.
  std::string submit(std::vector<std::string> options, const std::string& login = "ada") {
    options.insert(options.begin(), {"--json", "submit", "--prompt", "Name a river."});
    const JobctlResult result = as(login, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? std::to_string(number_at(json::parse(result.out), "id")) : "0";
  }

  // What is queued ends: completed, or failed where its custom_id says so. Returns how many.
  int64_t finish_all() {
    return database_.number(
        "WITH d AS MATERIALIZED (SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 hour')), "
        "c AS MATERIALIZED (SELECT j.* FROM d, parkd.claim_v1(d.daemon_id, 'm', 1000) j) "
        "SELECT count(*) FROM c, LATERAL (SELECT c.custom_id LIKE 'bad%' IS TRUE AS bad) b, "
        "LATERAL "
        "parkd.finish_v1(ARRAY[c.id], ARRAY[c.run_lease], ARRAY[CASE WHEN bad THEN 'failed' ELSE "
        "'completed' END], ARRAY[CASE WHEN bad THEN 'run_timeout' ELSE '' END], "
        "ARRAY[CASE WHEN bad THEN 'too slow' ELSE '' END], '{\"\"}', '{200}', "
        "ARRAY['{\"choices\":[{\"message\":{\"content\":\"Rhine\"},\"finish_reason\":\"stop\"}]}'],"
        " "
        "'{3}', '{2}', '{1}', '{0}', '{0}') f");
  }

  TestDatabase database_;
};

// --- submit and read

TEST_F(JobctlDsn, a_submitter_submits_and_reads_the_answer) {
  const JobctlResult submitted =
      jobctl({"submit", "--prompt", "Name a river.", "--mailbox-key", "box", "--custom-id", "r-1"});
  EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
  EXPECT_TRUE(has(submitted.out, "accepted; results: jobctl mailbox box")) << submitted.out;
  EXPECT_TRUE(has(jobctl({"mailbox", "box"}).err, "no message under box"));
  ASSERT_EQ(finish_all(), 1);
  const JobctlResult read = jobctl({"mailbox", "box"});
  EXPECT_EQ(read.exit_code, 0) << read.err;
  EXPECT_TRUE(has(read.out, "(r-1)  completed  3+2 tokens\nRhine\n")) << read.out;
}

TEST_F(JobctlDsn, options_reach_their_columns) {
  const std::string id = submit({"--priority", "high", "--deadline", "2090-01-01T00:00:00Z",
                                 "--run-at", "2089-01-01T00:00:00Z", "--run-timeout", "90s",
                                 "--retention", "2d", "--seed", "7", "--max-tokens", "5"});
  EXPECT_EQ(database_.value("SELECT concat_ws(' ', tenant, model, priority, state, seed, "
                            "max_new_tokens, date_part('epoch', run_timeout), date_part('epoch', "
                            "retention), date_part('year', deadline), date_part('year', run_at)) "
                            "FROM parkd.jobs WHERE id = " +
                            id),
            "ada m high scheduled 7 5 90 172800 2090 2089");
}

TEST_F(JobctlDsn, a_second_submit_with_the_same_key_is_the_same_job) {
  const std::string first = submit({"--idempotency-key", "k"});
  EXPECT_EQ(submit({"--idempotency-key", "k"}), first);
  finish_all();
  EXPECT_EQ(submit({"--idempotency-key", "k"}), first) << "it is remembered after its end";
  const JobctlResult other = jobctl({"submit", "--prompt", "Another.", "--idempotency-key", "k"});
  EXPECT_EQ(other.exit_code, 4);
  EXPECT_TRUE(has(other.err, "content differs")) << other.err;
  EXPECT_NE(submit({"--idempotency-key", "k"}, "ben"), first) << "another tenant's key";
  submit({});
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.idempotency"), 3)
      << "a key is always sent";
}

TEST_F(JobctlDsn, a_body_is_stored_as_it_came_and_repeated_by_its_value_at_any_door) {
  const std::string body =
      R"({ "messages":[ {"role":"user", "content":"q"} ],  "temperature":4.0e-1, "user":"\u0061" })";
  const std::vector<std::string> submit_it = {
      "--json",        "submit", "--model",           "m", "--file", "-",
      "--mailbox-key", "box",    "--idempotency-key", "k"};
  const JobctlResult first = jobctl(submit_it, "\xEF\xBB\xBF" + body);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string id = std::to_string(number_at(json::parse(first.out), "id"));
  EXPECT_EQ(database_.value("SELECT body::text FROM parkd.jobs WHERE id = " + id), body);

  const std::string messages = R"("messages":[{"content":"q","role":"user"}])";
  const JobctlResult again =
      jobctl(submit_it, R"({"user":"a","temperature":0.40,)" + messages + R"(,"model":"m"})");
  EXPECT_EQ(again.exit_code, 0) << again.err;
  const auto ada = database_.connect("ada");
  const auto row = [&](const std::string& text) { return pqxx::nontransaction(*ada).exec(text); };
  row("INSERT INTO parkd.jobs (model, body, mailbox_key, idempotency_key) VALUES ('m', "
      "'{\"temperature\":0.4,\"user\":\"a\"," +
      messages + "}', 'box', 'k')");
  EXPECT_EQ(row("SELECT id FROM parkd.submit('{\"model\":\"m\",\"mailbox_key\":\"box\","
                "\"idempotency_key\":\"k\",\"body\":{\"temperature\":400e-3,\"user\":\"a\"," +
                messages + "}}')")[0][0]
                .as<std::string>(),
            id);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 1);
  const JobctlResult other =
      jobctl(submit_it, R"({"user":"a","temperature":0.41,)" + messages + "}");
  EXPECT_EQ(other.exit_code, 4) << other.err;

  const JobctlResult twice = jobctl(submit_it, "{\n" + messages + ",\n\"n\":1, \"n\":2}");
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_TRUE(has(twice.err,
                  "the body on standard input cannot be taken, line 3, byte 8: \"n\" is given "
                  "twice in one object"))
      << twice.err;
}

TEST_F(JobctlDsn, a_submit_sent_again_after_its_deadline_finds_its_job) {
  const std::string deadline = database_.value(
      "SELECT to_char((now() + interval '10 s') AT TIME ZONE 'UTC', "
      "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
  const std::vector<std::string> options = {"--idempotency-key", "k", "--deadline", deadline};
  const std::string first = submit(options);
  const auto ada = database_.connect("ada");
  const auto row = [&](const std::string& text) { return pqxx::nontransaction(*ada).exec(text); };
  const std::string insert =
      "INSERT INTO parkd.jobs (model, body, idempotency_key, deadline) VALUES ('m', "
      "'{\"messages\":[]}', 'i', '" +
      deadline + "')";
  row(insert);
  const std::string function =
      "SELECT id FROM parkd.submit('{\"model\":\"m\",\"body\":{\"messages\":[]},"
      "\"idempotency_key\":\"f\",\"deadline\":\"" +
      deadline + "\"}')";
  const std::string by_function = row(function)[0][0].as<std::string>();
  while (database_.value("SELECT clock_timestamp() > '" + deadline + "'") != "t") ::usleep(20'000);

  EXPECT_EQ(submit(options), first);
  EXPECT_EQ(row(function)[0][0].as<std::string>(), by_function);
  row(insert);
  // A statement of several rows, of which one exists and its time is over.
  row("INSERT INTO parkd.jobs (model, body, idempotency_key, deadline) VALUES ('m', "
      "'{\"messages\":[]}', 'i', '" +
      deadline + "'), ('m', '{}', 'new', NULL)");
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 4);
  const JobctlResult late = jobctl({"submit", "--prompt", "x", "--deadline", deadline});
  EXPECT_EQ(late.exit_code, 2) << "new, it is held to the present";
  EXPECT_TRUE(has(late.err, "deadline")) << late.err;
}

TEST_F(JobctlDsn, submits_of_one_key_at_the_same_moment_are_one_job) {
  std::vector<std::unique_ptr<ChildProcess>> racers;
  std::vector<std::string> argv =
      command("ada", {"--json", "submit", "--prompt", "x", "--idempotency-key", "race"});
  argv.insert(argv.begin(), JOBCTL_BINARY);
  for (int i = 0; i < 4; ++i) racers.push_back(std::make_unique<ChildProcess>(argv));
  std::set<int64_t> ids;
  for (const auto& racer : racers) {
    EXPECT_EQ(racer->wait(), 0) << racer->err();
    ids.insert(number_at(json::parse(racer->out()), "id"));
  }
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 1);
}

TEST_F(JobctlDsn, wait_prints_the_answer_whether_results_are_announced_or_polled_for) {
  for (const char* announced : {"false", "true"}) {
    database_.run(std::string("UPDATE parkd.settings SET notify_results = ") + announced);
    std::vector<std::string> argv = command("ada", {"submit", "--prompt", "x", "--wait"});
    argv.insert(argv.begin(), JOBCTL_BINARY);
    ChildProcess waiting(argv);
    while (finish_all() == 0) {
    }
    EXPECT_EQ(waiting.wait(), 0) << waiting.err();
    EXPECT_EQ(waiting.out(), "Rhine\n");
  }
  const JobctlResult late =
      jobctl({"submit", "--prompt", "x", "--wait", "--wait-timeout", "1s", "--run-at", "+8h"});
  EXPECT_EQ(late.exit_code, 124) << late.err;
}

TEST_F(JobctlDsn, what_failed_is_said_with_its_code) {
  const std::string id = submit({"--custom-id", "bad one"});
  finish_all();
  const JobctlResult status = jobctl({"status", id});
  EXPECT_EQ(status.exit_code, 1);
  EXPECT_TRUE(has(status.out, "failed: run_timeout: too slow")) << status.out;
}

// --- the mailbox

TEST_F(JobctlDsn, a_mailbox_is_paged_by_cursor) {
  for (int i = 0; i < 5; ++i) submit({"--mailbox-key", "box", "--custom-id", std::to_string(i)});
  finish_all();
  std::string seen;
  std::string cursor;
  for (int page = 0; page < 3; ++page) {
    std::vector<std::string> arguments = {"--json", "mailbox", "box", "--limit", "2"};
    if (!cursor.empty()) arguments.insert(arguments.end(), {"--cursor", cursor});
    const JobctlResult result = jobctl(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const json::value answer = json::parse(result.out);
    for (const json::value& message : answer.at("messages").as_array()) {
      seen += text_at(message, "custom_id");
    }
    cursor = text_at(answer, "next_cursor");
  }
  EXPECT_EQ(seen, "01234");
  EXPECT_EQ(jobctl({"mailbox", "box", "--cursor", "nonsense"}).exit_code, 2);
  EXPECT_EQ(jobctl({"mailbox", "box", "--limit", "1001"}).exit_code, 2);
}

TEST_F(JobctlDsn, of_two_takers_one_gets_a_message) {
  constexpr int kMessages = 24;
  for (int i = 0; i < kMessages; ++i) submit({"--mailbox-key", "box"});
  finish_all();
  std::vector<std::string> argv = command(
      "ada", {"--json", "mailbox", "box", "--take", "--limit", std::to_string(kMessages / 4)});
  argv.insert(argv.begin(), JOBCTL_BINARY);
  std::multiset<int64_t> taken;
  while (taken.size() < kMessages) {
    std::vector<std::unique_ptr<ChildProcess>> takers;
    for (int i = 0; i < 2; ++i) takers.push_back(std::make_unique<ChildProcess>(argv));
    size_t n_now = 0;
    for (const auto& taker : takers) {
      ASSERT_EQ(taker->wait(), 0) << taker->err();
      const json::value answer = json::parse(taker->out());
      for (const json::value& message : answer.at("messages").as_array()) {
        taken.insert(number_at(message, "id"));
        ++n_now;
      }
    }
    ASSERT_GT(n_now, 0u) << "messages were left and nobody got one";
  }
  EXPECT_EQ(std::set<int64_t>(taken.begin(), taken.end()).size(), taken.size());
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 0);
}

TEST_F(JobctlDsn, what_cannot_be_printed_is_not_taken) {
  submit({"--mailbox-key", "box"});
  finish_all();
  ChildProcess full({"/bin/sh", "-c",
                     std::string(JOBCTL_BINARY) + " --dsn '" + database_.dsn_as("ada") +
                         "' mailbox box --take >/dev/full"});
  EXPECT_EQ(full.wait(), 4) << full.err();
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 1);
  EXPECT_TRUE(has(jobctl({"mailbox", "box", "--take"}).out, "Rhine"));
}

TEST_F(JobctlDsn, done_and_gone_differs_from_never_existed) {
  const std::string id = submit({"--mailbox-key", "box"});
  finish_all();
  jobctl({"mailbox", "box", "--take"});
  const JobctlResult gone = jobctl({"--json", "status", id});
  EXPECT_EQ(gone.exit_code, 0) << gone.err;
  EXPECT_TRUE(has(gone.out, "taken or has expired")) << gone.out;
  EXPECT_EQ(jobctl({"status", "999999"}).exit_code, 4);
}

// --- jobs

TEST_F(JobctlDsn, a_job_can_be_followed_listed_and_cancelled) {
  const std::string later = submit({"--run-at", "+8h", "--custom-id", "later"});
  const std::string now = submit({});
  EXPECT_TRUE(has(jobctl({"status", later}).out, "scheduled"));
  EXPECT_TRUE(has(jobctl({"status", now}).out, "queued"));
  EXPECT_TRUE(has(jobctl({"list", "--state", "scheduled"}).out, "later"));
  EXPECT_FALSE(has(jobctl({"list", "--state", "queued"}).out, "later"));
  EXPECT_FALSE(has(jobctl({"list"}).out, "there are more"));
  EXPECT_EQ(jobctl({"list", "--state", "asleep"}).exit_code, 2);
  database_.run(
      "WITH d AS MATERIALIZED (SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 hour')) "
      "SELECT c.id FROM d, parkd.claim_v1(d.daemon_id, 'm', 9) c");
  database_.run("UPDATE parkd.daemons SET status = '{\"jobs\":[{\"id\":" + now +
                ",\"state\":\"parked\",\"units\":7,\"reason\":\"waits for 3 units\"}]}'");
  EXPECT_TRUE(has(jobctl({"status", now}).out, "parked  7 units")) << jobctl({"status", now}).out;
  EXPECT_TRUE(has(jobctl({"status", now}).out, "waits for 3 units"));
  EXPECT_TRUE(has(jobctl({"cancel", now}).out, "cancel_requested"));
  const JobctlResult cancelled = jobctl({"cancel", later, "999999"});
  EXPECT_EQ(cancelled.exit_code, 4) << "the second is none";
  EXPECT_TRUE(has(cancelled.out, "job " + later + "  cancelling (it will not run"))
      << cancelled.out;
  EXPECT_TRUE(has(jobctl({"status", later}).out, "cancelling"));
  EXPECT_TRUE(has(jobctl({"list", "--state", "cancelling"}).out, "later"));
  database_.run("SELECT parkd.end_cancelled_v1(0)");
  EXPECT_EQ(jobctl({"status", later}).exit_code, 1) << "it did not complete";
}

TEST_F(JobctlDsn, what_failed_is_requeued_by_id_or_by_code) {
  const std::string first = submit({"--custom-id", "bad 1"});
  submit({"--custom-id", "bad 2"});
  const std::string good = submit({"--custom-id", "good"});
  finish_all();
  const JobctlResult by_id = jobctl({"requeue", first});
  EXPECT_EQ(by_id.exit_code, 0) << by_id.err;
  EXPECT_TRUE(has(by_id.out, "job " + first + "  requeued as job ")) << by_id.out;
  const JobctlResult completed = jobctl({"requeue", good});
  EXPECT_EQ(completed.exit_code, 4) << completed.out;
  EXPECT_EQ(finish_all(), 1);
  const JobctlResult by_code = jobctl({"--json", "requeue", "--failed-with", "run_timeout"});
  EXPECT_GE(json::parse(by_code.out).at("jobs").as_array().size(), 2u) << by_code.out;
  EXPECT_EQ(jobctl({"requeue"}).exit_code, 2);
  EXPECT_EQ(jobctl({"requeue", first, "--failed-with", "run_timeout"}).exit_code, 2);
}

// --- tenants and roles

TEST_F(JobctlDsn, the_tenant_is_the_logins_and_no_other) {
  const std::string of_ada = submit({"--mailbox-key", "box"});
  const JobctlResult as_ben =
      jobctl({"--tenant", "ben", "submit", "--prompt", "x", "--mailbox-key", "box"});
  EXPECT_EQ(as_ben.exit_code, 4);
  EXPECT_TRUE(has(as_ben.err, "tenant ada, not for ben")) << as_ben.err;
  EXPECT_EQ(jobctl({"--tenant", "ben", "mailbox", "box"}).exit_code, 4);
  EXPECT_EQ(as("ben", {"status", of_ada}).exit_code, 4);
  EXPECT_EQ(as("ben", {"cancel", of_ada}).exit_code, 4);
  finish_all();
  EXPECT_TRUE(has(as("ben", {"mailbox", "box", "--take"}).err, "no message"));
  EXPECT_TRUE(has(as("adm", {"--tenant", "ada", "mailbox", "box"}).out, "Rhine"));
  EXPECT_TRUE(has(as("adm", {"--tenant", "ada", "status", of_ada}).out, "Rhine"));
  EXPECT_EQ(as("adm", {"--tenant", "ben", "status", of_ada}).exit_code, 4);
}

TEST_F(JobctlDsn, a_reader_reads_and_a_stranger_is_told_whom_to_ask) {
  database_.run("INSERT INTO parkd.tenant_logins VALUES ('rea', 'ada')");
  submit({"--mailbox-key", "box"});
  finish_all();
  EXPECT_TRUE(has(as("rea", {"mailbox", "box"}).out, "Rhine"));
  const JobctlResult submitted = as("rea", {"submit", "--prompt", "x"});
  EXPECT_EQ(submitted.exit_code, 4);
  EXPECT_TRUE(has(submitted.err, "permission denied")) << submitted.err;
  EXPECT_EQ(as("rea", {"mailbox", "box", "--take"}).exit_code, 4);
  const JobctlResult stranger = as("eve", {"list"});
  EXPECT_EQ(stranger.exit_code, 4);
  EXPECT_TRUE(has(stranger.err, "GRANT parkd_submitter")) << stranger.err;
  EXPECT_TRUE(has(stranger.err, "as eve")) << stranger.err;
}

// --- bad input and bad databases

TEST_F(JobctlDsn, bad_input_is_refused_as_a_daemon_refuses_it) {
  const JobctlResult hot = jobctl({"submit", "--prompt", "x", "--temperature", "5"});
  EXPECT_EQ(hot.exit_code, 2);
  EXPECT_TRUE(has(hot.err, "temperature")) << hot.err;
  const JobctlResult model = jobctl({"submit", "--prompt", "x", "--model", "gpt"});
  EXPECT_EQ(model.exit_code, 2);
  EXPECT_TRUE(has(model.err, "Known models: m")) << model.err;
  EXPECT_EQ(jobctl({"submit", "--prompt", "x", "--deadline", "2001-01-01T00:00:00Z"}).exit_code, 2);
  database_.run("SELECT parkd.register_model_v1('m2', '', 8192)");
  const JobctlResult which = jobctl({"submit", "--prompt", "x"});
  EXPECT_EQ(which.exit_code, 2);
  EXPECT_TRUE(has(which.err, "2 models")) << which.err;
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
}

TEST_F(JobctlDsn, a_full_queue_is_a_refusal_that_gives_both_numbers) {
  database_.run("INSERT INTO parkd.limits VALUES ('m', 2, 'refuse', 2)");
  submit({});
  submit({});
  database_.run("SELECT parkd.sample_depth_v1()");
  const JobctlResult full = jobctl({"submit", "--prompt", "x"});
  EXPECT_EQ(full.exit_code, 4) << full.err;
  EXPECT_TRUE(has(full.err, "depth 2, limit 2")) << full.err;
}

TEST_F(JobctlDsn, socket_and_dsn_are_one_or_the_other) {
  const JobctlResult both = jobctl({"--socket", "/none", "list"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_TRUE(has(both.err, "not both")) << both.err;
  const std::string dsn = "PARKD_DSN=" + database_.dsn_as("ada");
  EXPECT_EQ(run_jobctl({"list"}, "", {dsn}).exit_code, 0) << "PARKD_DSN alone will do";
  EXPECT_EQ(run_jobctl({"list"}, "", {dsn, "PARKD_SOCKET=/none"}).exit_code, 2);
  EXPECT_EQ(run_jobctl({"--socket", "/none", "list"}, "", {dsn}).exit_code, 3);
  EXPECT_EQ(run_jobctl(command("ada", {"list"}), "", {"PARKD_SOCKET=/none"}).exit_code, 0);
  EXPECT_EQ(run_jobctl({"--dsn", "", "list"}, "", {"PGDATABASE=" + database_.name(), "PGUSER=ada"})
                .exit_code,
            0)
      << "libpq's own environment";
  EXPECT_EQ(jobctl({"pool"}).exit_code, 2) << "a pool is a daemon's";
}

TEST_F(JobctlDsn, a_database_that_will_not_do_is_named_with_what_to_run) {
  const JobctlResult wrong = run_jobctl({"--dsn", "dbname=nowhere", "list"});
  EXPECT_EQ(wrong.exit_code, 3);
  EXPECT_TRUE(has(wrong.err, "database nowhere")) << wrong.err;
  TestDatabase empty(TestDatabase::Schema::none);
  const JobctlResult missing = run_jobctl({"--dsn", empty.dsn(), "list"});
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_TRUE(has(missing.err, "run jobctl migrate up")) << missing.err;
  ASSERT_EQ(run_jobctl({"--dsn", empty.dsn(), "migrate", "up", "--to", "3"}).exit_code, 0);
  const JobctlResult old = run_jobctl({"--dsn", empty.dsn(), "submit", "--prompt", "x"});
  EXPECT_EQ(old.exit_code, 4);
  EXPECT_TRUE(has(old.err, "is at version 3")) << old.err;
}

// --- batches

class JobctlDsnBatch : public JobctlDsn {
 protected:
  std::string file(const std::string& name, const std::vector<std::string>& custom_ids,
                   const std::string& more = "") {
    const std::string path = directory_.path() + "/" + name;
    std::ofstream out(path);
    for (const std::string& id : custom_ids) {
      out << R"({"custom_id":")" << id << R"(","body":{"messages":[{"role":"user","content":"q"}])"
          << more << "}}\n";
    }
    return path;
  }
  TempDir directory_;
};

TEST_F(JobctlDsnBatch, a_batch_is_opened_filled_sealed_and_counted) {
  const JobctlResult opened = jobctl({"batch", "open", "--deadline", "+8h"});
  ASSERT_EQ(opened.exit_code, 0) << opened.err;
  const std::string id = opened.out.substr(0, opened.out.find('\n'));
  const std::string input = file("in.jsonl", {"a", "b", "bad c"});
  const JobctlResult added = jobctl({"batch", "add", id, input});
  EXPECT_EQ(added.exit_code, 0) << added.err;
  EXPECT_TRUE(has(added.out, "3 jobs added")) << added.out;
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs j JOIN parkd.batches b ON b.id = "
                             "j.batch_id AND b.deadline = j.deadline AND j.priority = 'low'"),
            3);
  const JobctlResult again = jobctl({"batch", "add", id, input, "--seal"});
  EXPECT_TRUE(has(again.out, "0 jobs added, 3 were there already")) << again.out;
  EXPECT_TRUE(has(jobctl({"batch", "status", id}).out, "in_progress"));
  finish_all();
  const json::value batch = json::parse(jobctl({"--json", "batch", "status", id}).out);
  EXPECT_EQ(text_at(batch, "status"), "finished");
  EXPECT_EQ(number_at(batch, "completed"), 2);
  EXPECT_EQ(number_at(batch, "failed"), 1);
  EXPECT_TRUE(has(jobctl({"mailbox", id}).out, "(b)  completed"));
  const JobctlResult sealed = jobctl({"batch", "add", id, file("more.jsonl", {"d"})});
  EXPECT_EQ(sealed.exit_code, 4);
  EXPECT_TRUE(has(sealed.err, "sealed")) << sealed.err;
}

TEST_F(JobctlDsnBatch, bad_lines_are_named_and_none_is_added) {
  const std::string id = [&] {
    const std::string out = jobctl({"batch", "open"}).out;
    return out.substr(0, out.find('\n'));
  }();
  const JobctlResult refused =
      jobctl({"batch", "add", id, file("in.jsonl", {"a", "b"}, R"(,"temperature":9)")});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(has(refused.err, "line 2: temperature")) << refused.err;
  EXPECT_EQ(jobctl({"batch", "add", id, file("twice.jsonl", {"a", "a"})}).exit_code, 2);
  const JobctlResult unknown =
      jobctl({"batch", "add", id, file("m.jsonl", {"a"}), "--model", "gpt"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
  EXPECT_EQ(jobctl({"batch", "status", "batch_none"}).exit_code, 4);
}

TEST_F(JobctlDsnBatch, cancel_ends_a_batch) {
  const std::string out = jobctl({"batch", "open"}).out;
  const std::string id = out.substr(0, out.find('\n'));
  ASSERT_EQ(jobctl({"batch", "add", id, file("in.jsonl", {"a", "b"})}).exit_code, 0);
  EXPECT_EQ(as("ben", {"batch", "cancel", id}).exit_code, 4) << "another tenant's";
  EXPECT_EQ(jobctl({"batch", "cancel", id}).exit_code, 0);
  const json::value asked = json::parse(jobctl({"--json", "batch", "status", id}).out);
  EXPECT_EQ(text_at(asked, "status"), "cancelling");
  EXPECT_EQ(number_at(asked, "cancelling"), 2);
  database_.run("SELECT parkd.end_cancelled_v1(0)");
  const json::value batch = json::parse(jobctl({"--json", "batch", "status", id}).out);
  EXPECT_EQ(text_at(batch, "status"), "finished");
  EXPECT_EQ(number_at(batch, "cancelled"), 2);
}

TEST_F(JobctlDsnBatch, a_batch_is_listed_and_its_failed_members_are_requeued) {
  const std::string opened = jobctl({"batch", "open"}).out;
  const std::string id = opened.substr(0, opened.find('\n'));
  const std::string input = file("in.jsonl", {"good", "bad a", "bad b"});
  ASSERT_EQ(jobctl({"batch", "add", id, input}).exit_code, 0);
  submit({"--custom-id", "bad single"});
  const auto n_listed = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--json", "list", "--batch", id};
    words.insert(words.end(), more.begin(), more.end());
    return json::parse(jobctl(words).out).at("jobs").as_array().size();
  };
  EXPECT_EQ(n_listed({}), 3u);
  EXPECT_EQ(n_listed({"--custom-id", "bad a"}), 1u);
  EXPECT_EQ(n_listed({"--mailbox", "elsewhere"}), 0u);
  EXPECT_EQ(json::parse(jobctl({"--json", "list", "--custom-id", "bad single"}).out)
                .at("jobs")
                .as_array()
                .size(),
            1u);
  EXPECT_EQ(
      json::parse(as("ben", {"--json", "list", "--batch", id}).out).at("jobs").as_array().size(),
      0u)
      << "another tenant's";
  EXPECT_EQ(finish_all(), 4);
  const auto n_requeued = [&](const std::vector<std::string>& codes) {
    std::vector<std::string> words = {"--json", "requeue", "--batch", id};
    words.insert(words.end(), codes.begin(), codes.end());
    return json::parse(jobctl(words).out).at("jobs").as_array().size();
  };
  EXPECT_EQ(n_requeued({"--code", "internal"}), 0u);
  EXPECT_EQ(
      json::parse(as("ben", {"--json", "requeue", "--batch", id}).out).at("jobs").as_array().size(),
      0u);
  EXPECT_EQ(n_requeued({"--code", "internal,run_timeout"}), 2u);
  EXPECT_EQ(n_requeued({}), 0u);
}

TEST_F(JobctlDsnBatch, batch_run_works_without_a_daemon_of_its_own) {
  const std::string input = file("in.jsonl", {"a", "b", "bad c"});
  const std::string bad = directory_.path() + "/bad.jsonl";
  std::ofstream(bad) << std::ifstream(input).rdbuf()
                     << R"({"custom_id":"m","body":{"model":"gpt","messages":[{"role":"user",)"
                     << R"("content":"q"}]}})"
                     << "\n";
  const std::string output = directory_.path() + "/out.jsonl";
  std::vector<std::string> argv =
      command("ada", {"batch", "run", bad, "-o", output, "--deadline", "+1h"});
  argv.insert(argv.begin(), JOBCTL_BINARY);
  ChildProcess run(argv);
  int64_t n_finished = 0;
  while (n_finished < 3) n_finished += finish_all();
  EXPECT_EQ(run.wait(), 1) << run.err();
  std::ifstream lines(output);
  std::string line;
  std::set<std::string> seen;
  while (std::getline(lines, line)) {
    const json::value result = json::parse(line);
    seen.insert(text_at(result, "custom_id"));
    if (text_at(result, "custom_id") == "m") {
      EXPECT_TRUE(has(line, "is not known here")) << line;
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"a", "b", "bad c", "m"}));
}

// What jobctl cannot know is wrong, the database says of the whole chunk; it is one line's all the
// same, whichever place it has.
TEST_F(JobctlDsnBatch, lines_that_only_the_database_refuses_are_failed_lines) {
  const auto line = [](const std::string& id, const std::string& member, const std::string& text) {
    return R"({"custom_id":")" + id + R"(",)" + member +
           R"("body":{"max_tokens":2,"messages":[{"role":"user","content":")" + text + R"("}]}})" +
           "\n";
  };
  const std::string input = directory_.path() + "/in.jsonl";
  {
    std::ofstream file(input);
    for (int i = 0; i < 70; ++i) file << line("ok" + std::to_string(i), "", "q");
    file << line("critical", R"("priority":"critical",)", "q");
    file << line("nul", "", "a\\u0000b");
    file << line("name", R"("mailbox_key":"x",)", "q");
  }
  const std::string output = directory_.path() + "/out.jsonl";
  std::vector<std::string> argv =
      command("ada", {"batch", "run", input, "-o", output, "--deadline", "+1h"});
  argv.insert(argv.begin(), JOBCTL_BINARY);
  ChildProcess run(argv);
  int64_t n_finished = 0;
  while (n_finished < 71 && run.err().find("jobctl:") == std::string::npos) {
    n_finished += finish_all();
  }
  EXPECT_EQ(run.wait(), 1) << run.err();
  std::ifstream lines(output);
  std::map<std::string, json::value> results;
  for (std::string text; std::getline(lines, text);) {
    const json::value result = json::parse(text);
    results[text_at(result, "custom_id")] = result;
  }
  EXPECT_EQ(results.size(), 73u) << run.err();
  for (const auto& [custom_id, result] : results) {
    const bool refused = custom_id == "critical" || custom_id == "nul";
    EXPECT_EQ(number_at(result, "response.status_code") == 200, !refused)
        << json::serialize(result);
  }
  const auto message = [&results](const char* id) {
    return text_at(results[id], "response.body.error.message");
  };
  EXPECT_TRUE(has(message("nul"), "\\u0000 in a string, which is not text; remove it"))
      << message("nul");
  EXPECT_TRUE(has(message("critical"), "critical")) << message("critical");
}

}  // namespace
}  // namespace parkd::testing
