// Answers that come as they are written: OpenAI's streams on a real daemon, each held against the
// message that its job ends in.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/e2e/stream_client.h"
#include "tests/support/random_data.h"
#include "tests/support/sanitized.h"

namespace parkd::testing {
namespace {

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kText = "/v1/completions";

class Streams : public ::testing::Test {
 protected:
  void start(DaemonSetup setup) {
    daemon_ = std::make_unique<DaemonProcess>(setup);
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
    client_ = daemon_->client();
  }
  static std::string request(const std::string& path, json::object body,
                             const std::string& headers = "") {
    body["stream"] = true;
    return RawPeer::request("POST", path, json::serialize(body), headers);
  }
  static std::string go_on(int64_t job, const std::string& last_id = "") {
    return RawPeer::request("GET", "/v1/jobs/" + std::to_string(job) + "/stream", "",
                            last_id.empty() ? "" : "Last-Event-ID: " + last_id + "\r\n");
  }
  StreamClient open(const std::string& request) {
    StreamClient stream(daemon_->socket());
    stream.open(request);
    return stream;
  }
  json::value record(int64_t job) {
    return must(client_->get("/v1/jobs/" + std::to_string(job))).json;
  }
  std::string outcome(int64_t job) { return text_at(record(job), "outcome"); }

  void expect_is_its_message(const StreamClient& stream) {
    testing::expect_is_its_message(stream, record(stream.job));
  }

  static DaemonSetup long_setup() {
    DaemonSetup setup;
    setup.context_tokens = 8192;
    return setup;
  }
  // Takes seconds.
  static json::object long_body(int seed = 1) {
    json::object body = chat_body("Say much.", 8000);
    body["seed"] = seed;
    body["n"] = 2;
    return body;
  }

