// The same queue through both its faces: what people write in SQL is what a daemon sees, and the
// other way round. Roles have a test of their own (roles_test.cc).
#include <gtest/gtest.h>

#include <future>

#include "lib/store/postgres/client.h"
#include "lib/store/postgres/depth_estimate.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"
#include "tests/support/whole_job.h"

namespace parkd {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

class Faces : public testing::Test {
 protected:
  void SetUp() override {
    database_.run("INSERT INTO parkd.models (name) VALUES ('m')");
    open({});
  }
  void TearDown() override {
    driver_.reset();
    store_.reset();
  }
  void open(const StoreOptions& options) {
    TearDown();
    auto opened = open_postgres_store(quiet_options(database_.dsn()), options);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
  }
  std::string refused(const std::string& sql) {
    auto session = database_.connect();
    return refusal(*session, sql);
  }
  static JobSpec spec() {
    JobSpec spec;
    spec.model = "m";
    spec.body = R"({"messages":[],"max_tokens":9})";
    return spec;
  }
  Job job(JobId id) { return std::get<Job>(driver_->get(id, "").value()); }
  void finish_as(const Job& job, Outcome outcome, const std::string& code) {
    Ending ending;
    ending.outcome = outcome;
    ending.error_code = code;
    ASSERT_TRUE(driver_->finish({{job.id, job.lease, ending}}).ok());
  }

