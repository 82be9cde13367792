// The database goes away in the middle of streams: each ends as its message does.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <string>
#include <vector>

#include "lib/base/thread.h"
#include "tests/e2e/postgres_world.h"
#include "tests/e2e/stream_client.h"
#include "tests/support/random_data.h"

namespace parkd::testing {
namespace {

constexpr int kStreams = 10;
constexpr const char* kChat = "/v1/chat/completions";

// Takes seconds. Without U+0000, which PostgreSQL cannot store: a stream that has sent one begins
// anew at its end, with the character that is stored for it.
json::object long_body(uint64_t seed, bool streams) {
  json::object body = chat_body("Say it all.", 1500);
  body["logit_bias"] = json::object{{tiny_token('\0'), -100}};
  body["seed"] = seed % 1'000'000;
  body["temperature"] = 1.0;
  body["stream"] = streams;
  return body;
}

// Clients that each read one answer to its end, as it comes.
class Readers {
 public:
  Readers(DaemonProcess& daemon, uint64_t seed) {
    for (int i = 0; i < kStreams; ++i) {
      StreamClient& stream = streams_.emplace_back(daemon.socket());
      const json::object body = long_body(seed + static_cast<uint64_t>(i), true);
      stream.open(RawPeer::request("POST", kChat, json::serialize(body)));
      EXPECT_EQ(stream.status, 200) << stream.body;
    }
    for (StreamClient& stream : streams_) {
      threads_.emplace_back(Thread::Options{"reader", 0}, [this, &stream] {
        while (stream.step()) n_content_.store(std::max(n_content_.load(), stream.n_content()));
      });
    }
  }
  // The most that one of them has read.
  size_t n_content() const { return n_content_; }
  std::deque<StreamClient>& finish() {
    threads_.clear();
    return streams_;
  }

 private:
  std::atomic<size_t> n_content_{0};
  std::deque<StreamClient> streams_;
  std::vector<Thread> threads_;
};

class PostgresStreams : public ::testing::Test {
 protected:
  void start() {
    DaemonSetup setup;
    setup.max_num_seqs = 4;  // the others begin later
    setup.context_tokens = 8192;
    daemon_ = &world_.start_daemon(setup);
    seed_ = fresh_seed();
  }
  json::value message_of(int64_t job) {
    json::value record;
    PostgresWorld::wait_until([&] {
      const auto answer = daemon_->client()->get("/v1/jobs/" + std::to_string(job));
      if (!answer.ok() || answer->status != 200) return false;
      record = answer->json;
      return !text_at(record, "outcome").empty();
    });
    return record;
  }
  // One that was cut goes on behind its last event; none is glued to another text.
  void expect_ends_as_its_message(StreamClient& stream) {
    const json::value message = message_of(stream.job);
    if (!stream.done && stream.error.is_null()) {
      StreamClient rest(daemon_->socket());
      rest.open(RawPeer::request(
          "GET", "/v1/jobs/" + std::to_string(stream.job) + "/stream", "",
          stream.last_id.empty() ? "" : "Last-Event-ID: " + stream.last_id + "\r\n"));
      ASSERT_EQ(rest.status, 200) << rest.body;
      rest.job = stream.job;
      rest.choices = stream.choices;
      rest.created = stream.created;
      rest.finish();
      EXPECT_FALSE(rest.restarted);
      return expect_is_its_message(rest, message);
    }
    EXPECT_FALSE(stream.restarted) << "the same arithmetic writes the same text";
    if (stream.error.is_null()) return expect_is_its_message(stream, message);
    EXPECT_EQ(text_at(stream.error, "code"), text_at(message, "error.code"))
        << json::serialize(stream.error) << "\n"
        << json::serialize(message);
  }

