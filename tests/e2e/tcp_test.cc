// The API by TCP, on a real daemon: who may come, as whom, and what is read again at SIGHUP.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "lib/config/token_file.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kJson = "Content-Type: application/json\r\n";

struct Answered {
  int status = 0;
  std::string head;
  std::string text;
  json::value body;

  bool has(const std::string& part) const { return (head + text).find(part) != std::string::npos; }
};

class Tcp : public ::testing::Test {
 protected:
  static std::string line_of(const std::string& token, const std::string& tenant,
                             const std::string& grants = "") {
    TokenEntry entry;
    entry.tenant = tenant;
    entry.digest = digest_of(token);
    return token_line(entry) + (grants.empty() ? "" : ":" + grants) + "\n";
  }

  std::string tokens_path() const { return keys_.path() + "/tokens"; }
  void write_tokens(const std::string& lines) {
    std::ofstream(tokens_path() + ".part") << lines;
    ::chmod((tokens_path() + ".part").c_str(), 0600);
    ::rename((tokens_path() + ".part").c_str(), tokens_path().c_str());
  }

  DaemonSetup setup() const {
    DaemonSetup with;
    with.more_daemon = "  listen: 127.0.0.1:0\n  tokens_file: " + tokens_path() + "\n";
    return with;
  }
  void start(const DaemonSetup& with) {
    daemon_ = std::make_unique<DaemonProcess>(with);
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
    client_ = daemon_->client();
    const HttpAnswer ready = must(client_->get("/readyz"));
    const std::string address = find(ready.json, "listen")->get_array()[0].get_string().c_str();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
    EXPECT_NE(daemon_->log().find("address=" + address), std::string::npos) << daemon_->log();
  }
  void start() {
    write_tokens(line_of("of lab", "lab") + line_of("of ops", "ops", "critical"));
    start(setup());
  }

  static std::string request(const std::string& method, const std::string& path,
                             const std::string& token, const std::string& body,
                             const std::string& headers) {
    std::string text = method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers;
    if (!token.empty()) text += "Authorization: Bearer " + token + "\r\n";
    if (method == "POST") {
      text += kJson + ("Content-Length: " + std::to_string(body.size())) + "\r\n";
    }
    return text + "\r\n" + body;
  }
  Answered send(const std::string& bytes) const {
    RawPeer peer(port_, /*is_v6=*/false);
    EXPECT_TRUE(peer.send(bytes));
    const RawAnswer answer = peer.read();
    boost::system::error_code error;
    return {answer.status, answer.head, answer.body, json::parse(answer.body, error)};
  }
  Answered get(const std::string& path, const std::string& token) const {
    return send(request("GET", path, token, "", ""));
  }
  Answered post(const std::string& path, const std::string& token, const json::object& body,
                const std::string& headers = "") const {
    return send(request("POST", path, token, json::serialize(body), headers));
  }
  std::string outcome(int64_t job, const std::string& token) const {
    return text_at(get("/v1/jobs/" + std::to_string(job), token).body, "outcome");
  }
  bool has_notice(const std::string& code) {
    return must(client_->get("/readyz")).text.find("\"" + code + "\"") != std::string::npos;
  }

  TempDir keys_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<HttpClient> client_;  // on the socket
  uint16_t port_ = 0;
};

TEST_F(Tcp, every_door_opens_to_a_token) {
  start();
  const std::string token = "of lab";
  for (const char* path : {"/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/tiny",
                           "/v1/pool", "/v1/jobs", "/v1/batches"}) {
    EXPECT_EQ(get(path, token).status, 200) << path;
  }
  const Answered chat = post(kChat, token, chat_body("Say something.", 5));
  EXPECT_EQ(chat.status, 200) << chat.text;
  EXPECT_EQ(text_at(chat.body, "object"), "chat.completion");
  const Answered text =
      post("/v1/completions", token, json::object{{"prompt", "abc"}, {"max_tokens", 3}});
  EXPECT_EQ(text.status, 200) << text.text;
  const Answered job = post("/v1/jobs", token, chat_job("box"));
  ASSERT_EQ(job.status, 202) << job.text;
  const std::string id = std::to_string(number_at(job.body, "id"));
  const Answered page = get("/v1/mailbox/box?wait_s=60&job=" + id, token);
  EXPECT_EQ(page.status, 200) << page.text;
  EXPECT_EQ(find(page.body, "messages")->get_array().size(), 1u) << page.text;
  EXPECT_EQ(get("/v1/jobs/" + id, token).status, 200);
  const Answered batch = post("/v1/batches", token, {});
  EXPECT_LT(batch.status, 300) << batch.text;
  EXPECT_EQ(post("/v1/batches/" + text_at(batch.body, "id") + "/seal", token, {}).status, 200);
}

