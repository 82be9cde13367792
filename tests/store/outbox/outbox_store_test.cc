// What the pair rocksdb + postgres alone promises: delivery once, reading across it, and a database
// that comes and goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "lib/store/outbox/outbox_store.h"
#include "lib/store/postgres/postgres_mailbox.h"
#include "tests/store/outbox/outbox_home.h"
#include "tests/store/postgres/fault_proxy.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kBox[] = "box";

JobSpec spec(const std::string& custom_id = "") {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = kBox;
  spec.custom_id = custom_id;
  spec.body = "{}";
  return spec;
}

Ending ending(const std::string& text) {
  Ending ending;
  ending.body = R"({"choices":[{"message":{"content":")" + text + R"("},"finish_reason":"stop"}]})";
  ending.prompt_tokens = 3;
  ending.completion_tokens = 4;
  ending.units = 2;
  ending.run_us = 1000;
  return ending;
}

// One daemon's store, opened and closed as it likes.
struct Daemon {
  Daemon(const std::string& dir, const std::string& dsn) : dir_(dir), dsn_(dsn) { open(); }
  ~Daemon() { close(); }

  void open() {
    auto opened = open_outbox_store(outbox_options(dir_, dsn_), clock);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store = std::move(opened).value();
    driver = std::make_unique<StoreDriver>(*store);
  }
  void close() {
    driver.reset();
    store.reset();
  }
  // Submits, claims and finishes one job.
  JobId run_one(const std::string& custom_id) {
    return run_one(spec(custom_id), ending(custom_id));
  }
  JobId run_one(JobSpec given, Ending how) {
    const auto submitted = driver->submit({std::move(given)});
    EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
    const auto jobs = driver->claim("m", 1);
    EXPECT_EQ(jobs->size(), 1u);
    const auto answers = driver->finish({{jobs->at(0).id, jobs->at(0).lease, std::move(how)}});
    EXPECT_TRUE(answers.ok()) << answers.status().to_string();
    return submitted->at(0).id;
  }
  std::vector<Message> box() {
    const auto fetched = driver->fetch({"default", kBox, 0, 100'000});
    EXPECT_TRUE(fetched.ok()) << fetched.status().to_string();
    return fetched.ok() ? fetched->messages : std::vector<Message>();
  }

  SystemClock clock;
  std::string dir_;
  std::string dsn_;
  std::unique_ptr<JobStore> store;
  std::unique_ptr<StoreDriver> driver;
};

std::vector<std::string> custom_ids(const std::vector<Message>& messages) {
  std::vector<std::string> ids;
  for (const Message& message : messages) ids.push_back(message.custom_id);
  return ids;
}

std::vector<std::string> numbered(int first, int last) {
  std::vector<std::string> ids;
  for (int i = first; i < last; ++i) ids.push_back(std::to_string(i));
  return ids;
}

class OutboxStoreTest : public testing::Test {
 protected:
  std::string dir(const std::string& name = "queue") const { return dir_.path() + "/" + name; }
  static void control(const std::string& verb) {
    const std::string command =
        std::string(std::getenv("PG_SANDBOX_CTL")) + " " + verb + " -m immediate >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << verb;
  }

  TempDir dir_;
  TestDatabase database_;
};

TEST_F(OutboxStoreTest, a_finished_job_is_a_result_in_the_database) {
  Daemon daemon(dir(), database_.dsn());
  JobSpec given = spec("order-17");
  given.metadata = R"({"k":"v"})";
  const JobId id = daemon.run_one(given, ending("three rivers"));
  const Message before = daemon.box().at(0);
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(database_.value("SELECT text FROM parkd.results WHERE custom_id = 'order-17'"),
            "three rivers");
  EXPECT_EQ(database_.number("SELECT (unit_seconds * 1000)::int FROM parkd.costs"), 2);
  EXPECT_EQ(database_.number("SELECT origin_job FROM parkd.mailbox"), static_cast<int64_t>(id));

  const Message after = daemon.box().at(0);
  EXPECT_EQ(after.sequence, before.sequence) << "one name before and after the delivery";
  EXPECT_EQ(after.job_id, id);
  EXPECT_EQ(after.lease, before.lease);
  EXPECT_EQ(after.metadata, before.metadata);
  EXPECT_EQ(after.ending.body, before.ending.body);
  EXPECT_EQ(after.created_at, before.created_at);
  EXPECT_EQ(after.finished_at, before.finished_at);
  EXPECT_EQ(after.expires_at, before.expires_at);
  const auto record = daemon.driver->get(id, "default");
  ASSERT_TRUE(std::holds_alternative<Message>(*record));
  EXPECT_EQ(std::get<Message>(*record).ending.body, before.ending.body);
}

TEST_F(OutboxStoreTest, ids_of_two_stores_and_of_the_databases_own_queue_do_not_collide) {
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  const std::string own = database_.value(
      "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', 'box') RETURNING id");
  Daemon one(dir("one"), database_.dsn());
  Daemon two(dir("two"), database_.dsn());
  EXPECT_EQ(one.run_one("a"), two.run_one("b")) << "both count from one";
  ASSERT_TRUE(settle(*one.store) && settle(*two.store));
  database_.run("SELECT parkd.cancel(" + own + ")");
  database_.run("SELECT parkd.end_cancelled_v1(0)");
  EXPECT_EQ(database_.number("SELECT count(DISTINCT id) FROM parkd.results"), 3);
  EXPECT_EQ(database_.number("SELECT count(DISTINCT sequence) FROM parkd.results"), 3);
  EXPECT_EQ(custom_ids(one.box()), std::vector<std::string>{"a"});
  EXPECT_EQ(custom_ids(two.box()), std::vector<std::string>{"b"});
}

TEST_F(OutboxStoreTest, with_the_database_away_nothing_is_lost_and_the_queue_goes_on) {
  Daemon daemon(dir(), database_.dsn());
  for (int i = 0; i < 10; ++i) daemon.run_one(std::to_string(i));
  ASSERT_TRUE(settle(*daemon.store));
  const uint64_t seen = daemon.box().back().sequence;
  control("stop");
  for (int i = 10; i < 30; ++i) daemon.run_one(std::to_string(i));

  const auto unread = daemon.driver->fetch({"default", kBox, seen, 100});
  ASSERT_TRUE(unread.ok()) << "who has read what was delivered can go on: "
                           << unread.status().to_string();
  EXPECT_EQ(custom_ids(unread->messages), numbered(10, 30));
  const auto all = daemon.driver->fetch({"default", kBox, 0, 100});
  EXPECT_EQ(all.status().code(), StatusCode::unavailable) << "nothing may be skipped";
  const auto taken = daemon.driver->take("default", kBox, {seen});
  EXPECT_EQ(taken.status().code(), StatusCode::unavailable);
  const auto stats = daemon.driver->stats();
  ASSERT_TRUE(stats.ok());
  EXPECT_TRUE(stats->healthy);
  EXPECT_EQ(stats->undelivered_messages, 20);
  EXPECT_NE(stats->mailbox_error, "");

  daemon.close();
  daemon.open();  // starts without its database
  daemon.run_one("30");
  control("start");
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(custom_ids(daemon.box()), numbered(0, 31));
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 31);
  EXPECT_EQ(daemon.driver->stats()->mailbox_error, "");
}

TEST_F(OutboxStoreTest, what_was_never_sent_can_be_taken_while_the_database_is_away) {
  Daemon daemon(dir(), "host=/nonexistent");
  daemon.run_one("a");
  daemon.run_one("b");
  const uint64_t first = daemon.box().at(0).sequence;
  ASSERT_EQ(daemon.driver->take("default", kBox, {first})->size(), 1u);
  daemon.close();
  daemon.dsn_ = database_.dsn();
  daemon.open();
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(database_.value("SELECT string_agg(custom_id, ',') FROM parkd.mailbox"), "b");
}

// Sessions are cut at random while messages are finished, read and taken.
// What was removed is answered, once, wherever the connection is cut.
TEST_F(OutboxStoreTest, a_take_that_is_not_answered_at_first_loses_nothing) {
  Proxy proxy(std::string(std::getenv("PGHOST")) + "/.s.PGSQL.5432");
  Daemon daemon(dir(), proxy.dsn(database_.name()));
  const std::pair<const char*, Proxy::Cut> cuts[] = {{"take_origin", Proxy::Cut::unanswered},
                                                     {"COMMIT", Proxy::Cut::unsent},
                                                     {"COMMIT", Proxy::Cut::in_flight},
                                                     {"COMMIT", Proxy::Cut::unanswered}};
  for (const auto& [request, where] : cuts) {
    SCOPED_TRACE(std::string(request) + " " + std::to_string(static_cast<int>(where)));
    for (int i = 0; i < 3; ++i) daemon.run_one(std::to_string(i));
    ASSERT_TRUE(settle(*daemon.store));
    std::vector<uint64_t> sequences;
    for (const Message& message : daemon.box()) sequences.push_back(message.sequence);
    ASSERT_EQ(sequences.size(), 3u);
    const int before = proxy.n_cut();
    proxy.cut(request, where, 1);
    const auto taken = daemon.driver->take("default", kBox, sequences);
    EXPECT_EQ(proxy.n_cut(), before + 1);
    ASSERT_TRUE(taken.ok()) << taken.status().to_string();
    EXPECT_EQ(custom_ids(*taken), numbered(0, 3));
    EXPECT_TRUE(daemon.box().empty());
    EXPECT_TRUE(daemon.driver->take("default", kBox, sequences).value().empty());
  }
}

TEST_F(OutboxStoreTest, a_reader_sees_each_message_once_and_in_order_across_the_delivery) {
  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  constexpr int kJobs = 1500;
  Daemon daemon(dir(), database_.dsn());
  std::atomic<bool> done{false};
  std::vector<std::string> seen;
  std::thread reader([&] {
    FetchRequest request{"default", kBox, 0, 7};
    while (true) {
      const bool last_look = done;
      const auto page = daemon.driver->fetch(request);
      if (!page.ok()) continue;  // a session was cut for longer than the verb tries
      for (const Message& message : page->messages) {
        EXPECT_GT(message.sequence, request.after_sequence);
        seen.push_back(message.custom_id);
      }
      if (page->messages.empty() && last_look) return;
      request.after_sequence = page->next_sequence;
    }
  });
  std::thread cutter([&] {
    while (!done) {
      try {
        database_.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
            "'parkd-%' AND random() < 0.5");
      } catch (const std::exception&) {
      }
      std::this_thread::sleep_for(milliseconds(10 + random() % 40));
    }
  });
  for (int i = 0; i < kJobs;) {
    std::vector<JobSpec> specs;
    const int last = std::min(kJobs, i + 1 + static_cast<int>(i % 11));
    for (int k = i; k < last; ++k) specs.push_back(spec(std::to_string(k)));
    ASSERT_TRUE(daemon.driver->submit(specs).ok());
    const auto jobs = daemon.driver->claim("m", 100);
    std::vector<FinishItem> items;
    for (const Job& job : *jobs) items.push_back({job.id, job.lease, ending(job.spec.custom_id)});
    ASSERT_TRUE(daemon.driver->finish(items).ok());
    i = last;
  }
  done = true;
  reader.join();
  cutter.join();
  EXPECT_EQ(seen, numbered(0, kJobs));
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), kJobs);
  EXPECT_EQ(database_.number("SELECT count(DISTINCT origin_sequence) FROM parkd.mailbox"), kJobs);
}

