// Extremes of every column a client writes, by each of its doors: refused with what to do, or the
// job lives a whole life through the store. One row must never stop the others.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <set>

#include "lib/base/json_reader.h"
#include "lib/job/job_texts.h"
#include "lib/openai/chat_request.h"
#include "lib/store/rules.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

struct Extreme {
  std::string column;
  std::string value;  // an SQL expression
};

std::string text_of(size_t n_bytes) {
  return "repeat('x', " + std::to_string(n_bytes) + ")";
}

// Random, so that no compression makes it fit.
std::string noise_of(size_t n_bytes) {
  return "(SELECT left(string_agg(md5(i::text || random()), ''), " + std::to_string(n_bytes) +
         ") FROM generate_series(1, " + std::to_string(n_bytes / 32 + 1) + ") i)";
}

std::vector<Extreme> extremes() {
  std::vector<Extreme> all;
  for (const char* column : {"run_at", "deadline"}) {
    for (const char* value :
         {"infinity", "-infinity", "294276-12-31", "10000-01-01", "9999-12-31 23:59:59Z",
          "9999-12-31 23:59:59.999999Z", "4713-01-01 BC", "1970-01-01 00:00:00Z", "1969-12-31"}) {
      all.push_back({column, "'" + std::string(value) + "'"});
    }
  }
  for (const char* column : {"retention", "run_timeout"}) {
    for (const char* value :
         {"100000000 years", "-100000000 years", "0.4 s", "0 s", "-1 s", "1 s", "1 minute",
          "30 days", "30 days 1 s", "1 month", "-1200 months 36030 days", "1200 months -35970 days",
          "1000000 days -23999976 hours", "90.5 s"}) {
      all.push_back({column, "'" + std::string(value) + "'"});
    }
  }
  for (const JobText& text : kJobTexts) {
    const std::string column(text.name);
    all.push_back({column, "''"});
    all.push_back({column, noise_of(kTextBytesMax)});
    all.push_back({column, noise_of(kTextBytesMax + 1)});
    all.push_back({column, noise_of(6400)});
    all.push_back({column, text_of(1'000'000)});
  }
  for (const char* value :
       {"[1]", "5", "null", "{}", "\"x\"", "{\"a\":\"\\u0000\"}", "{\"a\":1e999999}"}) {
    all.push_back({"metadata", "'" + std::string(value) + "'"});
  }
  all.push_back({"metadata", "json_build_object('a', " + noise_of(9300) + ")"});
  all.push_back({"metadata", "(SELECT json_object_agg(i, i) FROM generate_series(1, 17) i)"});
  for (const char* value :
       {"{\"n\":1.5}", "{\"n\":128}", "{\"n\":129}", "{\"n\":\"2\"}", "{\"n\":null}",
        "{\"max_tokens\":1e999999}", "{\"max_tokens\":1e100000}", "{\"max_tokens\":2147483647}",
        "{\"max_tokens\":2147483648}", "{\"max_tokens\":0}", "{\"max_completion_tokens\":-1}",
        "{\"seed\":1e30}", "{\"seed\":18446744073709551615}", "{\"seed\":18446744073709551616}",
        "{\"seed\":-9223372036854775808}", "{\"seed\":0.5}", "{\"messages\":5}", "{\"a\":NaN}",
        "{\"messages\":[1e400]}"}) {
    all.push_back({"body", "'" + std::string(value) + "'"});
  }
  for (const char* value : {"0", "1", "100", "101", "-2147483648", "2147483647"}) {
    all.push_back({"max_attempts", value});
  }
  all.push_back({"seed", "9223372036854775807"});
  all.push_back({"seed", "'-9223372036854775808'"});
  for (const char* value : {"low", "urgent", ""}) {
    all.push_back({"priority", "'" + std::string(value) + "'"});
  }
  return all;
}