  // Takes longer than a caller has to wait until the store knows of it.
  static json::object endless_body() {
    json::object body = long_body();
    body["max_tokens"] = 30000;
    body["logprobs"] = true;
    body["top_logprobs"] = 20;
    go_on_to_the_limit(body);
    return body;
  }
  static constexpr const char* kStreaming = "parkd_callers{streams=\"true\"}";
  double gauge(const std::string& sample) { return metric(*daemon_, sample); }

  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(Streams, every_kind_of_answer_is_what_its_message_holds) {
  start({});
  json::object plain = chat_body("Say something.", 40);
  json::object many = chat_body("Say something.", 40);
  many["n"] = 2;
  many["temperature"] = 1.0;
  json::object logprobs = many;
  logprobs["logprobs"] = true;
  logprobs["top_logprobs"] = 2;
  json::object stopped = chat_body("Say something.", 200);
  stopped["temperature"] = 1.5;
  stopped["stop"] = json::array{"e", "ab"};
  const json::object text{{"prompt", "abc"}, {"max_tokens", 30}};
  const json::object texts{{"prompt", json::array{"abc", "de"}},
                           {"max_tokens", 30},
                           {"logprobs", 2},
                           {"temperature", 1.0}};
  const std::vector<std::pair<const char*, json::object>> bodies = {
      {kChat, plain},   {kChat, many}, {kChat, logprobs},
      {kChat, stopped}, {kText, text}, {kText, texts}};
  for (const auto& [path, body] : bodies) {
    SCOPED_TRACE(json::serialize(body));
    StreamClient stream = open(request(path, body));
    ASSERT_EQ(stream.status, 200) << stream.body;
    stream.finish();
    expect_is_its_message(stream);
    EXPECT_TRUE(stream.usage.is_null());
    // The job behind it is the one that a caller makes who does not stream.
    EXPECT_EQ(find(record(stream.job), "body.stream"), nullptr);
    // A second look at it, all in one piece.
    StreamClient again = open(go_on(stream.job));
    again.finish();
    again.job = stream.job;
    expect_is_its_message(again);
    EXPECT_FALSE(again.restarted);
  }
}

TEST_F(Streams, usage_comes_last_where_it_is_asked_for) {
  start({});
  json::object body = chat_body("Say something.", 5);
  body["stream_options"] = json::object{{"include_usage", true}};
  StreamClient stream = open(request(kChat, body));
  stream.finish();
  expect_is_its_message(stream);
  EXPECT_EQ(stream.usage, *find(record(stream.job), "response.body.usage"));
}

TEST_F(Streams, tokens_come_while_the_job_runs) {
  start(long_setup());
  StreamClient stream = open(request(kChat, long_body()));
  while (stream.n_content() == 0 && stream.step()) {
  }
  EXPECT_EQ(text_at(record(stream.job), "state"), "running");
  EXPECT_GT(stream.n_content(), 0u);
  stream.finish();
  expect_is_its_message(stream);
  EXPECT_GT(stream.n_events, 100);
}

// Its tokens wait for it, and nobody waits for it.
TEST_F(Streams, a_client_that_reads_nothing_holds_up_nobody_and_misses_nothing) {
  start(long_setup());
  json::object body = long_body();
  if (kIsSanitized) body["max_tokens"] = 1000;  // one that takes nothing for a minute is gone
  body["logprobs"] = true;
  body["top_logprobs"] = 20;
  StreamClient slow = open(request(kChat, body, "X-Parkd-On-Disconnect: keep\r\n"));
  StreamClient quick = open(request(kChat, chat_body("Say something.", 30)));
  quick.finish();
  expect_is_its_message(quick);
  EXPECT_TRUE(daemon_->wait_until([&] { return outcome(slow.job) == "completed"; }));
  slow.finish();
  expect_is_its_message(slow);
}

TEST_F(Streams, go_on_after_a_kill_where_they_broke_off) {
  DaemonSetup setup = long_setup();
  setup.more_daemon = "  stream_grace_s: 3600\n";  // they are followed one after the other
  start(setup);
  uint64_t seed = fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::vector<StreamClient> streams;
  for (int i = 0; i < 8; ++i) {
    json::object body = i % 2 == 0 ? long_body(i) : chat_body("Say it all.", 3000);
    body["temperature"] = 1.0;
    streams.push_back(open(request(kChat, body)));
  }
  const size_t enough = 200 + seed % 2000;
  for (StreamClient& stream : streams) {
    // Some have not begun yet when it dies: two run at a time.
    if (&stream - streams.data() < 2) {
      while (stream.n_content() < enough && stream.step()) {
      }
    }
  }
  daemon_->kill();
  for (StreamClient& stream : streams) {
    while (stream.step()) {
    }
    EXPECT_FALSE(stream.done);
  }
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  daemon_->wait_for_model();
  for (StreamClient& stream : streams) {
    StreamClient rest = open(go_on(stream.job, stream.last_id));
    ASSERT_EQ(rest.status, 200) << rest.body;
    rest.job = stream.job;
    rest.choices = stream.choices;
    rest.created = stream.created;
    rest.finish();
    EXPECT_FALSE(rest.restarted);
    expect_is_its_message(rest);
  }
}

// Half of one text is never glued to half of another: where what was sent is not the beginning of
// what the job writes now, the whole comes anew. Another instruction set may write the same.
TEST_F(Streams, begin_anew_where_their_job_goes_on_by_another_arithmetic) {
  const std::pair<const char*, const char*> changes[] = {{"    params:\n", "      dtype: f32\n"},
                                                         {"daemon:\n", "  cpu_isa: scalar\n"}};
  for (const auto& [section, change] : changes) {
    SCOPED_TRACE(change);
    start(long_setup());
    json::object body = long_body();
    body["temperature"] = 1.0;
    if (change != changes[0].second) body["max_tokens"] = 1000;  // it is slow then
    StreamClient stream = open(request(kChat, body));
    while (stream.n_content() < 300 && stream.step()) {
    }
    daemon_->kill();
    std::stringstream config;
    config << std::ifstream(daemon_->config_path()).rdbuf();
    std::string text = config.str();
    const size_t at = text.find(section);
    ASSERT_NE(at, text.npos) << text;
    text.insert(at + std::string(section).size(), change);
    std::ofstream(daemon_->config_path()) << text;
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
    StreamClient again = open(go_on(stream.job, stream.last_id));
    ASSERT_EQ(again.status, 200) << again.body;
    again.job = stream.job;
    again.choices = stream.choices;
    again.created = stream.created;
    again.finish();
    EXPECT_TRUE(again.restarted || change != changes[0].second);
    expect_is_its_message(again);
  }
}

TEST_F(Streams, an_id_of_another_text_begins_anew_and_says_so) {
  start({});
  StreamClient stream = open(request(kChat, chat_body("Say something.", 40)));
  while (stream.n_content() < 5 && stream.step()) {
  }
  const std::string id = stream.last_id;
  stream.finish();
  std::string other = id;
  other.back() = other.back() == '0' ? '1' : '0';  // of the hash
  for (const std::string& wrong : {other, std::string("fp_other:0.3.0.0.0"), std::string("x"),
                                   id.substr(0, id.size() / 2), id + ",1.1.1.1.1"}) {
    SCOPED_TRACE(wrong);
    StreamClient again = open(go_on(stream.job, wrong));
    ASSERT_EQ(again.status, 200) << again.body;
    again.finish();
    EXPECT_TRUE(again.restarted);
    again.job = stream.job;
    expect_is_its_message(again);
  }
  StreamClient rest = open(go_on(stream.job, id));
  rest.finish();
  EXPECT_FALSE(rest.restarted);
  EXPECT_EQ(rest.n_content() < stream.n_content(), true);
}

TEST_F(Streams, whose_client_goes_away_is_cancelled) {
  DaemonSetup setup = long_setup();
  setup.more_daemon = "  stream_grace_s: 0\n";
  start(setup);
  StreamClient stream = open(request(kChat, long_body()));
  stream.step();
  stream.close();
  EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(stream.job).empty(); }));
  EXPECT_EQ(outcome(stream.job), "cancelled");
}