TEST_F(OutboxStoreTest, of_takers_and_the_delivery_each_message_goes_to_one) {
  constexpr int kJobs = 600;
  Daemon daemon(dir(), database_.dsn());
  std::atomic<bool> done{false};
  std::vector<std::vector<std::string>> taken(3);
  std::vector<std::thread> takers;
  for (auto& mine : taken) {
    takers.emplace_back([&daemon, &mine, &done] {
      while (true) {
        const bool last_look = done;
        const auto page = daemon.driver->fetch({"default", kBox, 0, 20});
        if (!page.ok()) continue;
        if (page->messages.empty() && last_look) return;
        std::vector<uint64_t> sequences;
        for (const Message& message : page->messages) sequences.push_back(message.sequence);
        const auto got = daemon.driver->take("default", kBox, sequences);
        if (!got.ok()) continue;
        for (const Message& message : *got) mine.push_back(message.custom_id);
      }
    });
  }
  for (int i = 0; i < kJobs; ++i) daemon.run_one(std::to_string(i));
  done = true;
  for (std::thread& taker : takers) taker.join();
  std::vector<std::string> all;
  for (const auto& mine : taken) all.insert(all.end(), mine.begin(), mine.end());
  std::vector<std::string> expected = numbered(0, kJobs);
  std::sort(all.begin(), all.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all, expected);
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 0);
}