// The same job by each of the doors; COPY ends in the same trigger as INSERT INTO parkd.jobs_copy.
std::vector<std::string> statements_of(const Extreme& extreme) {
  const std::string column = extreme.column;
  std::string columns = column;
  std::string values = extreme.value;
  if (column != "model") columns += ", model", values += ", 'm'";
  if (column != "body") columns += ", body", values += ", '{}'";
  const bool is_json = column == "body" || column == "metadata";
  const std::string field =
      is_json ? "(" + extreme.value + ")::json" : "to_json((" + extreme.value + ")::text)";
  return {"INSERT INTO parkd.jobs (" + columns + ") VALUES (" + values + ")",
          "INSERT INTO parkd.jobs_copy (" + columns + ") VALUES (" + values + ")",
          "SELECT * FROM parkd.submit((SELECT json_object_agg(k, v) FROM (VALUES (1, 'model', "
          "to_json('m'::text)), (2, 'body', '{}'::json), (3, '" +
              column + "', " + field + ")) t(n, k, v) WHERE k <> '" + column + "' OR n = 3))"};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

class Extremes : public testing::Test {
 protected:
  void SetUp() override {
    database_.run(
        "DO $$ BEGIN CREATE ROLE eve LOGIN IN ROLE parkd_submitter; CREATE ROLE dan LOGIN IN ROLE "
        "parkd_daemon; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    database_.run("INSERT INTO parkd.models (name) VALUES ('m')");
    auto opened = open_postgres_store(quiet_options(database_.dsn_as("dan")), {});
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
    eve_ = database_.connect("eve");
  }
  void TearDown() override {
    driver_.reset();
    store_.reset();
  }

  // Whatever was accepted: listed, claimed, finished and fetched; what is to run later, cancelled.
  void live() {
    const auto listed = driver_->list({});
    ASSERT_TRUE(listed.ok()) << listed.status().to_string();
    ASSERT_EQ(listed->size(), 1u);
    const Job& job = listed->at(0);
    if (job.state == JobState::scheduled) {
      ASSERT_EQ(driver_->cancel(job.id, "").value(), CancelAnswer::cancelled);
    } else {
      const auto claimed = driver_->claim("m", 1);
      ASSERT_TRUE(claimed.ok()) << claimed.status().to_string();
      ASSERT_EQ(claimed->size(), 1u);
      Ending ending;
      ending.body = "{}";
      const auto finished = driver_->finish({{job.id, claimed->at(0).lease, ending}});
      ASSERT_TRUE(finished.ok()) << finished.status().to_string();
    }
    const auto page = driver_->fetch({job.spec.tenant, job.spec.mailbox_key, 0, 10});
    ASSERT_TRUE(page.ok()) << page.status().to_string();
    ASSERT_EQ(page->messages.size(), 1u);
    ASSERT_EQ(
        driver_->take(job.spec.tenant, job.spec.mailbox_key, {page->messages[0].sequence})->size(),
        1u);
  }

  TestDatabase database_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
  std::unique_ptr<pqxx::connection> eve_;
};

TEST_F(Extremes, every_value_is_refused_with_what_to_do_or_lives_a_whole_life) {
  int n_refused = 0;
  int n_lived = 0;
  for (const Extreme& extreme : extremes()) {
    for (const std::string& statement : statements_of(extreme)) {
      SCOPED_TRACE(statement);
      const std::string why = refusal(*eve_, statement);
      if (why.empty()) {
        ++n_lived;
        ASSERT_NO_FATAL_FAILURE(live());
        continue;
      }
      ++n_refused;
      // What the server cannot even read as the column's type never comes to a trigger.
      const bool unreadable = has(why, "out of range: ") || has(why, "out of range for type") ||
                              has(why, "invalid input") || has(why, "Unicode escape");
      EXPECT_TRUE(unreadable || (has(why, extreme.column) && has(why, "HINT:"))) << why;
      EXPECT_FALSE(has(why, "index row") || has(why, "check constraint")) << why;
    }
  }
  EXPECT_GT(n_refused, 100);
  EXPECT_GT(n_lived, 50);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
}

// What a row became, or why it was refused; nothing is left of it. A session that has just
// submitted a plain job (`seen`) looks nothing up for the next one.
struct Judged {
  std::string what;
  int64_t n_lookups = 0;
};

Judged judge(pqxx::connection& session, const std::string& statement, bool seen) {
  Judged judged;
  pqxx::work tx(session);
  tx.exec("SELECT set_config('parkd.seen', '', false)");
  if (seen) tx.exec("INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  const auto lookups = [&] {
    return tx.exec("SELECT pg_stat_get_xact_numscans('parkd.models_pkey'::regclass)")[0][0]
        .as<int64_t>();
  };
  const int64_t before = lookups();
  try {
    pqxx::subtransaction savepoint(tx);
    // order_key and seed are made of the moment and of chance
    judged.what =
        savepoint
            .exec(statement +
                  " RETURNING (to_jsonb(jobs) - '{id,created_at,order_key,seed}'::text[] "
                  "|| jsonb_build_object('delay', order_key - greatest(created_at, run_at), "
                  "'seed', CASE WHEN seed NOT BETWEEN 0 AND 9007199254740991 THEN seed END))")[0][0]
            .c_str();
    savepoint.commit();
  } catch (const pqxx::sql_error& error) {
    judged.what = error.what();
    return judged;
  }
  judged.n_lookups = lookups() - before;
  return judged;
}

TEST_F(Extremes, a_plain_job_is_judged_like_any_other) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  std::vector<Extreme> values = extremes();
  for (const char* usual :
       {"'{\"messages\":[],\"max_tokens\":48.0}'", "'{\"messages\":[]}'", "'{\"model\":\"m\"}'",
        "'{\"stream\":true}'", "'{\"n\":2,\"seed\":7}'", "'{\"model\":\"other\"}'",
        "'{\"max_tokens\":1e3}'", "NULL", "'{\"max_tokens\":\"9\"}'", "'{\"max_tokens\":null}'",
        "'{\"max_tokens\":1.5}'", "'{\"max_tokens\":true}'"}) {
    for (int i = 0; i < 10; ++i) values.push_back({"body", usual});
  }
  for (const char* column : {"mailbox_key", "custom_id", "tenant"}) {
    for (const char* usual : {"'eve'", "'mallory'", "NULL"}) values.push_back({column, usual});
  }
  int n_plain = 0;
  for (int round = 0; round < 300; ++round) {
    // Few columns, else hardly a row would be right.
    std::string columns = "model, mailbox_key";
    std::string row = "'m', 'box'";
    std::set<std::string> taken{"model"};
    for (uint64_t n = 1 + random() % 3; n > 0; --n) {
      const Extreme& extreme = values[random() % values.size()];
      // A random text is another one each time.
      if (!taken.insert(extreme.column).second || has(extreme.value, "random()")) continue;
      if (has(extreme.column, "mailbox_key")) {
        columns = columns.replace(columns.find(", mailbox_key"), 13, "");
        row = row.replace(row.find(", 'box'"), 7, "");
      }
      columns += std::string(", ") + extreme.column;
      row += ", " + extreme.value;
    }
    if (taken.count("body") == 0) columns += ", body", row += ", '{}'";
    const std::string statement = "INSERT INTO parkd.jobs (" + columns + ") VALUES (" + row + ")";
    SCOPED_TRACE(statement);
    auto owner = database_.connect();  // may submit for any tenant
    for (pqxx::connection* session : {eve_.get(), owner.get()}) {
      const Judged fresh = judge(*session, statement, false);
      const Judged seen = judge(*session, statement, true);
      if (has(fresh.what, "\"mailbox_key\": \"mb-")) {
        EXPECT_TRUE(has(seen.what, "\"mailbox_key\": \"mb-"));
      } else {
        EXPECT_EQ(fresh.what, seen.what);
      }
      if (fresh.n_lookups > 0) n_plain += seen.n_lookups == 0;
    }
  }
  EXPECT_GT(n_plain, 40);
}

TEST_F(Extremes, sql_and_http_have_the_same_limits) {
  const auto insert = [&](const std::string& column, const std::string& value) {
    database_.run("DELETE FROM parkd.jobs");
    return refusal(*eve_, "INSERT INTO parkd.jobs (model, body, " + column +
                              ") VALUES ('m', '{}', " + value + ")");
  };
  const auto seconds = [](std::chrono::seconds s) {
    return "make_interval(secs => " + std::to_string(s.count()) + ")";
  };
  const auto by_store = [&](const std::function<void(JobSpec&)>& change) {
    JobSpec spec;
    spec.model = "m";
    spec.body = "{}";
    change(spec);
    return check_submission({spec}, {}).ok();
  };
  for (const int64_t over : {0, 1}) {
    const bool fits = over == 0;
    const auto longer = static_cast<size_t>(over);
    EXPECT_EQ(insert("mailbox_key", text_of(kTextBytesMax + longer)).empty(), fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.mailbox_key = std::string(kTextBytesMax + longer, 'x'); }),
        fits);
    EXPECT_EQ(insert("run_timeout", seconds(kRunTimeoutMax + std::chrono::seconds(over))).empty(),
              fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.run_timeout = kRunTimeoutMax + std::chrono::seconds(over); }),
        fits);
    EXPECT_EQ(insert("retention", seconds(kRetentionMax + std::chrono::seconds(over))).empty(),
              fits);
    EXPECT_EQ(insert("retention", seconds(kRetentionMin - std::chrono::seconds(over))).empty(),
              fits);
    EXPECT_EQ(insert("max_attempts", std::to_string(kAttemptsMax + over)).empty(), fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.max_attempts = kAttemptsMax + static_cast<int32_t>(over); }),
        fits);
    const std::string object = "('{\"a\":\"' || repeat('x', " +
                               std::to_string(kMetadataBytesMax - 8 + longer) + ") || '\"}')::json";
    EXPECT_EQ(insert("metadata", object).empty(), fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.metadata = std::string(kMetadataBytesMax + longer, ' '); }),
        fits);
    const std::string pairs = "(SELECT json_object_agg(i, i) FROM generate_series(1, " +
                              std::to_string(kMetadataPairsMax + longer) + ") i)";
    EXPECT_EQ(insert("metadata", pairs).empty(), fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.retention = kRetentionMin - std::chrono::seconds(over); }),
        fits);
    EXPECT_EQ(insert("run_timeout", seconds(kRunTimeoutMin - std::chrono::seconds(over))).empty(),
              fits);
    EXPECT_EQ(
        by_store([&](JobSpec& s) { s.run_timeout = kRunTimeoutMin - std::chrono::seconds(over); }),
        fits);
    const auto body = [&](const std::string& json) {
      database_.run("DELETE FROM parkd.jobs");
      return refusal(*eve_, "INSERT INTO parkd.jobs (model, body) VALUES ('m', " + json + ")");
    };
    EXPECT_EQ(body("('{\"a\":\"' || repeat('x', " + std::to_string(kChatBodyBytesMax - 8 + longer) +
                   ") || '\"}')::json")
                  .empty(),
              fits);
    EXPECT_EQ(body("'{\"n\":" + std::to_string(kChoicesMax + over) + "}'").empty(), fits);
    const auto open = [&](const std::string& given) {
      database_.run("DELETE FROM parkd.batches");
      return refusal(*eve_, "SELECT parkd.open_batch(" + given + ")");
    };
    EXPECT_EQ(open("p_name => " + text_of(kBatchNameBytesMax + longer)).empty(), fits);
    EXPECT_EQ(open("p_idempotency_key => " + text_of(kTextBytesMax + longer)).empty(), fits);
    EXPECT_EQ(open("p_metadata => ('{\"a\":\"' || repeat('x', " +
                   std::to_string(kBatchMetadataBytesMax - 8 + longer) + ") || '\"}')::json")
                  .empty(),
              fits);
    // Not to the second: the batch is opened by the server's clock.
    const auto ahead = kBatchDeadlineMax + std::chrono::minutes(fits ? -1 : 1);
    EXPECT_EQ(open("p_deadline => now() + " + seconds(ahead)).empty(), fits);
    const std::string second = fits ? "'9999-12-31 23:59:59Z'" : "'9999-12-31 23:59:59.1Z'";
    EXPECT_EQ(insert("deadline", second).empty(), fits);
    EXPECT_EQ(by_store([&](JobSpec& s) { s.deadline = from_unix_us(kTimeMaxUs + 100'000 * over); }),
              fits);
  }
}

// Whatever door: the table itself takes no such row.
TEST_F(Extremes, the_table_refuses_what_no_daemon_could_read) {
  const auto set = [&](const std::string& assignment) {
    auto owner = database_.connect();
    return refusal(*owner, "UPDATE parkd.jobs SET " + assignment);
  };
  database_.run("INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  for (const char* assignment :
       {"deadline = 'infinity'", "run_at = '-infinity'", "order_key = 'infinity'",
        "run_timeout = '0.4 s'", "run_timeout = '100000000 years'", "max_attempts = 101",
        "retention = '-1200 months 36030 days'", "metadata = '[1]'",
        "mailbox_key = repeat('x', 513)", "custom_id = repeat('x', 513)"}) {
    EXPECT_TRUE(has(set(assignment), "is out of bounds")) << assignment;
  }
  EXPECT_EQ(database_.number("SELECT parkd.us_v1('infinity')"), 253'402'300'799'000'000);
  EXPECT_EQ(database_.number("SELECT parkd.us_v1('-infinity')"), 0);
}

std::string nested(int n_levels) {
  std::string text = "{\"a\":";
  for (int i = 1; i < n_levels; ++i) text += "[";
  text += "1";
  for (int i = 1; i < n_levels; ++i) text += "]";
  return text + "}";
}

// The same bytes get the same answer as from the reader of HTTP and jobctl
// (lib/base/json_reader.h), by every door, whether or not the session has just submitted a plain
// job.
TEST_F(Extremes, a_body_is_read_as_strictly_as_over_http) {
  const std::string usual = R"({"messages":[{"role":"user","content":"a: b"}],"max_tokens":2})";
  const std::string many = "{\"messages\":[" + [] {
    std::string all = R"({"role":"user","content":"x"})";
    for (int i = 0; i < 200; ++i) all += R"(,{"role":"user","content":"a\u003ab: \"\u003A\""})";
    return all;
  }();
  const std::vector<std::string> bodies = {
      usual,
      R"({"n":1,"n":2})",
      R"({"n":1,"\u006e":1})",
      R"({"temperature":0,"messages":[],"temperature":0})",
      R"({"messages":[{"role":"user","content":"x"},{"role":"user","role":"user","content":"x"}]})",
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"x","text":"y"}]}]})",
      R"({"a":{"b":{"c":1}},"b":{"c":1}})",
      R"({"a:":1,"a\u003a":2})",
      R"({"a:":1,"b\u003a":2})",
      R"({"a":"\u003a\u003A","a":"::::"})",
      R"({"a":1,"a":"\u003a"})",
      R"({"":1,"":2})",
      R"({ "a" : ":" , "b" : "a:\"b\":" })",
      many + "]}",
      many + R"(,{"role":"user","content":"\u003a","role":"user"}]})",
      nested(32),
      nested(33),
      nested(2000),
      "{\"a\":[" + std::string(2000, '[') + std::string(2000, ']') + "]}",
      nested(31).replace(nested(31).find('1'), 1, R"({"b":1,"b":1})"),
  };
  int n_refused = 0;
  for (const std::string& body : bodies) {
    JsonMemory memory(body.size());
    const Status read = read_json(body, "body", kChatJsonDepthMax, memory).status();
    n_refused += !read.ok();
    const std::string inserted = "(model, body) VALUES ('m', $b$" + body + "$b$)";
    for (const std::string& statement :
         {"INSERT INTO parkd.jobs " + inserted, "INSERT INTO parkd.jobs_copy " + inserted,
          "INSERT INTO parkd.jobs (model, max_attempts, body) VALUES ('m', 2, $b$" + body + "$b$)",
          "SELECT * FROM parkd.submit($b${\"model\":\"m\",\"body\":" + body + "}$b$)"}) {
      for (const bool seen : {false, true}) {
        SCOPED_TRACE(statement.substr(0, 300) + (seen ? " (seen)" : ""));
        database_.run("DELETE FROM parkd.jobs");
        pqxx::nontransaction(*eve_).exec("SELECT set_config('parkd.seen', '', false)");
        if (seen) {
          pqxx::nontransaction(*eve_).exec(
              "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
        }
        const std::string why = refusal(*eve_, statement);
        ASSERT_EQ(why.empty(), read.ok()) << why << read.message();
        if (read.ok()) continue;
        EXPECT_TRUE(has(why, "HINT:")) << why;
        if (has(read.message(), "nested")) {
          EXPECT_TRUE(has(why, "body is nested deeper than 32 levels")) << why;
        } else {
          EXPECT_TRUE(has(why, "\"" + read.param() + "\" is given twice in one object")) << why;
        }
      }
    }
  }
  EXPECT_EQ(n_refused, 14);
}