TEST_F(Streams, whose_client_comes_back_before_its_grace_is_over_go_on) {
  DaemonSetup setup;
  setup.context_tokens = 32768;
  setup.more_daemon = "  stream_grace_s: 1\n";
  start(setup);
  json::object body = long_body();
  body["max_tokens"] = 30000;  // takes more than the grace
  StreamClient stream = open(request(kChat, body));
  while (stream.n_content() < 50 && stream.step()) {
  }
  stream.close();
  StreamClient rest = open(go_on(stream.job, stream.last_id));
  rest.job = stream.job;
  rest.choices = stream.choices;
  rest.created = stream.created;
  rest.finish();
  expect_is_its_message(rest);
}

// Whoever is the last to go.
TEST_F(Streams, whose_second_client_goes_away_too_is_cancelled) {
  DaemonSetup setup;
  setup.context_tokens = 32768;
  setup.more_daemon = "  stream_grace_s: 0\n";
  start(setup);
  StreamClient first = open(request(kChat, endless_body()));
  ASSERT_TRUE(first.step());
  ASSERT_TRUE(daemon_->wait_until([&] { return gauge("parkd_jobs_with_callers") == 1; }));
  StreamClient second = open(go_on(first.job));
  ASSERT_EQ(second.status, 200) << second.body;
  ASSERT_TRUE(daemon_->wait_until([&] { return gauge(kStreaming) == 2; }));
  first.close();
  ASSERT_TRUE(daemon_->wait_until([&] { return gauge(kStreaming) == 1; }));
  EXPECT_EQ(outcome(first.job), "") << "there is another";
  second.close();
  EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(first.job).empty(); }));
  EXPECT_EQ(outcome(first.job), "cancelled");
  EXPECT_EQ(gauge(kStreaming), 0);
}

// The daemon that would have counted the grace is gone.
TEST_F(Streams, that_a_kill_cut_and_nobody_comes_back_to_are_cancelled) {
  DaemonSetup setup;
  setup.context_tokens = 32768;
  setup.more_daemon = "  stream_grace_s: 0\n";
  start(setup);
  json::object body = endless_body();
  body["n"] = 1;
  StreamClient lost = open(request(kChat, body));
  StreamClient kept =
      open(request(kChat, chat_body("Say it all.", 3000), "X-Parkd-On-Disconnect: keep\r\n"));
  ASSERT_TRUE(lost.step() && kept.step());
  ASSERT_TRUE(daemon_->wait_until([&] { return gauge("parkd_jobs_with_callers") == 1; }));
  daemon_->kill();
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(lost.job).empty(); }));
  EXPECT_EQ(outcome(lost.job), "cancelled");
  daemon_->wait_for_model();
  EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(kept.job).empty(); }));
  EXPECT_EQ(outcome(kept.job), "completed");
}

TEST_F(Streams, a_job_that_does_not_complete_ends_its_stream_with_its_error) {
  start(long_setup());
  StreamClient stream = open(request(kChat, long_body()));
  while (stream.n_content() == 0 && stream.step()) {
  }
  must(client_->post("/v1/jobs/" + std::to_string(stream.job) + "/cancel", json::object()));
  stream.finish();
  EXPECT_FALSE(stream.done);
  EXPECT_EQ(text_at(stream.error, "code"), "cancelled") << json::serialize(stream.error);
}

TEST_F(Streams, a_job_of_any_door_is_followed_by_its_tenant) {
  start(long_setup());
  const int64_t job = submit(*client_, json::object{{"body", long_body()}});
  StreamClient stream = open(go_on(job));
  ASSERT_EQ(stream.status, 200) << stream.body;
  stream.finish();
  stream.job = job;
  expect_is_its_message(stream);
  EXPECT_EQ(open(go_on(job + 1000)).status, 404);
  EXPECT_EQ(open(RawPeer::request("GET", "/v1/jobs/none/stream")).status, 400);
}

TEST_F(Streams, what_is_refused_of_a_stream_names_the_field) {
  start({});
  struct Case {
    json::object more;
    const char* param;
  };
  const std::vector<Case> cases = {
      {{{"stream", "yes"}}, "stream"},
      {{{"stream", true}, {"stream_options", 3}}, "stream_options"},
      {{{"stream", true}, {"stream_options", {{"usage", true}}}}, "stream_options.usage"},
      {{{"stream", true}, {"stream_options", {{"include_usage", 1}}}},
       "stream_options.include_usage"},
      {{{"stream", false}, {"stream_options", {{"include_usage", true}}}}, "stream_options"},
  };
  for (const Case& each : cases) {
    json::object body = chat_body("a", 1);
    for (const auto& member : each.more) body[member.key()] = member.value();
    const HttpAnswer answer = must(client_->post(kChat, body));
    EXPECT_EQ(answer.status, 400) << answer.text;
    EXPECT_EQ(text_at(answer.json, "error.param"), each.param) << answer.text;
  }
  json::object body = chat_body("a", 1);
  body["stream"] = nullptr;
  EXPECT_EQ(must(client_->post(kChat, body)).status, 200);
}

}  // namespace
}  // namespace parkd::testing