TEST_F(OutboxStoreTest,
       a_result_postgres_cannot_hold_is_repaired_and_its_neighbours_are_delivered) {
  Daemon daemon(dir(), "host=/nonexistent");  // so that all go in one batch
  daemon.run_one("before");
  Ending bad = ending("x");
  bad.body = R"({"choices":[{"message":{"content":"a\u0000b \ud800"},"finish_reason":"stop"}]})";
  bad.error_message = std::string("nul\0 here", 9);
  daemon.run_one(spec("nul"), bad);
  bad.body = "not json";
  daemon.run_one(spec("no json"), bad);
  bad.body = std::string((size_t{64} << 20) + 1, 'x');
  daemon.run_one(spec("oversize"), bad);
  JobSpec metadata = spec("metadata");
  metadata.metadata = "{not json";
  daemon.run_one(metadata, ending("kept"));
  daemon.run_one("after");
  const auto refused = daemon.driver->submit({spec("bad \xff")});
  EXPECT_EQ(refused.status().param(), "jobs[0].custom_id");
  daemon.close();
  daemon.dsn_ = database_.dsn();
  daemon.open();
  ASSERT_TRUE(settle(*daemon.store));
  const auto box = daemon.box();
  EXPECT_EQ(custom_ids(box), (std::vector<std::string>{"before", "nul", "no json", "oversize",
                                                       "metadata", "after"}));
  EXPECT_EQ(database_.value("SELECT text FROM parkd.results WHERE custom_id = 'nul'"),
            "a\ufffdb \ufffd");
  EXPECT_EQ(box[2].ending.body, "not json");
  EXPECT_EQ(box[3].ending.outcome, Outcome::failed);
  EXPECT_EQ(box[3].ending.error_code, failure::kTooLarge);
  EXPECT_EQ(database_.value("SELECT text FROM parkd.results WHERE custom_id = 'metadata'"), "kept");
}