TEST_F(Extremes, deep_metadata_is_refused_as_a_deep_body_is) {
  const auto deep = [](size_t n) {  // objects within each other, of which a member is given twice
    std::string text = R"({"a":1,"a":2})";
    for (size_t level = 1; level < n; ++level) text = R"({"a":)" + text + "}";
    return text;
  };
  for (const std::string& statement :
       {"INSERT INTO parkd.jobs (model, body, metadata) VALUES ('m', '{}', $b$" + deep(33) + "$b$)",
        "SELECT parkd.open_batch(p_metadata => $b$" + deep(33) + "$b$)"}) {
    const std::string why = refusal(*eve_, statement);
    EXPECT_TRUE(has(why, "metadata is nested deeper than 32 levels")) << why;
    EXPECT_TRUE(has(why, "HINT:")) << why;
  }
  const std::string why =
      refusal(*eve_, "INSERT INTO parkd.jobs (model, body, metadata) VALUES ('m', '{}', $b$" +
                         deep(32) + "$b$)");
  EXPECT_TRUE(has(why, "is given twice in one object")) << why;
}

TEST_F(Extremes, a_member_given_twice_is_said_with_its_place) {
  EXPECT_TRUE(
      has(refusal(*eve_, R"(INSERT INTO parkd.jobs (model, custom_id, body) VALUES ('m', 'c7',
                  '{"messages":[{"role":"user"},{"role":"user","x":1,"role":"user"}]}'))"),
          "body.messages[1]: \"role\" is given twice in one object"));
  EXPECT_TRUE(
      has(refusal(*eve_, R"(INSERT INTO parkd.jobs (model, body, metadata) VALUES ('m', '{}',
                  '{"order":"17","order":"18"}'))"),
          "metadata: \"order\" is given twice in one object"));
  EXPECT_TRUE(has(refusal(*eve_, R"(SELECT * FROM parkd.submit('[{"model":"m","body":{}},
                  {"model":"m","body":{},"custom_id":"a","custom_id":"b"}]'))"),
                  "the job: \"custom_id\" is given twice in one object\nDETAIL:  Job 2"));
  EXPECT_TRUE(has(refusal(*eve_, R"(SELECT parkd.open_batch('{"a":{"b":1,"b":1}}'))"),
                  "metadata.a: \"b\" is given twice in one object"));
}