TEST_F(Tcp, without_a_token_or_with_a_wrong_one_nothing_but_healthz_answers) {
  start();
  const std::string wrong = "parkd-a-secret-of-somebody";
  EXPECT_EQ(get("/healthz", "").status, 200);
  for (const std::string& token : {std::string(), wrong}) {
    for (const char* path : {"/readyz", "/metrics", "/v1/models", "/v1/pool", "/v1/jobs"}) {
      EXPECT_EQ(get(path, token).status, 401) << path;
    }
    const Answered chat = post(kChat, token, chat_body("Say something.", 5));
    EXPECT_EQ(chat.status, 401) << chat.text;
    EXPECT_TRUE(chat.has("WWW-Authenticate: Bearer")) << chat.head;
    EXPECT_EQ(text_at(chat.body, "error.code"), "invalid_api_key");
    EXPECT_EQ(text_at(chat.body, "error.type"), "invalid_request_error");
    EXPECT_FALSE(chat.has(wrong));
  }
  const std::string metrics = get("/metrics", "of lab").text;
  EXPECT_NE(metrics.find("parkd_token_refused_total{why=\"missing\"} 6"), std::string::npos);
  EXPECT_NE(metrics.find("parkd_token_refused_total{why=\"unknown\"} 6"), std::string::npos);
  const std::string log = daemon_->log();
  EXPECT_NE(log.find("api.token_refused"), std::string::npos);
  EXPECT_EQ(log.find("api.token_refused", log.find("api.token_refused") + 1), std::string::npos)
      << "one line for all of them";
  EXPECT_EQ(log.find(wrong), std::string::npos);
  EXPECT_EQ(log.find("of lab"), std::string::npos);
}

TEST_F(Tcp, what_is_another_tenants_answers_as_what_never_was) {
  start();
  const Answered job = post("/v1/jobs", "of lab", far_future(chat_job("box")));
  ASSERT_EQ(job.status, 202) << job.text;
  const std::string path = "/v1/jobs/" + std::to_string(number_at(job.body, "id"));
  EXPECT_EQ(get(path, "of lab").status, 200);
  EXPECT_EQ(get(path, "of ops").status, 404);
  EXPECT_EQ(post(path + "/cancel", "of ops", {}).status, 404);
  EXPECT_TRUE(find(get("/v1/jobs", "of ops").body, "jobs")->get_array().empty());
  const Answered named = send(request("GET", path, "of ops", "", "X-Parkd-Tenant: lab\r\n"));
  EXPECT_EQ(named.status, 403) << named.text;
  EXPECT_TRUE(named.has("X-Parkd-Tenant")) << named.text;
  json::object critical = far_future(chat_job("box"));
  critical["priority"] = "critical";
  EXPECT_EQ(post("/v1/jobs", "of lab", critical).status, 403);
  EXPECT_EQ(post("/v1/jobs", "of ops", critical).status, 202);
  critical["tenant"] = "lab";
  EXPECT_EQ(post("/v1/jobs", "of ops", critical).status, 403) << "nor by the body";
}