  TestDatabase database_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
};

// As jobctl does it with --dsn. Tokens are the database's to count.
TEST_F(Faces, every_field_of_a_job_reaches_the_daemon_by_a_client_of_the_database) {
  JobSpec given = whole_spec(SystemClock().now());
  BatchSpec batch;
  batch.tenant = given.tenant;
  batch.deadline = given.deadline;
  given.batch_id = driver_->open_batch(batch)->batch.id;
  PostgresClient client(database_.dsn(), "");
  const auto submitted = client.submit({given});
  ASSERT_TRUE(submitted.ok()) << submitted.status().to_string();
  const JobSpec there = job(submitted->at(0).id).spec;
  given.prompt_tokens = there.prompt_tokens;
  given.tokens_are_exact = false;
  expect_same(there, given);
}

TEST_F(Faces, every_column_of_a_client_reaches_the_daemon) {
  const auto id = static_cast<JobId>(database_.number(
      "INSERT INTO parkd.jobs (model, body, custom_id, endpoint, tenant, priority, mailbox_key, "
      "metadata, idempotency_key, run_at, deadline, retention, run_timeout, seed, max_attempts) "
      "VALUES ('m', '{\"messages\": [], \"n\": 2, \"max_tokens\": 7}', 'order-17', "
      "'/v1/chat/completions', 'alice', 'high', 'box', '{\"a\": 1}', 'k', now() + interval '1 h', "
      "'2100-01-01 00:00:00Z', '3 days', '90 s', 5, 2) RETURNING id"));
  const Job found = job(id);
  EXPECT_EQ(found.state, JobState::scheduled);
  EXPECT_EQ(found.spec.body, "{\"messages\": [], \"n\": 2, \"max_tokens\": 7}");
  EXPECT_EQ(found.spec.custom_id, "order-17");
  EXPECT_EQ(found.spec.tenant, "alice");
  EXPECT_EQ(found.spec.priority, Priority::high);
  EXPECT_EQ(found.spec.mailbox_key, "box");
  EXPECT_EQ(found.spec.metadata, "{\"a\": 1}");
  EXPECT_EQ(found.spec.idempotency_key, "k");
  EXPECT_EQ(to_rfc3339(*found.spec.deadline).substr(0, 10), "2100-01-01");
  EXPECT_EQ(found.spec.retention, std::chrono::hours(72));
  EXPECT_EQ(found.spec.run_timeout, std::chrono::seconds(90));
  EXPECT_EQ(found.spec.seed, 5u);
  EXPECT_EQ(found.spec.max_attempts, 2);
  EXPECT_EQ(found.spec.n_choices, 2);
  EXPECT_EQ(found.spec.max_new_tokens, 7);
  EXPECT_FALSE(found.spec.tokens_are_exact);
  EXPECT_EQ(found.order_key, *found.spec.run_at + std::chrono::minutes(10));
}

TEST_F(Faces, what_is_left_out_is_filled_in) {
  const Job found = job(static_cast<JobId>(
      database_.number("INSERT INTO parkd.jobs (body) VALUES ('{\"model\":\"m\",\"seed\":77}') "
                       "RETURNING id")));
  EXPECT_EQ(found.spec.model, "m");
  EXPECT_EQ(found.spec.seed, 77u);
  EXPECT_EQ(found.spec.tenant, "default");
  EXPECT_EQ(found.spec.priority, Priority::normal);
  EXPECT_EQ(found.spec.endpoint, "/v1/chat/completions");
  EXPECT_EQ(found.spec.mailbox_key.substr(0, 3), "mb-");
  EXPECT_EQ(found.spec.retention, std::chrono::hours(7 * 24));
  EXPECT_EQ(found.spec.max_attempts, 3);
  EXPECT_EQ(found.spec.max_new_tokens, 0) << "not known before its prompt is counted";
  // In the price it is the default of a daemon, and nothing is more than the context.
  const auto need = [&](const std::string& body) {
    database_.run("DELETE FROM parkd.jobs");
    database_.run("INSERT INTO parkd.jobs (model, body) VALUES ('m', '" + body + "')");
    return database_.number("SELECT need_tokens FROM parkd.depth_by_tenant");
  };
  EXPECT_EQ(need("{}"), 0 + 8192 / 5);
  EXPECT_EQ(need(R"({"max_tokens":7})"), 4 + 7);
  EXPECT_EQ(need(R"({"max_tokens":2000000000,"n":3})"), 3 * (7 + 8192));
  database_.run("UPDATE parkd.models SET context_tokens = 2147483647");
  EXPECT_EQ(need(R"({"max_tokens":2147483647})"), 6 + int64_t{2147483647});
  database_.run("UPDATE parkd.models SET context_tokens = 8192");
  EXPECT_EQ(need(R"({"a":")" + std::string(40'000, 'x') + R"("})"), 8192 + 8192 / 5);
}

// Of a list each prompt has its choices and a part of the body.
TEST_F(Faces, the_price_of_a_completions_job_counts_all_its_prompts) {
  const auto price = [&](const std::string& body) {
    const Job found = job(static_cast<JobId>(database_.number(
        "INSERT INTO parkd.jobs (model, endpoint, body) VALUES ('m', '/v1/completions', '" + body +
        "') RETURNING id")));
    return std::vector<int32_t>{found.spec.n_choices, found.spec.prompt_tokens,
                                found.spec.max_new_tokens};
  };
  using Price = std::vector<int32_t>;
  const std::string text(400, 'x');  // of a body of some 430 bytes
  EXPECT_EQ(price(R"({"prompt":")" + text + R"(","n":2,"max_tokens":9})"), (Price{2, 108, 9}));
  EXPECT_EQ(price(R"({"prompt":[")" + text + R"("]})"), (Price{1, 103, 16}));
  EXPECT_EQ(price(R"({"prompt":[")" + text + R"(",[1,2],"a"],"n":4})"), (Price{12, 35, 16}));
  EXPECT_EQ(price(R"({"prompt":[1,2,3,4,5,6,7,8,9,0]})"), (Price{1, 8, 16})) << "ids of one prompt";
  for (const char* none : {R"({"prompt":7})", R"({"prompt":[]})", R"({"prompt":{"0":"a"}})",
                           R"({"prompt":null})", R"({"n":1})"}) {
    EXPECT_EQ(price(none).at(0), 1) << none << ": is the daemon's to refuse";
  }
}

// As of a chat, but for the name of its limit.
TEST_F(Faces, the_price_of_a_response_has_its_own_limit) {
  const auto insert = [](const std::string& body) {
    return "INSERT INTO parkd.jobs (model, endpoint, body) VALUES ('m', '/v1/responses', '" + body +
           "') RETURNING id";
  };
  const auto limit = [&](const std::string& body) {
    return job(static_cast<JobId>(database_.number(insert(body)))).spec.max_new_tokens;
  };
  EXPECT_EQ(limit(R"({"input":"a","max_output_tokens":9})"), 9);
  EXPECT_EQ(limit(R"({"input":"a","max_output_tokens":9.0})"), 9);
  for (const char* none : {R"({"input":"a"})", R"({"input":"a","max_output_tokens":null})"}) {
    EXPECT_EQ(limit(none), 0) << none;
  }
  for (const char* bad : {"0", "2147483648", "1.5", "\"9\"", "[9]", "true"}) {
    const std::string why =
        refused(insert(R"({"input":"a","max_output_tokens":)" + std::string(bad) + "}"));
    EXPECT_NE(why.find("body.max_output_tokens is " + std::string(bad) +
                       "; it must be a whole number from 1 to 2147483647"),
              std::string::npos)
        << why;
  }
  // What a daemon has counted stays, and a chat's row is left alone.
  JobSpec counted = spec();
  counted.endpoint = "/v1/responses";
  counted.body = R"({"input":"a","max_output_tokens":9})";
  counted.max_new_tokens = 5;
  EXPECT_EQ(job(driver_->submit({counted}).value().at(0).id).spec.max_new_tokens, 5);
  EXPECT_EQ(job(static_cast<JobId>(
                    database_.number("INSERT INTO parkd.jobs (model, body) VALUES ('m', "
                                     R"('{"messages":[],"max_output_tokens":9}') RETURNING id)")))
                .spec.max_new_tokens,
            0);
}

// --- idempotency keys

TEST_F(Faces, the_same_key_and_content_by_sql_and_by_a_daemon_is_one_job) {
  JobSpec given = spec();
  given.idempotency_key = "k";
  given.custom_id = "c";
  given.metadata = R"({"a":1,"b":[1.50]})";
  given.priority = Priority::high;
  given.deadline = from_unix_us(int64_t{4'000'000'000} * 1'000'000);
  given.run_timeout = std::chrono::seconds(120);
  given.seed = 12;
  given.body = R"({"max_tokens":9,"messages":[],"seed":12})";
  // JSON by value: other spaces, another order, the model inside; the seed in the body alone.
  const std::string sql =
      "{\"model\": \"m\", \"custom_id\": \"c\", \"priority\": \"high\", \"idempotency_key\": "
      "\"k\", \"metadata\": {\"b\": [1.50], \"a\": 1}, \"deadline\": \"2096-10-02 07:06:40Z\", "
      "\"run_timeout\": \"2 minutes\", \"body\": {\"messages\": [], \"max_tokens\": 9, \"model\": "
      "\"m\", \"seed\": 12}}";
  const auto by_daemon = driver_->submit({given}).value().at(0);
  EXPECT_FALSE(by_daemon.existed);
  EXPECT_EQ(database_.value("SELECT id || ' ' || existed FROM parkd.submit('" + sql + "')"),
            std::to_string(by_daemon.id) + " true");
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 1);

  std::string other = sql;
  other.replace(other.find("\"k\""), 3, "\"j\"");
  const int64_t by_sql = database_.number("SELECT id FROM parkd.submit('" + other + "')");
  given.idempotency_key = "j";
  const auto again = driver_->submit({given}).value().at(0);
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(static_cast<int64_t>(again.id), by_sql);

  given.body = R"({"max_tokens":10,"messages":[],"seed":12})";
  EXPECT_EQ(driver_->submit({given}).status().code(), StatusCode::conflict);
  other.replace(other.find("high"), 4, "low ");
  other.replace(other.find("low "), 4, "low");
  EXPECT_TRUE(has(refused("SELECT * FROM parkd.submit('" + other + "')"), "whose content differs"));
}

TEST_F(Faces, a_statement_whose_answer_was_lost_is_sent_again_whole) {
  const std::string insert =
      "INSERT INTO parkd.jobs (model, body, idempotency_key) SELECT 'm', '{}', 'k' || i FROM "
      "generate_series(1, 5) i";
  database_.run(insert);
  database_.run(insert);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 5);
  // Finished ones too, as long as their keys hold.
  for (const Job& claimed : driver_->claim("m", 5).value()) {
    finish_as(claimed, Outcome::completed, "");
  }
  database_.run(insert);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
}

TEST_F(Faces, a_key_may_have_a_body_no_jsonb_can_hold) {
  JobSpec given = spec();
  given.idempotency_key = "k";
  given.body = R"({"messages":["\u0000"]})";
  const auto first = driver_->submit({given});
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  EXPECT_TRUE(driver_->submit({given}).value().at(0).existed);
  given.body = R"({"messages":["\u0000 "]})";
  EXPECT_EQ(driver_->submit({given}).status().code(), StatusCode::conflict);
}

// --- batches

TEST_F(Faces, a_batch_is_filled_by_one_statement_and_counted_by_row) {
  const std::string id = database_.value(
      "SELECT parkd.open_batch('{\"a\":1}', p_name => 'nightly', p_retention => '2 hours', "
      "p_idempotency_key => 'night')");
  EXPECT_EQ(database_.value(
                "SELECT parkd.open_batch('{\"a\": 1}', p_name => 'nightly', p_retention => '120 "
                "minutes', p_idempotency_key => 'night')"),
            id);
  EXPECT_TRUE(has(refused("SELECT parkd.open_batch(p_idempotency_key => 'night')"),
                  "whose content differs"));
  database_.run("INSERT INTO parkd.jobs (model, body, batch_id, custom_id) SELECT 'm', '{}', '" +
                id + "', 'line ' || i FROM generate_series(1, 4) i");
  EXPECT_EQ(database_.value("SELECT DISTINCT priority || ' ' || retention FROM parkd.jobs"),
            "low 02:00:00");
  EXPECT_EQ(database_.value("SELECT count(DISTINCT j.deadline = b.deadline) FROM parkd.jobs j "
                            "JOIN parkd.batches b ON b.id = j.batch_id"),
            "1");
  const auto jobs = driver_->claim("m", 3).value();
  ASSERT_EQ(jobs.size(), 3u);
  finish_as(jobs[0], Outcome::completed, "");
  finish_as(jobs[1], Outcome::failed, "run_timeout");
  EXPECT_EQ(database_.number("SELECT parkd.seal_batch('" + id + "')"), 4);
  EXPECT_EQ(database_.number("SELECT parkd.cancel_batch('" + id + "')"), 2);
  ASSERT_TRUE(driver_->purge().ok());
  finish_as(jobs[2], Outcome::cancelled, "cancelled");
  EXPECT_EQ(database_.value("SELECT concat_ws(' ', status, name, total, completed, failed, "
                            "cancelled, unfinished) FROM parkd.batch_status"),
            "finished nightly 4 1 1 2 0");
  const Batch seen = driver_->get_batch(id, "default").value();
  EXPECT_EQ(seen.state(), BatchState::finished);
  EXPECT_EQ(seen.cancelled, 2);
}

TEST_F(Faces, a_batch_refuses_with_what_to_do) {
  database_.run("UPDATE parkd.settings SET max_batch_jobs = 3");
  const std::string id = database_.value("SELECT parkd.open_batch()");
  const auto insert = [&](int n, const std::string& more_columns = "",
                          const std::string& more_values = "") {
    return "INSERT INTO parkd.jobs (model, body, batch_id" + more_columns +
           ") SELECT 'm', '{}', '" + id + "'" + more_values + " FROM generate_series(1, " +
           std::to_string(n) + ")";
  };
  EXPECT_TRUE(has(refused(insert(4)), "has 0 jobs and would get 4 more; the limit is 3"));
  EXPECT_EQ(database_.number("SELECT total FROM parkd.batches"), 0);
  EXPECT_TRUE(has(refused(insert(1, ", deadline", ", now() + interval '1 h'")),
                  "differs from that of batch"));
  EXPECT_TRUE(has(refused(insert(1, ", run_at", ", now() + interval '25 h'")),
                  "is not before the deadline of batch " + id));
  database_.run(insert(3));
  JobSpec member = spec();
  member.batch_id = id;
  const auto full = driver_->submit({member});
  EXPECT_EQ(full.status().param(), "jobs[0].batch_id");
  EXPECT_TRUE(has(full.status().message(), "the limit is 3"));
  database_.run("SELECT parkd.seal_batch('" + id + "')");
  EXPECT_TRUE(has(refused(insert(1)), "is sealed"));
  EXPECT_TRUE(has(refused("SELECT parkd.seal_batch('nope')"), "there is no batch nope"));
  EXPECT_TRUE(has(refused("SELECT parkd.open_batch(p_deadline => now() + interval '31 days')"),
                  "not within the next 30 days"));
  EXPECT_TRUE(has(refused("SELECT parkd.open_batch('[]')"), "not a JSON object"));
}

TEST_F(Faces, one_refused_submit_does_not_fail_those_beside_it) {
  const std::string id = driver_->open_batch({}).value().batch.id;
  ASSERT_TRUE(driver_->seal_batch(id, "").ok());
  JobSpec member = spec();
  member.batch_id = id;
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  database_.run("INSERT INTO parkd.limits VALUES ('m', 2, 'refuse', 2)");
  database_.run(
      "INSERT INTO parkd.depth_samples (model, scheduled, queued, claimed, waiting, "
      "sampled_at) VALUES ('m', 0, 1, 0, 1, now())");
  // All at once, so that they share statements.
  std::vector<std::promise<Result<std::vector<SubmittedJob>>>> answers(4);
  const std::vector<std::vector<JobSpec>> submits = {
      {member, keyed}, {spec(), spec()}, {spec()}, {member}};
  for (size_t i = 0; i < submits.size(); ++i) {
    store_->submit(submits[i],
                   [&answers, i](auto answer) { answers[i].set_value(std::move(answer)); });
  }
  std::vector<Result<std::vector<SubmittedJob>>> got;
  for (auto& answer : answers) got.push_back(answer.get_future().get());
  EXPECT_EQ(got[0].status().code(), StatusCode::conflict);
  EXPECT_EQ(got[0].status().param(), "jobs[0].batch_id");
  EXPECT_EQ(got[1].status().code(), StatusCode::exhausted) << got[1].status().to_string();
  EXPECT_TRUE(has(got[1].status().message(), "1 jobs are waiting, the limit is 2"));
  EXPECT_TRUE(got[2].ok()) << got[2].status().to_string();
  EXPECT_EQ(got[3].status().code(), StatusCode::conflict);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.idempotency"), 0)
      << "a refused group leaves no key";
}

// A daemon's own limits, between two samples: what it submits and claims itself it knows at once.
TEST_F(Faces, a_daemons_limits_hold_between_two_samples) {
  StoreOptions options;
  options.limits = {100, 4, 2};
  open(options);
  const auto in_an_hour = [] {
    JobSpec later = spec();
    later.run_at = from_unix_us(int64_t{4'000'000'000} * 1'000'000);
    return later;
  };
  ASSERT_TRUE(driver_->submit({spec(), spec(), in_an_hour()}).ok());
  database_.run("SELECT parkd.sample_depth_v1()");
  open(options);  // knows nothing but the sample
  ASSERT_TRUE(driver_->submit({spec(), spec()}).ok());
  const auto full = driver_->submit({spec()});
  EXPECT_EQ(full.status().code(), StatusCode::exhausted);
  EXPECT_TRUE(has(full.status().message(), "4 of its jobs are waiting, the limit is 4"))
      << full.status().message();
  ASSERT_TRUE(driver_->submit({in_an_hour()}).ok());
  EXPECT_EQ(driver_->submit({in_an_hour()}).status().code(), StatusCode::exhausted);
  ASSERT_EQ(driver_->claim("m", 1)->size(), 1u);
  EXPECT_TRUE(driver_->submit({spec()}).ok()) << "a claimed job does not wait";
  EXPECT_FALSE(driver_->submit({spec()}).ok());
  database_.run("SELECT parkd.sample_depth_v1()");  // it has all that
  open(options);
  EXPECT_FALSE(driver_->submit({spec()}).ok());
}

TEST(DepthEstimate, what_was_added_before_a_sample_is_not_counted_twice) {
  DepthEstimate estimate;
  const auto looked = [&](int64_t queued, int64_t sampled_at) {
    estimate.looked("m", "t", {{queued, 0}, queued}, sampled_at);
  };
  const auto queued = [&] { return estimate.of("m", "t")->tenant.queued; };
  EXPECT_FALSE(estimate.of("m", "t"));
  looked(10, 1);
  estimate.add("m", "t", false, 5);
  EXPECT_EQ(queued(), 15);
  looked(10, 1);  // the same sample: what was added since stays
  EXPECT_EQ(queued(), 15);
  estimate.add("m", "t", false, 1);
  looked(15, 2);  // has the five; of the one nobody knows
  EXPECT_EQ(queued(), 16);
  looked(16, 3);
  EXPECT_EQ(queued(), 16);
  estimate.add("m", "other", false, 3);
  EXPECT_EQ(estimate.of("m", "t")->queued, 19) << "the model's";
  EXPECT_EQ(queued(), 16);
  looked(2, 0);  // counted now
  EXPECT_EQ(queued(), 2);
  estimate.look_again();
  EXPECT_FALSE(estimate.of("m", "t"));
}

// --- requeue

TEST_F(Faces, requeue_by_code_makes_each_failed_job_once) {
  database_.run(
      "INSERT INTO parkd.jobs (model, body, custom_id) SELECT 'm', json_build_object('n', i), 'c' "
      "|| i FROM generate_series(1, 3) i");
  for (const Job& claimed : driver_->claim("m", 3).value()) {
    finish_as(claimed, Outcome::failed, "run_timeout");
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.requeue(p_error_code => 'run_timeout')"),
            3);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.requeue(p_error_code => 'run_timeout')"),
            0);
  EXPECT_EQ(database_.value("SELECT string_agg(custom_id, ',' ORDER BY id) FROM parkd.live"),
            "c1,c2,c3");
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.results"), 3) << "old messages stay";
  EXPECT_TRUE(has(refused("SELECT * FROM parkd.requeue()"), "requeue what?"));
}

// --- listening and looking

TEST_F(Faces, whoever_listens_hears_of_results_when_the_database_says_so) {
  class Receiver final : public pqxx::notification_receiver {
   public:
    explicit Receiver(pqxx::connection& connection)
        : pqxx::notification_receiver(connection, "parkd_results") {}
    void operator()(const std::string& payload, int) override { heard = payload; }
    std::string heard;
  };
  auto session = database_.connect();
  Receiver receiver(*session);
  const auto run_one = [&] {
    JobSpec given = spec();
    given.mailbox_key = "my box";
    ASSERT_TRUE(driver_->submit({given}).ok());
    finish_as(driver_->claim("m", 1).value().at(0), Outcome::completed, "");
  };
  run_one();
  EXPECT_EQ(session->get_notifs(), 0) << "off by default";
  database_.run("UPDATE parkd.settings SET notify_results = true");
  run_one();
  session->await_notification(30, 0);
  EXPECT_EQ(receiver.heard, database_.value("SELECT parkd.results_payload('my box')"));
}

TEST_F(Faces, live_jobs_show_what_their_daemon_says_of_them) {
  ASSERT_TRUE(driver_->submit({spec(), spec()}).ok());
  const auto claimed = driver_->claim("m", 1).value();
  const std::string id = std::to_string(claimed.at(0).id);
  database_.run(
      "SELECT parkd.heartbeat_v1(daemon_id, format('{\"jobs\":[{\"id\":%s,\"state\":\"parked\","
      "\"units\":12,\"reason\":\"12 units wanted, 3 free\"}],\"pools\":[{\"model\":\"m\","
      "\"capacity_units\":40,\"in_use_units\":37,\"running\":2,\"parked\":1}]}', id)::json, false) "
      "FROM parkd.jobs WHERE id = " +
      id);
  EXPECT_EQ(database_.value("SELECT concat_ws('|', state, units, reason) FROM parkd.live WHERE "
                            "id = " +
                            id),
            "parked|12|12 units wanted, 3 free");
  EXPECT_EQ(database_.value("SELECT state FROM parkd.live WHERE id <> " + id), "queued");
  EXPECT_EQ(database_.value("SELECT concat_ws('|', model, capacity_units, in_use_units, running, "
                            "parked) FROM parkd.pools"),
            "m|40|37|2|1");
  EXPECT_EQ(database_.value("SELECT concat_ws('|', model, tenant, state, jobs) FROM "
                            "parkd.depth_by_tenant WHERE state = 'queued'"),
            "m|default|queued|1");
}

TEST_F(Faces, costs_add_up_what_runs_used_and_the_depth_counts_by_state) {
  ASSERT_TRUE(driver_->submit({spec(), spec(), spec(), spec(), spec()}).ok());
  const auto claimed = driver_->claim("m", 3).value();
  ASSERT_EQ(claimed.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    Ending ending;
    ending.outcome = i < 2 ? Outcome::completed : Outcome::failed;
    ending.prompt_tokens = 10;
    ending.completion_tokens = 7;
    ending.units = 3;
    ending.run_us = 500'000;
    ASSERT_TRUE(driver_->finish({{claimed[i].id, claimed[i].lease, ending}}).ok());
  }
  EXPECT_EQ(
      database_.value("SELECT concat_ws('|', tenant, model, sum(jobs), sum(prompt_tokens), "
                      "sum(completion_tokens), sum(unit_seconds)::real) FROM parkd.costs WHERE "
                      "outcome = 'completed' GROUP BY tenant, model"),
      "default|m|2|20|14|3");
  EXPECT_EQ(database_.value("SELECT concat_ws('|', jobs, prompt_tokens, completion_tokens, "
                            "unit_seconds::real) FROM parkd.costs WHERE outcome = 'failed'"),
            "1|10|7|1.5");

  JobSpec later = spec();
  later.run_at = from_unix_us(int64_t{4'000'000'000} * 1'000'000);
  ASSERT_TRUE(driver_->submit({later}).ok());
  ASSERT_EQ(driver_->claim("m", 1)->size(), 1u);
  database_.run("SELECT parkd.open_batch(p_idempotency_key => 'b')");
  database_.run(
      "INSERT INTO parkd.jobs (model, body, batch_id) SELECT 'm', '{}', id FROM parkd.batches");
  database_.run("SELECT parkd.sample_depth_v1()");
  EXPECT_EQ(database_.value("SELECT concat_ws('|', model, scheduled, queued, claimed, "
                            "waiting) FROM parkd.depth"),
            "m|1|2|1|2");
  EXPECT_EQ(database_.value("SELECT oldest_created_at = (SELECT min(created_at) FROM parkd.jobs "
                            "WHERE state = 'queued') FROM parkd.depth"),
            "t");
}

// --- housekeeping

TEST_F(Faces, a_copy_does_not_read_what_earlier_ones_left) {
  auto reader = database_.connect();
  pqxx::transaction<pqxx::repeatable_read> held(*reader);
  held.exec("SELECT count(*) FROM parkd.models");  // no vacuum can remove what dies now
  database_.run(
      "INSERT INTO parkd.jobs_copy (model, body) SELECT 'm', '{}' FROM generate_series(1, 20000)");
  const auto blocks = [&] {
    database_.run("SELECT pg_stat_force_next_flush()");
    return database_.number(
        "SELECT pg_stat_clear_snapshot(); SELECT heap_blks_hit + heap_blks_read FROM "
        "pg_statio_user_tables WHERE relname = 'jobs_copy'");
  };
  const int64_t before = blocks();
  database_.run("INSERT INTO parkd.jobs_copy (model, body) VALUES ('m', '{}')");
  // 20000 dead rows fill more than 100 pages; a row of one's own is on one, looked at twice or so.
  EXPECT_LT(blocks() - before, 20);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 20001);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs_copy"), 0);
  EXPECT_EQ(database_.value("SELECT dead > 20000 AND needs_vacuum FROM parkd.health WHERE name = "
                            "'jobs_copy'"),
            "t");
}

TEST_F(Faces, a_sample_of_the_depth_is_taken_once_for_all_and_by_housekeeping) {
  ASSERT_TRUE(driver_->submit({spec(), spec()}).ok());
  EXPECT_EQ(database_.value("SELECT parkd.sample_depth_v1(NULL, '5 s')"), "t");
  EXPECT_EQ(database_.value("SELECT parkd.sample_depth_v1(NULL, '5 s')"), "f") << "fresh enough";
  ASSERT_TRUE(driver_->submit({spec()}).ok());
  database_.run("UPDATE parkd.depth_samples SET sampled_at = now() - interval '6 s', took = '1 s'");
  EXPECT_EQ(database_.value("SELECT parkd.sample_depth_v1(NULL, '5 s')"), "f")
      << "what takes a second is done every fifty";
  database_.run("UPDATE parkd.depth_samples SET took = '1 ms'");
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_EQ(database_.number("SELECT waiting FROM parkd.depth"), 3);
  database_.run("INSERT INTO parkd.limits VALUES ('', 3, 'refuse', 3)");
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_EQ(database_.number("SELECT waiting FROM parkd.depth"), 3);
  EXPECT_EQ(driver_->submit({spec()}).status().code(), StatusCode::exhausted);
}

TEST_F(Faces, dead_rows_that_pile_up_are_vacuumed_unless_a_snapshot_keeps_them) {
  database_.run("ALTER TABLE parkd.jobs SET (autovacuum_enabled = off)");
  const auto pile_up = [&] {
    database_.run(
        "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 6000); "
        "DELETE FROM parkd.jobs; SELECT pg_stat_force_next_flush(); SELECT "
        "pg_stat_clear_snapshot()");
  };
  pile_up();
  EXPECT_EQ(database_.value("SELECT needs_vacuum AND vacuum_helps FROM parkd.health WHERE name = "
                            "'jobs'"),
            "t");
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_EQ(database_.value("SELECT pg_stat_clear_snapshot(); SELECT dead < 5000 AND vacuumed_at "
                            "> now() - interval '1 minute' FROM parkd.health WHERE name = 'jobs'"),
            "t");

  // Somebody's old snapshot: found out, and named.
  auto reader = database_.connect();
  pqxx::transaction<pqxx::repeatable_read> held(*reader);
  held.exec("SELECT count(*) FROM parkd.models");
  EXPECT_TRUE(has(database_.value("SELECT held_by FROM parkd.health LIMIT 1"),
                  "session " + std::to_string(reader->backendpid())));
}

// --- durability

TEST_F(Faces, a_daemon_refuses_a_database_that_may_forget_what_it_acknowledged) {
  const std::string name = database_.name();
  database_.run("ALTER DATABASE " + name + " SET synchronous_commit = off");
  const auto opened = open_postgres_store(quiet_options(database_.dsn()), {});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), StatusCode::conflict);
  EXPECT_TRUE(has(opened.status().message(), "synchronous_commit is off"));
  EXPECT_TRUE(has(opened.status().message(), "SET synchronous_commit = on")) << "what to run";
  database_.run("ALTER DATABASE " + name + " SET synchronous_commit = remote_apply");
  EXPECT_TRUE(open_postgres_store(quiet_options(database_.dsn()), {}).ok());
}

}  // namespace
}  // namespace parkd