TEST_F(OutboxStoreTest, a_login_with_the_daemons_role_is_enough) {
  const std::string login = database_.name() + "_login";
  database_.run("CREATE ROLE " + login + " LOGIN IN ROLE parkd_daemon");
  {
    Daemon daemon(dir(), database_.dsn_as(login));
    daemon.run_one("a");
    daemon.run_one("b");
    ASSERT_TRUE(settle(*daemon.store));
    EXPECT_EQ(daemon.driver->stats()->mailbox_error, "");
    EXPECT_EQ(daemon.driver->take("default", kBox, {daemon.box().at(0).sequence})->size(), 1u);
    EXPECT_TRUE(daemon.driver->purge().ok());
    EXPECT_EQ(daemon.driver->stats()->mailbox_error, "");
    EXPECT_EQ(custom_ids(daemon.box()), std::vector<std::string>{"b"});
  }
  database_.run("DROP ROLE " + login);
}

TEST_F(OutboxStoreTest, a_copy_of_the_directory_is_refused) {
  Daemon daemon(dir(), database_.dsn());
  daemon.run_one("a");
  ASSERT_TRUE(settle(*daemon.store));
  daemon.close();
  std::filesystem::copy(dir(), dir("copy"), std::filesystem::copy_options::recursive);
  daemon.open();
  daemon.run_one("b");
  ASSERT_TRUE(settle(*daemon.store));
  SystemClock clock;
  const auto copy = open_outbox_store(outbox_options(dir("copy"), database_.dsn()), clock);
  EXPECT_EQ(copy.status().code(), StatusCode::conflict);
  EXPECT_NE(copy.status().message().find("copy"), std::string::npos) << copy.status().message();
  daemon.run_one("c");
  ASSERT_TRUE(settle(*daemon.store));
  EXPECT_EQ(custom_ids(daemon.box()), (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(OutboxStoreTest, a_schema_that_is_not_there_is_refused_and_a_missing_database_is_not) {
  TestDatabase empty(TestDatabase::Schema::none);
  SystemClock clock;
  const auto opened = open_outbox_store(outbox_options(dir(), empty.dsn()), clock);
  EXPECT_EQ(opened.status().code(), StatusCode::conflict) << opened.status().to_string();
  EXPECT_TRUE(open_outbox_store(outbox_options(dir(), "host=/nonexistent"), clock).ok());
}

// --- the database's side alone

class PostgresMailboxTest : public testing::Test {
 protected:
  PostgresMailbox mailbox(uint64_t epoch, const std::string& process) {
    PostgresOptions options;
    options.dsn = database_.dsn();
    return PostgresMailbox(options, {std::string(32, 'a'), epoch, process}, "parkd-test");
  }
  static Message message(uint64_t sequence, WallTime finished_at, WallTime expires_at) {
    Message message;
    message.sequence = sequence;
    message.job_id = sequence + 100;
    message.lease = {3, sequence};
    message.tenant = "default";
    message.mailbox_key = kBox;
    message.model = "m";
    message.ending = ending("text");
    message.created_at = finished_at;
    message.finished_at = finished_at;
    message.expires_at = expires_at;
    return message;
  }

  TestDatabase database_;
  SystemClock clock_;
  const std::string first_process_ = std::string(32, 'b');
  const std::string second_process_ = std::string(32, 'c');
};

TEST_F(PostgresMailboxTest, a_batch_that_comes_again_is_stored_once) {
  PostgresMailbox one = mailbox(1, first_process_);
  ASSERT_EQ(*one.announce(10), 0u);
  const WallTime now = clock_.now();
  std::vector<Message> batch;
  for (uint64_t i = 1; i <= 5; ++i) batch.push_back(message(2 * i, now, now + hours(1)));
  ASSERT_TRUE(one.deliver(batch).ok());
  ASSERT_TRUE(one.deliver(batch).ok());
  batch.push_back(message(11, now, now + hours(1)));
  ASSERT_TRUE(one.deliver(batch).ok()) << "part of it is new";
  EXPECT_EQ(one.fetch({"default", kBox, 0, 100}, now)->messages.size(), 6u);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.history"), 6);

  PostgresMailbox next = mailbox(2, second_process_);
  EXPECT_EQ(*next.announce(11), 11u) << "the next process learns how far the last one came";
  EXPECT_EQ(one.deliver(batch).code(), StatusCode::conflict) << "which may not deliver any more";
  EXPECT_EQ(one.announce(11).status().code(), StatusCode::conflict);
}

TEST_F(PostgresMailboxTest, a_store_that_knows_less_than_it_delivered_is_refused) {
  PostgresMailbox one = mailbox(1, first_process_);
  ASSERT_TRUE(one.announce(7).ok());
  const WallTime now = clock_.now();
  ASSERT_TRUE(one.deliver({message(7, now, now + hours(1))}).ok());
  PostgresMailbox old = mailbox(9, second_process_);
  EXPECT_EQ(old.announce(6).status().code(), StatusCode::conflict);
}

TEST_F(PostgresMailboxTest, messages_of_long_ago_and_of_far_expiry_find_their_partitions) {
  PostgresMailbox one = mailbox(1, first_process_);
  ASSERT_TRUE(one.announce(2).ok());
  const WallTime now = clock_.now();
  ASSERT_TRUE(one.deliver({message(1, now - hours(24 * 20), now + hours(24 * 5)),
                           message(2, now, now + hours(24 * 59))})
                  .ok());
  EXPECT_EQ(one.fetch({"default", kBox, 0, 100}, now)->messages.size(), 2u);
}

TEST_F(PostgresMailboxTest, a_page_reads_its_own_messages_alone) {
  database_.run(
      "INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, "
      "expires_at, "
      "queue_us, run_us, units, prompt_tokens, completion_tokens, status_code, attempts, outcome, "
      "tenant, mailbox_key, model, origin, origin_sequence, origin_job) SELECT "
      "nextval('parkd.message_sequence'), i, 1, now(), now(), now() + interval '1 day', 0, 0, 0, "
      "0, "
      "0, 200, 0, 'completed', 'default', 'box', 'm', CASE WHEN i % 2 = 0 THEN repeat('a', 32) "
      "ELSE "
      "repeat('d', 32) END::uuid, i, i FROM generate_series(1, 20000) i");
  database_.run("ANALYZE parkd.mailbox");
  PostgresMailbox one = mailbox(1, first_process_);
  ASSERT_TRUE(one.announce(20'000).ok());
  const auto reads = [&] {
    return database_.number(
        "SELECT sum(coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0)) FROM "
        "pg_stat_user_tables WHERE relname LIKE 'mailbox%'");
  };
  ASSERT_TRUE(one.fetch({"default", kBox, 0, 1}, clock_.now()).ok());
  one.close();  // its counters are flushed
  const int64_t before = reads();
  ASSERT_EQ(one.fetch({"default", kBox, 10'000, 20}, clock_.now())->messages.size(), 20u);
  ASSERT_TRUE(one.find("default", kBox, 12'000, clock_.now())->has_value());
  UncertainTake uncertain;
  ASSERT_EQ(one.take("default", kBox, {40, 42, 44}, clock_.now(), uncertain)->size(), 3u);
  one.close();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  int64_t after = reads();
  while (after - before <= 20 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(milliseconds(10));
    after = reads();
  }
  EXPECT_GT(after - before, 20);
  EXPECT_LT(after - before, 60);
}

}  // namespace
}  // namespace parkd
