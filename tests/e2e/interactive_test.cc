// Requests whose caller waits for the answer: OpenAI's chat, completions and responses on a real
// daemon.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/jobs.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

constexpr const char* kChat = "/v1/chat/completions";

struct Answered {
  int status = 0;  // 0: the connection ended
  std::string head;
  json::value body;

  // "" where there is none.
  std::string header(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == head.npos) return "";
    const size_t from = at + name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
  int64_t job() const {
    const std::string id = header("X-Parkd-Job-Id");
    return id.empty() ? 0 : std::stoll(id);
  }
};

class Interactive : public ::testing::Test {
 protected:
  void start(DaemonSetup setup) {
    daemon_ = std::make_unique<DaemonProcess>(setup);
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
    client_ = daemon_->client();
  }

  static std::string request(const std::string& path, const json::object& body,
                             const std::string& headers = "") {
    return RawPeer::request("POST", path, json::serialize(body), headers);
  }
  Answered call(const std::string& path, const json::object& body,
                const std::string& headers = "") {
    RawPeer peer(daemon_->socket());
    EXPECT_TRUE(peer.send(request(path, body, headers)));
    const RawAnswer answer = peer.read();
    boost::system::error_code error;
    return {answer.status, answer.head, json::parse(answer.body, error)};
  }

