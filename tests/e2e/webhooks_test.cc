// Webhooks of a real daemon: the receiver is told of a batch's end, wherever the daemon dies, and
// python3 verifies what came.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "tests/e2e/file_batch.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_peer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/webhook_receiver.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;

constexpr const char* kKey = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";  // base64

// Standard Webhooks' check, of an independent library.
constexpr const char* kVerify =
    "import base64, hmac, sys\n"
    "key, event, time, signature, body = sys.argv[1:]\n"
    "said = hmac.new(base64.b64decode(key), f'{event}.{time}.{body}'.encode(), 'sha256').digest()\n"
    "sys.exit(0 if signature == 'v1,' + base64.b64encode(said).decode() else 1)\n";

bool verifies(WebhookReceiver::Request& request) {
  std::string command = std::string("python3 -c \"") + kVerify + "\"";
  for (const std::string& word :
       {std::string(kKey), request.headers["webhook-id"], request.headers["webhook-timestamp"],
        request.headers["webhook-signature"], request.body}) {
    command += " '" + word + "'";
  }
  return std::system(command.c_str()) == 0;
}

class WebhooksOfADaemon : public ::testing::Test {
 protected:
  WebhooksOfADaemon() {
    std::ofstream(secret_) << "whsec_" << kKey << "\n";
    ::chmod(secret_.c_str(), 0600);
  }

  void make(WebhookReceiver& receiver) {
    DaemonSetup setup;
    setup.more_daemon = "  tenants: {\"" + std::to_string(::getuid()) +
                        "\": lab}\n  webhooks:\n    - tenant: lab\n      url_prefix: " +
                        receiver.url("127.0.0.1", "/hooks/") + "\n      secret_file: " + secret_ +
                        "\n";
    daemon_ = std::make_unique<DaemonProcess>(setup);
    client_ = std::make_unique<BatchClient>(*daemon_);
  }
  static std::string lines() {
    return R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"tiny",)"
           R"("max_tokens":1,"messages":[{"role":"user","content":"a"}]}})"
           "\n";
  }
  static std::string request(const std::string& file, const std::string& url) {
    return R"({"input_file_id":")" + file +
           R"(","endpoint":"/v1/chat/completions","completion_window":"1h","webhook_url":")" + url +
           "\"}";
  }
  json::object told(const std::string& id) {
    json::object webhook;
    EXPECT_TRUE(daemon_->wait_until([&] {
      const json::object batch = client_->call("GET", "/v1/batches/" + id);
      if (batch.empty()) return false;
      webhook = batch.at("webhook").as_object();
      return webhook.at("status").as_string() != "pending";
    })) << daemon_->log();
    return webhook;
  }

  const TempDir secrets_;
  const std::string secret_ = secrets_.path() + "/secret";
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<BatchClient> client_;
};

TEST_F(WebhooksOfADaemon, are_told_once_of_a_batchs_end_and_verify) {
  WebhookReceiver receiver;
  make(receiver);
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  const std::string file = client_->upload(lines());
  const std::string url = receiver.url("127.0.0.1", "/hooks/a");
  const json::object opened = client_->call("POST", "/v1/batches", request(file, url));
  const std::string id(opened.at("id").as_string());
  EXPECT_EQ(opened.at("webhook").at("url").as_string(), url);
  EXPECT_EQ(opened.at("webhook").at("status").as_string(), "pending");
  auto requests = receiver.wait_for(1);
  ASSERT_EQ(requests.size(), 1u) << daemon_->log();
  EXPECT_TRUE(verifies(requests[0])) << requests[0].body;
  const json::value event = json::parse(requests[0].body);
  EXPECT_EQ(event.at("type").as_string(), "batch.completed");
  EXPECT_EQ(event.at("data"), (json::value{{"id", id}}));
  const json::object webhook = told(id);
  EXPECT_EQ(webhook.at("status").as_string(), "delivered");
  EXPECT_EQ(webhook.at("attempts").as_int64(), 1);
  requests[0].body += " ";
  EXPECT_FALSE(verifies(requests[0])) << "the check must be able to fail";
}

TEST_F(WebhooksOfADaemon, are_told_again_wherever_it_dies_and_never_not) {
  WebhookReceiver receiver;
  make(receiver);
  for (const std::string death : {"batch.counted:1", "webhook.sent:1"}) {
    SCOPED_TRACE(death);
    const size_t before = receiver.n_requests();
    ASSERT_TRUE(daemon_->start({{"PARKD_KILL_AT", death}})) << daemon_->log();
    const std::string body =
        request(client_->upload(lines()), receiver.url("127.0.0.1", "/hooks/" + death));
    client_->call("POST", "/v1/batches", body, "Idempotency-Key: " + death + "\r\n");
    const auto end = daemon_->wait_for_end(std::chrono::seconds(120));
    ASSERT_TRUE(end && WIFSIGNALED(*end) && WTERMSIG(*end) == SIGKILL)
        << "the point was never passed\n"
        << daemon_->log();
    const bool was_sent = death == "webhook.sent:1";
    EXPECT_EQ(receiver.n_requests(), before + (was_sent ? 1 : 0));
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    auto requests = receiver.wait_for(before + (was_sent ? 2 : 1));
    auto& last = requests.back();
    EXPECT_TRUE(verifies(last));
    const std::string id(json::parse(last.body).at("data").at("id").as_string());
    EXPECT_EQ(told(id).at("status").as_string(), "delivered");
    EXPECT_EQ(receiver.n_requests(), before + (was_sent ? 2 : 1));
    if (was_sent) {
      EXPECT_EQ(requests[before].headers["webhook-id"], last.headers["webhook-id"]);
      EXPECT_EQ(requests[before].body, last.body);
    }
    daemon_->kill();
  }
}

TEST_F(WebhooksOfADaemon, that_hang_hold_up_no_stop_and_secrets_are_read_again) {
  WebhookReceiver receiver(std::vector<WebhookReceiver::Reply>{{200, "", "", true}, {200}});
  make(receiver);
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  const std::string file = client_->upload(lines());
  RawPeer peer(daemon_->socket());
  const RawAnswer refused =
      peer.call("POST", "/v1/batches", request(file, receiver.url("127.0.0.1", "/other")));
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("\"param\":\"webhook_url\""), std::string::npos) << refused.body;
  EXPECT_NE(refused.body.find("it must begin with http://127.0.0.1:"), std::string::npos)
      << refused.body;
  const json::object opened =
      client_->call("POST", "/v1/batches", request(file, receiver.url("127.0.0.1", "/hooks/")));
  ASSERT_EQ(receiver.wait_for(1).size(), 1u) << daemon_->log();

  const auto has_notice = [&] {
    return json::serialize(client_->call("GET", "/readyz")).find("webhook_secrets_not_read") !=
           std::string::npos;
  };
  ::chmod(secret_.c_str(), 0644);
  daemon_->signal(SIGHUP);
  EXPECT_TRUE(daemon_->wait_until(has_notice));
  ::chmod(secret_.c_str(), 0600);
  daemon_->signal(SIGHUP);
  EXPECT_TRUE(daemon_->wait_until([&] { return !has_notice(); }));

  daemon_->signal(SIGTERM);
  const auto end = daemon_->wait_for_end(std::chrono::seconds(120));
  ASSERT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0) << daemon_->log();
  ASSERT_TRUE(daemon_->start()) << daemon_->log();
  const std::string id(opened.at("id").as_string());
  EXPECT_EQ(told(id).at("status").as_string(), "delivered");
  EXPECT_EQ(receiver.n_requests(), 2u);
}

}  // namespace
}  // namespace parkd::testing