TEST_F(Extremes, a_refusal_names_the_job_among_many) {
  EXPECT_TRUE(has(refusal(*eve_,
                          "INSERT INTO parkd.jobs (model, body, custom_id, max_attempts) SELECT "
                          "'m', '{}', 'c' || i, i FROM generate_series(99, 103) i"),
                  "custom_id 'c101'"));
  EXPECT_TRUE(has(refusal(*eve_,
                          "INSERT INTO parkd.jobs_copy (model, body, custom_id, priority) VALUES "
                          "('m', '{}', 'a', 'low'), ('m', '{}', 'b', 'urgent')"),
                  "custom_id 'b'"));
  EXPECT_TRUE(has(
      refusal(*eve_, "SELECT * FROM parkd.submit('[{\"model\":\"m\",\"body\":{}}, 7]')"), "Job 2"));
  EXPECT_TRUE(has(refusal(*eve_,
                          "SELECT * FROM parkd.submit('{\"model\":\"m\",\"body\":{},\"priority\":"
                          "\"urgent\"}')"),
                  "critical, high, normal or low"));
  for (const char* nothing : {"'5'", "NULL", "'[]'", "'null'"}) {
    EXPECT_TRUE(has(refusal(*eve_, "SELECT * FROM parkd.submit(" + std::string(nothing) + ")"),
                    "takes a JSON object"))
        << nothing;
  }
}

}  // namespace
}  // namespace parkd