  // Long enough to be looked at while it runs: some seconds.
  static json::object long_body() {
    json::object body = chat_body("Say much.", 8000);
    body["n"] = 2;
    return body;
  }
  static DaemonSetup long_setup() {
    DaemonSetup setup;
    setup.context_tokens = 8192;
    return setup;
  }
  int64_t running() {
    const HttpAnswer pool = must(client_->get("/v1/pool"));
    return number_at(find(pool.json, "models")->get_array()[0], "running");
  }
  std::string outcome(int64_t job) {
    return text_at(must(client_->get("/v1/jobs/" + std::to_string(job))).json, "outcome");
  }
  // The only live job.
  int64_t live_job() {
    int64_t id = 0;
    EXPECT_TRUE(daemon_->wait_until([&] {
      const HttpAnswer page = must(client_->get("/v1/jobs"));
      const json::array& jobs = find(page.json, "jobs")->get_array();
      if (!jobs.empty()) id = number_at(jobs[0], "id");
      return id != 0;
    }));
    return id;
  }

  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(Interactive, a_chat_is_answered_with_what_its_message_holds) {
  start({});
  const Answered answer = call(kChat, chat_body("Say something.", 5));
  ASSERT_EQ(answer.status, 200) << json::serialize(answer.body);
  EXPECT_EQ(text_at(answer.body, "object"), "chat.completion");
  EXPECT_EQ(number_at(answer.body, "usage.completion_tokens"), 5);
  const HttpAnswer job = must(client_->get("/v1/jobs/" + std::to_string(answer.job())));
  EXPECT_EQ(text_at(job.json, "outcome"), "completed");
  EXPECT_EQ(*find(job.json, "response.body"), answer.body);
  EXPECT_EQ(text_at(job.json, "mailbox_key"), answer.header("X-Parkd-Mailbox-Key"));
  // The job that /v1/jobs makes of the same body has the same text.
  submit(*client_, json::object{{"body", chat_body("Say something.", 5)}, {"mailbox_key", "box"}});
  const json::array messages = wait_for_messages(*client_, "box", 1);
  EXPECT_EQ(*find(messages[0], "response.body.choices"), *find(answer.body, "choices"));
}

TEST_F(Interactive, a_prompt_is_completed) {
  start({});
  const Answered answer =
      call("/v1/completions", json::object{{"prompt", "abc"}, {"max_tokens", 3}});
  ASSERT_EQ(answer.status, 200) << json::serialize(answer.body);
  EXPECT_EQ(text_at(answer.body, "object"), "text_completion");
}

TEST_F(Interactive, a_response_is_answered_as_a_whole_with_what_its_message_holds) {
  start({});
  json::object body = {{"input", "Say something."},
                       {"max_output_tokens", 4},
                       {"instructions", "Be short."},
                       {"metadata", {{"a", "b"}}},
                       {"logit_bias", {{tiny_token('a'), 100}}}};
  const Answered answer = call("/v1/responses", body);
  ASSERT_EQ(answer.status, 200) << json::serialize(answer.body);
  EXPECT_EQ(text_at(answer.body, "object"), "response");
  EXPECT_EQ(text_at(answer.body, "id"), "resp_" + std::to_string(answer.job()));
  EXPECT_EQ(text_at(answer.body, "status"), "incomplete");
  EXPECT_EQ(text_at(answer.body, "incomplete_details.reason"), "max_output_tokens");
  EXPECT_EQ(text_at(answer.body, "instructions"), "Be short.");
  EXPECT_EQ(text_at(answer.body, "metadata.a"), "b");
  EXPECT_EQ(number_at(answer.body, "usage.output_tokens"), 4);
  const HttpAnswer job = must(client_->get("/v1/jobs/" + std::to_string(answer.job())));
  EXPECT_EQ(text_at(job.json, "outcome"), "completed");
  EXPECT_EQ(*find(job.json, "response.body"), answer.body);
  EXPECT_EQ(jobctl::answer_text(job.json), "aaaa");

  const Answered limit =
      call("/v1/responses", {{"input", std::string(5000, 'x')}, {"max_output_tokens", 1}});
  EXPECT_EQ(limit.status, 400);
  EXPECT_EQ(text_at(limit.body, "error.param"), "input");
  EXPECT_EQ(text_at(limit.body, "error.code"), "context_length_exceeded");
  body["stream"] = true;
  const Answered streamed = call("/v1/responses", body);
  EXPECT_EQ(streamed.status, 400) << json::serialize(streamed.body);
  EXPECT_EQ(text_at(streamed.body, "error.param"), "stream");
  body["stream"] = false;
  EXPECT_EQ(call("/v1/responses", body).status, 200);

  // Nor do its jobs stream, live or ended.
  body.erase("stream");
  const int64_t waits =
      submit(*client_, far_future({{"endpoint", "/v1/responses"}, {"body", body}}));
  for (const int64_t id : {waits, answer.job()}) {
    const HttpAnswer none = must(client_->get("/v1/jobs/" + std::to_string(id) + "/stream"));
    EXPECT_EQ(none.status, 400) << none.text;
    EXPECT_NE(text_at(none.json, "error.message").find("comes as a whole"), std::string::npos)
        << none.text;
  }
}

TEST_F(Interactive, what_is_refused_names_the_field_as_its_caller_wrote_it) {
  start({});
  struct Case {
    json::object body;
    const char* param;
    const char* code;
    int status = 400;
  };
  json::object unknown = chat_body("a", 1);
  unknown["colour"] = "red";
  json::object other_model = chat_body("a", 1);
  other_model["model"] = "none-such";
  const std::vector<Case> cases = {
      {unknown, "colour", "invalid_request"},
      {other_model, "model", "model_not_found", 404},
      {chat_body(std::string(5000, 'x'), 1), "messages", "context_length_exceeded"},
  };
  for (const Case& each : cases) {
    const Answered answer = call(kChat, each.body);
    EXPECT_EQ(answer.status, each.status) << json::serialize(answer.body);
    EXPECT_EQ(text_at(answer.body, "error.param"), each.param);
    EXPECT_EQ(text_at(answer.body, "error.code"), each.code);
    EXPECT_EQ(answer.job(), 0);
  }
  EXPECT_EQ(call(kChat, {}, "Idempotency-Key: " + std::string(600, 'k') + "\r\n").status, 400);
  EXPECT_EQ(call(kChat, chat_body("a", 1), "X-Parkd-On-Disconnect: perhaps\r\n").status, 400);
  EXPECT_EQ(
      call(kChat, chat_body("a", 1), "X-Parkd-On-Disconnect: cancel\r\nIdempotency-Key: k\r\n")
          .status,
      400);
}

TEST_F(Interactive, callers_with_one_idempotency_key_wait_for_one_job) {
  start({});
  const std::string key = "Idempotency-Key: mine\r\n";
  std::vector<Answered> answers(4);
  std::vector<std::thread> callers;
  for (Answered& answer : answers) {
    callers.emplace_back([&] { answer = call(kChat, chat_body("Say something.", 20), key); });
  }
  for (std::thread& caller : callers) caller.join();
  answers.push_back(call(kChat, chat_body("Say something.", 20), key));  // it has ended
  for (const Answered& answer : answers) {
    EXPECT_EQ(answer.status, 200) << json::serialize(answer.body);
    EXPECT_EQ(answer.job(), answers[0].job());
    EXPECT_EQ(answer.body, answers[0].body);
  }
  const Answered other = call(kChat, chat_body("Say something else.", 20), key);
  EXPECT_EQ(other.status, 422) << json::serialize(other.body);
}

TEST_F(Interactive, whose_caller_goes_away_is_cancelled_unless_something_says_keep) {
  DaemonSetup setup = long_setup();
  setup.more_daemon = "  stream_grace_s: 0\n";
  start(setup);
  {
    RawPeer peer(daemon_->socket());
    ASSERT_TRUE(peer.send(request(kChat, long_body())));
    const int64_t job = live_job();
    peer.close();
    EXPECT_TRUE(daemon_->wait_until([&] { return outcome(job) == "cancelled"; }));
  }
  const json::object short_body = chat_body("Say some.", 2000);  // and yet seen while it runs
  json::object stored = short_body;
  stored["store"] = true;
  const std::vector<std::string> keeps = {
      request(kChat, short_body, "X-Parkd-On-Disconnect: keep\r\n"),
      request(kChat, short_body, "Idempotency-Key: mine\r\n"),
      request(kChat, stored),
  };
  for (const std::string& keep : keeps) {
    RawPeer peer(daemon_->socket());
    ASSERT_TRUE(peer.send(keep));
    const int64_t job = live_job();
    peer.close();
    EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(job).empty(); }));
    EXPECT_EQ(outcome(job), "completed");
  }
}