  PostgresWorld world_;
  DaemonProcess* daemon_ = nullptr;
  uint64_t seed_ = 0;
};

TEST_F(PostgresStreams, end_as_their_messages_when_the_database_restarts) {
  start();
  SCOPED_TRACE("seed " + std::to_string(seed_));
  Readers readers(*daemon_, seed_);
  PostgresWorld::wait_until([&] { return readers.n_content() > 200 + seed_ % 500; });
  ASSERT_GT(world_.number("SELECT count(*) FROM parkd.jobs"), 0) << "the middle is over";
  PostgresWorld::server("restart -m immediate");
  for (StreamClient& stream : readers.finish()) expect_ends_as_its_message(stream);
  world_.expect_each_job_answered_once(kStreams);
}

// Away for so long that what the daemon runs is not its own any more, and runs again.
TEST_F(PostgresStreams, end_as_their_messages_when_the_database_is_away_for_longer_than_a_lease) {
  start();
  SCOPED_TRACE("seed " + std::to_string(seed_));
  Readers readers(*daemon_, seed_);
  PostgresWorld::wait_until([&] { return readers.n_content() > 200 + seed_ % 500; });
  Result<HttpAnswer> whole = internal_error("not answered");
  Thread caller({"caller", 0}, [&] {
    whole = daemon_->client()->post(kChat, long_body(seed_ + kStreams, false));
  });
  PostgresWorld::wait_until([&] {
    return world_.number("SELECT count(*) FROM parkd.jobs WHERE priority = 'high'") > 0 &&
           world_.number("SELECT max(id) FROM parkd.jobs") > kStreams;
  });
  PostgresWorld::server("stop -m immediate");
  PostgresWorld::wait_until(
      [&] { return daemon_->log().find("dispatcher.ownership_lost") != std::string::npos; });
  PostgresWorld::server("start");
  for (StreamClient& stream : readers.finish()) expect_ends_as_its_message(stream);
  caller.join();
  EXPECT_EQ(must(std::move(whole)).status, 200) << "who does not stream waits likewise";
  world_.expect_each_job_answered_once(kStreams + 1);
}

// Its callers' grace is counted by the other, from when that sees it gone; who comes to the other
// by then is its caller.
TEST_F(PostgresStreams, of_a_daemon_that_died_are_cancelled_or_gone_on_with_by_another) {
  DaemonSetup setup;
  setup.max_num_seqs = 4;
  setup.context_tokens = 32768;
  setup.more_daemon = "  stream_grace_s: 1\n";
  daemon_ = &world_.start_daemon(setup);
  seed_ = fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed_));
  std::deque<StreamClient> streams;
  for (uint64_t i = 0; i < 2; ++i) {
    json::object body = long_body(seed_ + i, true);
    body["max_tokens"] = 30000;  // longer than until the store knows of their callers
    go_on_to_the_limit(body);
    streams.emplace_back(daemon_->socket())
        .open(RawPeer::request("POST", kChat, json::serialize(body)));
    ASSERT_TRUE(streams.back().step());
  }
  StreamClient& lost = streams[0];
  StreamClient& back = streams[1];
  PostgresWorld::wait_until(
      [&] { return world_.number("SELECT count(*) FROM parkd.callers") == 2; });
  // Nothing is claimed any more, so that no job ends before its grace does.
  world_.run("UPDATE parkd.models SET paused_at = now()");
  daemon_->kill();
  DaemonProcess& other = world_.start_daemon(setup);
  StreamClient rest(other.socket());
  rest.open(RawPeer::request("GET", "/v1/jobs/" + std::to_string(back.job) + "/stream", "",
                             "Last-Event-ID: " + back.last_id + "\r\n"));
  ASSERT_EQ(rest.status, 200) << rest.body;
  daemon_ = &other;
  EXPECT_EQ(text_at(message_of(lost.job), "outcome"), "cancelled");
  PostgresWorld::wait_until(
      [&] { return world_.number("SELECT count(*) FROM parkd.callers") == 1; });
  EXPECT_EQ(world_.number("SELECT job_id FROM parkd.callers"), back.job);
  world_.run("UPDATE parkd.models SET paused_at = NULL");
  rest.job = back.job;
  rest.choices = back.choices;
  rest.created = back.created;
  rest.finish();
  EXPECT_FALSE(rest.restarted);
  expect_is_its_message(rest, message_of(back.job));
}

// Taken for gone while its client waits on, it has another id from then on, and its rows are
// another's. Nothing of that may end the job.
TEST_F(PostgresStreams, of_a_daemon_that_was_taken_for_gone_have_their_callers_there_again) {
  DaemonSetup setup;
  setup.context_tokens = 32768;
  daemon_ = &world_.start_daemon(setup);
  json::object body = long_body(1, false);
  body["max_tokens"] = 30000;
  go_on_to_the_limit(body);
  RawPeer caller(daemon_->socket());  // which would be cut if it did not read a stream
  ASSERT_TRUE(caller.send(RawPeer::request("POST", kChat, json::serialize(body))));
  PostgresWorld::wait_until(
      [&] { return world_.number("SELECT count(*) FROM parkd.callers") == 1; });
  const std::string job = world_.value("SELECT job_id FROM parkd.callers");
  const std::string lost = world_.value("SELECT daemon_id FROM parkd.callers");
  world_.start_daemon(setup);
  world_.run("UPDATE parkd.models SET paused_at = now()");  // it does not end meanwhile
  // What the other one's next look would do.
  world_.run("UPDATE parkd.daemons SET lost_at = now() WHERE id = " + lost +
             "; UPDATE parkd.callers SET daemon_id = (SELECT max(id) FROM parkd.daemons)");
  PostgresWorld::wait_until([&] {
    return world_.number(
               "SELECT count(*) FROM parkd.callers c JOIN parkd.daemons d "
               "ON d.id = c.daemon_id WHERE d.lost_at IS NULL") == 2;
  });
  EXPECT_FALSE(caller.ended());
  EXPECT_EQ(must(daemon_->client()->get("/v1/jobs/" + job)).status, 200);
}

}  // namespace
}  // namespace parkd::testing