TEST_F(Tcp, no_web_page_reaches_it) {
  start();
  const std::string host = "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n";
  const Answered rebound = send(host + "Authorization: Bearer of lab\r\n\r\n");
  EXPECT_EQ(rebound.status, 421) << rebound.text;
  const Answered form = send(
      "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer of lab\r\n"
      "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(form.status, 415) << form.text;
  const Answered preflight =
      send(request("OPTIONS", "/v1/jobs", "", "", "Origin: http://evil.example\r\n"));
  EXPECT_EQ(preflight.status, 405) << preflight.text;
  EXPECT_FALSE(preflight.has("Access-Control")) << preflight.head;
  // The socket is nobody's but its group's: there all that is as ever.
  RawPeer local(daemon_->socket());
  EXPECT_EQ(local.call("GET", "/v1/models", "", "Authorization: Bearer nonsense\r\n").status, 200);
}

TEST_F(Tcp, tokens_are_read_again_and_what_is_in_flight_goes_on) {
  write_tokens(line_of("of lab", "lab"));
  DaemonSetup long_ones = setup();
  long_ones.context_tokens = 8192;
  start(long_ones);
  Answered first;
  std::thread waits([&] {
    json::object body = chat_body("Say much.", 2000);
    first = post(kChat, "of lab", body);
  });
  ASSERT_TRUE(daemon_->wait_until(
      [&] { return !find(get("/v1/jobs", "of lab").body, "jobs")->get_array().empty(); }));
  write_tokens(line_of("newer", "lab"));
  EXPECT_EQ(get("/v1/jobs", "newer").status, 401);
  daemon_->signal(SIGHUP);
  ASSERT_TRUE(daemon_->wait_until([&] { return get("/v1/jobs", "newer").status == 200; }));
  EXPECT_EQ(get("/v1/jobs", "of lab").status, 401);
  waits.join();
  EXPECT_EQ(first.status, 200) << first.text;
  // A file that cannot be read leaves everything as it is, and says so until it can.
  write_tokens("lab:nonsense\n");
  daemon_->signal(SIGHUP);
  ASSERT_TRUE(daemon_->wait_until([&] { return has_notice("tokens_not_read"); }));
  EXPECT_EQ(get("/v1/jobs", "newer").status, 200);
  EXPECT_NE(daemon_->log().find(tokens_path() + ":1: "), std::string::npos) << daemon_->log();
  write_tokens(line_of("newest", "lab"));
  daemon_->signal(SIGHUP);
  ASSERT_TRUE(daemon_->wait_until([&] { return get("/v1/jobs", "newest").status == 200; }));
  EXPECT_FALSE(has_notice("tokens_not_read"));
}

TEST_F(Tcp, a_token_has_as_many_requests_in_flight_as_it_may) {
  write_tokens(line_of("of lab", "lab", "requests=1") + line_of("of ops", "ops"));
  start(setup());
  RawPeer waits(port_, false);
  ASSERT_TRUE(waits.send(request("GET", "/v1/mailbox/box?wait_s=60", "of lab", "", "")));
  Answered second;
  ASSERT_TRUE(daemon_->wait_until([&] {
    second = get("/v1/jobs", "of lab");
    return second.status != 200;
  }));
  EXPECT_EQ(second.status, 429) << second.text;
  EXPECT_TRUE(second.has("Retry-After: ")) << second.head;
  EXPECT_TRUE(second.has("has 1 requests in flight, its limit is 1")) << second.text;
  EXPECT_EQ(get("/v1/jobs", "of ops").status, 200);
  waits.close();
  EXPECT_TRUE(daemon_->wait_until([&] { return get("/v1/jobs", "of lab").status == 200; }));
}

TEST_F(Tcp, the_job_of_a_caller_that_goes_away_is_cancelled) {
  write_tokens(line_of("of lab", "lab"));
  DaemonSetup with = setup();
  with.more_daemon += "  stream_grace_s: 0\n";
  with.context_tokens = 8192;
  start(with);
  RawPeer peer(port_, false);
  json::object body = chat_body("Say much.", 8000);
  body["n"] = 2;
  ASSERT_TRUE(peer.send(request("POST", kChat, "of lab", json::serialize(body), "")));
  int64_t job = 0;
  ASSERT_TRUE(daemon_->wait_until([&] {
    const Answered page = get("/v1/jobs", "of lab");
    const json::array& jobs = find(page.body, "jobs")->get_array();
    if (!jobs.empty()) job = number_at(jobs[0], "id");
    return job != 0;
  }));
  peer.close();
  EXPECT_TRUE(daemon_->wait_until([&] { return outcome(job, "of lab") == "cancelled"; }));
}

TEST_F(Tcp, jobctl_makes_the_tokens) {
  const std::string made = tokens_path();
  const JobctlResult first =
      run_jobctl({"token", "new", "lab", "--file", made, "--grant", "requests=4"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  struct stat now {};
  ASSERT_EQ(::stat(made.c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 07777, 0600u);
  ASSERT_EQ(::chmod(made.c_str(), 0640), 0);
  const JobctlResult second = run_jobctl({"token", "new", "ops", "--file", made});
  ASSERT_EQ(second.exit_code, 0) << second.err;
  ASSERT_EQ(::stat(made.c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 07777, 0640u) << "as it was";
  start(setup());
  for (const JobctlResult& each : {first, second}) {
    EXPECT_EQ(get("/v1/jobs", each.out.substr(0, each.out.find('\n'))).status, 200) << each.out;
  }
  const JobctlResult printed = run_jobctl({"token", "new", "lab"});
  EXPECT_EQ(printed.exit_code, 0) << printed.err;
  const std::string token = printed.out.substr(0, printed.out.find('\n'));
  EXPECT_NE(printed.err.find(line_of(token, "lab")), std::string::npos) << printed.err;
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"a b"}, {"lab", "--grant", "root"}}) {
    std::vector<std::string> arguments = {"token", "new"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    EXPECT_EQ(run_jobctl(arguments).exit_code, 2);
  }
}

TEST_F(Tcp, a_machine_of_one_person_needs_no_token) {
  DaemonSetup with;
  with.more_daemon = "  listen: 127.0.0.1:0\n  listen_tenant: me\n";
  start(with);
  const Answered chat = post(kChat, "unused", chat_body("Say something.", 5));
  EXPECT_EQ(chat.status, 200) << chat.text;
  EXPECT_EQ(get("/v1/jobs", "").status, 200);
  EXPECT_NE(daemon_->log().find("api.open_to_this_machine"), std::string::npos);
}

TEST_F(Tcp, what_is_in_the_way_of_a_start_is_said) {
  write_tokens(line_of("of lab", "lab"));
  ::chmod(tokens_path().c_str(), 0644);
  DaemonProcess open_file(setup());
  ASSERT_FALSE(open_file.start());
  EXPECT_NE(open_file.log().find("chmod 0600 " + tokens_path()), std::string::npos)
      << open_file.log();
  ::chmod(tokens_path().c_str(), 0600);
  start(setup());
  DaemonSetup same = setup();
  same.more_daemon =
      "  listen: 127.0.0.1:" + std::to_string(port_) + "\n  tokens_file: " + tokens_path() + "\n";
  DaemonProcess second(same);
  ASSERT_FALSE(second.start());
  EXPECT_NE(second.log().find("another process listens there"), std::string::npos) << second.log();
}

}  // namespace
}  // namespace parkd::testing