TEST_F(Interactive, a_caller_is_told_when_it_takes_too_long_and_the_job_goes_on) {
  DaemonSetup setup = long_setup();
  setup.more_daemon = "  interactive_timeout_s: 1\n";
  start(setup);
  // Behind others that run, so that it takes more than a second.
  for (int i = 0; i < 3; ++i) submit(*client_, json::object{{"body", long_body()}});
  ASSERT_TRUE(daemon_->wait_until([&] { return running() > 0; }));
  const Answered answer = call(kChat, long_body());
  ASSERT_EQ(answer.status, 504) << json::serialize(answer.body);
  EXPECT_EQ(text_at(answer.body, "error.code"), "timeout");
  EXPECT_EQ(answer.header("X-Should-Retry"), "false");
  ASSERT_NE(answer.job(), 0);
  EXPECT_TRUE(daemon_->wait_until([&] { return outcome(answer.job()) == "completed"; }));
}

// It was told so.
TEST_F(Interactive, a_job_that_goes_on_does_so_after_a_kill) {
  DaemonSetup setup = long_setup();
  setup.more_daemon = "  interactive_timeout_s: 2\n  stream_grace_s: 0\n";
  start(setup);
  std::vector<int64_t> before;
  for (int i = 0; i < 4; ++i) {
    before.push_back(submit(*client_, json::object{{"body", long_body()}, {"priority", "high"}}));
  }
  ASSERT_TRUE(daemon_->wait_until([&] { return running() > 0; }));
  const Answered answer = call(kChat, chat_body("Say something.", 5));
  ASSERT_EQ(answer.status, 504) << json::serialize(answer.body);
  daemon_->kill();
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  for (const int64_t id : before) {
    must(client_->post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object()));
  }
  EXPECT_TRUE(daemon_->wait_until([&] { return !outcome(answer.job()).empty(); }));
  EXPECT_EQ(outcome(answer.job()), "completed");
}

TEST_F(Interactive, a_stop_answers_what_runs_and_tells_the_others_where_their_job_is) {
  DaemonSetup setup = long_setup();
  setup.drain_timeout_s = 1000;
  start(setup);
  Answered first;
  Answered second;
  std::thread runs([&] { first = call(kChat, long_body()); });
  ASSERT_TRUE(daemon_->wait_until([&] { return running() > 0; }));
  const json::object body = chat_body("Say something.", 5);
  std::thread waits([&] { second = call(kChat, body, "Idempotency-Key: mine\r\n"); });
  ASSERT_TRUE(daemon_->wait_until(
      [&] { return find(must(client_->get("/v1/jobs")).json, "jobs")->get_array().size() == 2; }));
  daemon_->signal(SIGTERM);
  runs.join();
  waits.join();
  EXPECT_EQ(first.status, 200) << json::serialize(first.body);
  EXPECT_EQ(second.status, 503) << json::serialize(second.body);
  ASSERT_NE(second.job(), 0);
  ASSERT_TRUE(daemon_->wait_for_end(std::chrono::seconds(280)));
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  const Answered again = call(kChat, body, "Idempotency-Key: mine\r\n");
  EXPECT_EQ(again.status, 200) << json::serialize(again.body);
  EXPECT_EQ(again.job(), second.job());
}

TEST_F(Interactive, a_caller_that_comes_again_after_a_kill_gets_the_answer_of_its_job) {
  start(long_setup());
  Answered cut;
  std::thread waits([&] { cut = call(kChat, long_body(), "Idempotency-Key: mine\r\n"); });
  const int64_t job = live_job();
  daemon_->kill();
  waits.join();
  EXPECT_EQ(cut.status, 0);
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  const Answered answer = call(kChat, long_body(), "Idempotency-Key: mine\r\n");
  EXPECT_EQ(answer.status, 200) << json::serialize(answer.body);
  EXPECT_EQ(answer.job(), job);
}

TEST_F(Interactive, a_model_is_found_by_its_name) {
  start({});
  const HttpAnswer model = must(client_->get("/v1/models/tiny"));
  EXPECT_EQ(model.status, 200);
  EXPECT_EQ(text_at(model.json, "id"), "tiny");
  EXPECT_EQ(text_at(model.json, "object"), "model");
  EXPECT_EQ(text_at(model.json, "owned_by"), "parkd");
  EXPECT_GT(number_at(model.json, "created"), 1'700'000'000);
  EXPECT_EQ(must(client_->get("/v1/models/none/such")).status, 404);
}

}  // namespace
}  // namespace parkd::testing
