// Webhooks against receivers that answer as they are told: what is sent, what becomes of it, and
// what is not connected to.
#include "daemon/webhooks/webhooks.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>

#include "daemon/webhooks/webhook_event.h"
#include "daemon/webhooks/webhook_sender.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"
#include "tests/support/webhook_receiver.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::make_certificate;
using testing::WebhookReceiver;
using Reply = WebhookReceiver::Reply;
using Replies = std::vector<Reply>;

const bool kNoSignals = ::signal(SIGPIPE, SIG_IGN) != SIG_ERR;
const std::string kKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

// Says of note_webhook that the store is away, as often as it is told, and does something between
// the next look at what is due and its answer.
class AwayStore final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override {
    ForwardingStore::next_webhook(
        std::move(request), [this, done = std::move(done)](Result<std::optional<Batch>> next) {
          if (const auto now = std::exchange(between, nullptr)) now();
          done(std::move(next));
        });
  }
  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override {
    if (n_away.fetch_sub(1) > 0) return done(unavailable("the disk is full"));
    ForwardingStore::note_webhook(std::move(id), std::move(attempt), std::move(done));
  }
  std::atomic<int> n_away{0};
  std::function<void()> between;  // of the thread, once that runs
};

class WebhooksTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (webhooks_ != nullptr) webhooks_->begin_stop();
    store_->stop();
    webhooks_.reset();
  }

  void allow(const std::string& tenant, const std::string& prefix, const std::string& ca_file = "",
             bool allow_private = false) {
    rules_.push_back({tenant, read_webhook_url(prefix).value(), "key", allow_private, ca_file});
  }
  void start() {
    const WebhookSecrets secrets = {{"key", parse_webhook_secret(kKey, "key").value()}};
    webhooks_ = std::make_unique<Webhooks>(rules_, secrets, *store_, clock_);
    webhooks_->start();
  }
  // A batch whose file was refused.
  std::string ended(const std::string& url, const std::string& tenant = "alice") {
    BatchSpec spec;
    spec.tenant = tenant;
    spec.file = FileBatchSpec{"file-1", "/v1/chat/completions", "24h"};
    spec.file->webhook_url = url;
    const std::string id = driver_.open_batch(spec)->batch.id;
    FileProgress progress;
    progress.stage = FileStage::failed;
    EXPECT_TRUE(driver_.advance_batch(id, progress).ok());
    if (webhooks_ != nullptr) webhooks_->look();
    return id;
  }
  WebhookState state(const std::string& id) { return driver_.get_batch(id, "")->webhook; }
  WebhookState when(const std::string& id, const std::function<bool(const WebhookState&)>& holds) {
    for (;;) {
      const WebhookState at = state(id);
      if (holds(at)) return at;
      ::usleep(1000);
    }
  }
  WebhookState after_attempt(const std::string& id, int32_t n) {
    return when(id, [n](const WebhookState& at) { return at.attempts >= n; });
  }
  // Once so many attempts have come to an end: that is counted after it is stored.
  WebhookFigures figures_of(int64_t n) {
    for (;;) {
      const WebhookFigures at = webhooks_->figures();
      if (at.delivered + at.failed + at.given_up >= n) return at;
      ::usleep(1000);
    }
  }
  void pass(Micros by) {
    clock_.advance(by);
    webhooks_->look();
  }

  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::shared_ptr<AwayStore> store_ =
      std::make_shared<AwayStore>(make_memory_store(StoreOptions(), clock_));
  StoreDriver driver_{*store_};
  std::vector<WebhookConfig> rules_;
  std::unique_ptr<Webhooks> webhooks_;
};

TEST_F(WebhooksTest, an_end_is_told_once_and_signed) {
  WebhookReceiver receiver;
  allow("alice", receiver.url("127.0.0.1", "/hooks/"));
  start();
  const std::string id = ended(receiver.url("127.0.0.1", "/hooks/a?b=c"));
  const WebhookState at = after_attempt(id, 1);
  EXPECT_EQ(at.status, WebhookStatus::delivered) << at.last_error;
  EXPECT_EQ(at.delivered_at, clock_.now());
  auto requests = receiver.wait_for(1);
  ASSERT_EQ(requests.size(), 1u);
  auto& request = requests[0];
  const std::string event = "evt_" + id.substr(6);
  EXPECT_EQ(request.target, "/hooks/a?b=c");
  EXPECT_EQ(request.headers["webhook-id"], event);
  EXPECT_EQ(request.headers["webhook-timestamp"], "1790000000");
  EXPECT_EQ(request.headers["content-type"], "application/json");
  EXPECT_EQ(request.body,
            R"({"id":")" + event +
                R"(","object":"event","type":"batch.failed","created_at":1790000000,)" +
                R"("data":{"id":")" + id + "\"}}");
  EXPECT_EQ(request.headers["webhook-signature"],
            parse_webhook_secret(kKey, "")->sign(event, 1790000000, request.body));
  pass(hours(100));
  const std::string other = ended(receiver.url("127.0.0.1", "/hooks/other"));
  after_attempt(other, 1);
  EXPECT_EQ(receiver.n_requests(), 2u) << "the first is told no more";
  EXPECT_EQ(figures_of(2).delivered, 2);
}

TEST_F(WebhooksTest, one_that_failed_is_told_again_with_the_same_id_and_a_new_time) {
  WebhookReceiver receiver(Replies{{500}, {200}});
  allow("alice", receiver.url("127.0.0.1", "/"));
  start();
  const std::string id = ended(receiver.url("127.0.0.1", "/"));
  WebhookState at = after_attempt(id, 1);
  EXPECT_EQ(at.status, WebhookStatus::pending);
  EXPECT_EQ(at.last_error, "the receiver answered 500");
  ASSERT_TRUE(at.next_attempt_at);
  EXPECT_GE(*at.next_attempt_at, clock_.now() + seconds(5));
  EXPECT_LE(*at.next_attempt_at, clock_.now() + seconds(6));
  pass(seconds(6));
  at = after_attempt(id, 2);
  EXPECT_EQ(at.status, WebhookStatus::delivered);
  auto requests = receiver.wait_for(2);
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].headers["webhook-id"], requests[1].headers["webhook-id"]);
  EXPECT_EQ(requests[0].body, requests[1].body);
  EXPECT_EQ(requests[1].headers["webhook-timestamp"], "1790000006");
  EXPECT_NE(requests[0].headers["webhook-signature"], requests[1].headers["webhook-signature"]);
  const WebhookFigures figures = figures_of(2);
  EXPECT_EQ(figures.failed, 1);
  EXPECT_EQ(figures.delivered, 1);
}

TEST_F(WebhooksTest, what_receivers_answer_decides) {
  WebhookReceiver elsewhere;
  struct Case {
    Reply reply;
    WebhookStatus status;
    std::string error;
  };
  const std::vector<Case> cases = {
      {{204}, WebhookStatus::delivered, ""},
      {{200, "", std::string(1 << 20, 'x')}, WebhookStatus::delivered, ""},  // more than is read
      {{410}, WebhookStatus::given_up, "the receiver answered 410: it is not to be told again"},
      {{302, "Location: " + elsewhere.url("127.0.0.1", "/") + "\r\n"},
       WebhookStatus::pending,
       "the receiver answered 302: redirects are not followed"},
      {{404}, WebhookStatus::pending, "the receiver answered 404"},
      {{401, "WWW-Authenticate: Basic\r\n"}, WebhookStatus::pending, "the receiver answered 401"},
      {{200, "X: " + std::string(128 << 10, 'x') + "\r\n"}, WebhookStatus::delivered, ""}};
  std::vector<std::unique_ptr<WebhookReceiver>> receivers;
  for (const Case& c : cases) {
    receivers.push_back(std::make_unique<WebhookReceiver>(std::vector{c.reply}));
    allow("alice", receivers.back()->url("127.0.0.1", "/"));
  }
  start();
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const WebhookState at = after_attempt(ended(receivers[i]->url("127.0.0.1", "/")), 1);
    EXPECT_EQ(at.status, cases[i].status);
    EXPECT_EQ(at.last_error, cases[i].error);
    EXPECT_EQ(receivers[i]->n_requests(), 1u);
  }
  EXPECT_EQ(figures_of(static_cast<int64_t>(cases.size())).given_up, 1);
  EXPECT_EQ(elsewhere.n_requests(), 0u);
}

TEST_F(WebhooksTest, a_receivers_retry_after_counts_where_it_is_longer) {
  WebhookReceiver receiver(
      Replies{{503, "Retry-After: 3600\r\n"}, {429, "Retry-After: 1\r\n"}, {200}});
  allow("alice", receiver.url("127.0.0.1", "/"));
  start();
  const std::string id = ended(receiver.url("127.0.0.1", "/"));
  EXPECT_EQ(after_attempt(id, 1).next_attempt_at, clock_.now() + hours(1));
  pass(hours(1));
  EXPECT_GE(*after_attempt(id, 2).next_attempt_at, clock_.now() + seconds(30));
}

TEST_F(WebhooksTest, nobody_there_is_a_failure_and_after_nine_of_them_it_is_given_up) {
  std::string url;
  {
    const WebhookReceiver gone;
    url = gone.url("127.0.0.1", "/");
  }
  allow("alice", url);
  start();
  const std::string id = ended(url);
  for (int32_t n = 1; n <= 9; ++n) {
    const WebhookState at = after_attempt(id, n);
    EXPECT_EQ(at.status, n < 9 ? WebhookStatus::pending : WebhookStatus::given_up) << n;
    EXPECT_EQ(at.last_error, "Couldn't connect to server");
    pass(hours(15));
  }
}

TEST_F(WebhooksTest, what_is_not_listed_any_more_is_given_up_unsent) {
  WebhookReceiver receiver;
  allow("bob", receiver.url("127.0.0.1", "/"));
  start();
  const WebhookState at = after_attempt(ended(receiver.url("127.0.0.1", "/")), 1);
  EXPECT_EQ(at.status, WebhookStatus::given_up);
  EXPECT_TRUE(holds(at.last_error, "is none that tenant alice may give")) << at.last_error;
  EXPECT_EQ(receiver.n_requests(), 0u);
}

TEST_F(WebhooksTest, a_receiver_that_hangs_keeps_no_other_tenants_from_being_told) {
  WebhookReceiver hanging(Replies{{200, "", "", true}});
  WebhookReceiver receiver;
  allow("alice", hanging.url("127.0.0.1", "/"));
  allow("bob", receiver.url("127.0.0.1", "/"));
  std::vector<std::string> stuck;
  for (int i = 0; i < 8; ++i) stuck.push_back(ended(hanging.url("127.0.0.1", "/")));
  start();
  EXPECT_EQ(hanging.wait_for(Webhooks::kOpenOfTenantMax).size(), Webhooks::kOpenOfTenantMax);
  for (int i = 0; i < 3; ++i) {
    const std::string id = ended(receiver.url("127.0.0.1", "/"), "bob");
    EXPECT_EQ(after_attempt(id, 1).status, WebhookStatus::delivered);
  }
  EXPECT_EQ(hanging.n_requests(), Webhooks::kOpenOfTenantMax);
  for (const std::string& id : stuck) EXPECT_EQ(state(id).attempts, 0);
}  // and the stop does not wait for them

TEST_F(WebhooksTest, what_the_store_could_not_take_is_stored_later_and_not_sent_again) {
  WebhookReceiver receiver;
  allow("alice", receiver.url("127.0.0.1", "/"));
  store_->n_away = 4;
  ::testing::internal::CaptureStderr();
  start();
  const std::string id = ended(receiver.url("127.0.0.1", "/"));
  receiver.wait_for(1);
  const WebhookState at = when(id, [&](const WebhookState& now) {
    clock_.advance(seconds(1));
    webhooks_->look();
    return now.attempts > 0;
  });
  EXPECT_EQ(at.status, WebhookStatus::delivered);
  EXPECT_EQ(receiver.n_requests(), 1u);
  const std::string log = ::testing::internal::GetCapturedStderr();
  const size_t first = log.find("webhooks.not_stored");
  ASSERT_NE(first, log.npos) << log;
  EXPECT_EQ(log.find("webhooks.not_stored", first + 1), log.npos) << "once: " << log;
}

TEST_F(WebhooksTest, what_comes_while_the_store_answers_that_nothing_is_due_is_told_at_once) {
  WebhookReceiver receiver;
  allow("alice", receiver.url("127.0.0.1", "/"));
  store_->between = [&] { ended(receiver.url("127.0.0.1", "/")); };
  start();
  EXPECT_EQ(receiver.wait_for(1).size(), 1u) << "the clock stands still";
}

TEST_F(WebhooksTest, secrets_that_are_read_again_sign_what_is_sent_from_then_on) {
  WebhookReceiver receiver;
  allow("alice", receiver.url("127.0.0.1", "/"));
  start();
  const std::string other = "whsec_" + std::string(32, 'A');
  webhooks_->set_secrets({{"key", parse_webhook_secret(other, "").value()}});
  after_attempt(ended(receiver.url("127.0.0.1", "/")), 1);
  auto request = receiver.wait_for(1).at(0);
  EXPECT_EQ(request.headers["webhook-signature"],
            parse_webhook_secret(other, "")->sign(request.headers["webhook-id"], 1790000000,
                                                  request.body));
}

TEST_F(WebhooksTest, by_https_the_certificate_must_be_the_hosts_and_of_a_trusted_authority) {
  const TempDir ours, others;
  make_certificate(ours.path(), "DNS:localhost");
  make_certificate(others.path(), "DNS:another.example");
  WebhookReceiver good(Replies(1), ours.path());
  WebhookReceiver wrong_host(Replies(1), others.path());
  allow("alice", good.url("localhost", "/"), ours.path() + "/ca.pem");
  allow("bob", good.url("localhost", "/"));  // the system's authorities
  allow("carol", wrong_host.url("localhost", "/"), others.path() + "/ca.pem");
  start();
  const WebhookState told = after_attempt(ended(good.url("localhost", "/")), 1);
  EXPECT_EQ(told.status, WebhookStatus::delivered) << told.last_error;
  const WebhookState unknown = after_attempt(ended(good.url("localhost", "/"), "bob"), 1);
  EXPECT_EQ(unknown.status, WebhookStatus::pending);
  EXPECT_TRUE(holds(unknown.last_error, "certificate")) << unknown.last_error;
  const WebhookState wrong = after_attempt(ended(wrong_host.url("localhost", "/"), "carol"), 1);
  EXPECT_EQ(wrong.status, WebhookStatus::pending);
  EXPECT_TRUE(holds(wrong.last_error, "localhost")) << wrong.last_error;
  EXPECT_EQ(good.n_requests(), 1u);
  EXPECT_EQ(wrong_host.n_requests(), 0u);
}

// --- the sender alone

WebhookPost post_to(const std::string& url) {
  WebhookPost post;
  post.name = "n";
  post.url = read_webhook_url(url).value();
  post.body = "{}";
  return post;
}

WebhookAnswer answer(WebhookSender& sender, WebhookPost post) {
  sender.begin(std::move(post));
  for (;;) {
    const auto answers = sender.wait(seconds(10));
    if (!answers.empty()) return answers.at(0);
  }
}

TEST(WebhookSender, an_address_that_is_not_allowed_is_not_connected_to_whatever_name_it_has) {
  WebhookReceiver receiver;
  WebhookSender sender;
  for (const char* host : {"localhost", "127.0.0.1"}) {
    const WebhookAnswer refused = answer(sender, post_to(receiver.url(host, "/")));
    EXPECT_EQ(refused.status, 0);
    EXPECT_TRUE(holds(refused.error, "its host is at the loopback address ")) << refused.error;
    EXPECT_TRUE(holds(refused.error, "allow_private")) << refused.error;
  }
  // Ranges alone would do for these; nothing of the kind is sent into a network.
  for (const char* url : {"https://10.1.2.3/", "https://169.254.169.254/", "https://[fd00::1]/",
                          "https://[::ffff:10.0.0.1]/", "https://224.0.0.1/"}) {
    const WebhookAnswer refused = answer(sender, post_to(url));
    EXPECT_TRUE(holds(refused.error, "its host is at the ")) << url << " " << refused.error;
  }
  EXPECT_EQ(receiver.n_requests(), 0u);
  WebhookPost allowed = post_to(receiver.url("localhost", "/"));
  allowed.may_be_loopback = true;
  EXPECT_EQ(answer(sender, std::move(allowed)).status, 200);
}

TEST(WebhookSender, no_proxy_of_the_environment_is_used) {
  WebhookReceiver receiver;
  for (const char* name : {"http_proxy", "all_proxy", "HTTPS_PROXY"}) {
    ::setenv(name, "http://127.0.0.1:1", 1);
  }
  WebhookSender sender;
  WebhookPost post = post_to(receiver.url("127.0.0.1", "/"));
  post.may_be_loopback = true;
  EXPECT_EQ(answer(sender, std::move(post)).status, 200);
  for (const char* name : {"http_proxy", "all_proxy", "HTTPS_PROXY"}) ::unsetenv(name);
}

TEST(WebhookSender, who_has_sent_a_status_has_answered_and_who_hangs_is_cut_off) {
  WebhookReceiver slow(Replies{{200, "", "body", false, true}, {200, "", "", true}});
  WebhookSender sender({seconds(1), std::chrono::milliseconds(300)});
  WebhookPost post = post_to(slow.url("127.0.0.1", "/"));
  post.may_be_loopback = true;
  EXPECT_EQ(answer(sender, post).status, 200);
  const WebhookAnswer none = answer(sender, post);
  EXPECT_EQ(none.status, 0);
  EXPECT_TRUE(holds(none.error, "Timeout")) << none.error;
}

TEST(WebhookSender, waiting_ends_when_it_is_woken) {
  WebhookSender sender;
  sender.wake();
  EXPECT_TRUE(sender.wait(minutes(10)).empty());
}

// --- pure

TEST(WebhookPause, grows_over_hours_and_ends) {
  const std::vector<std::chrono::milliseconds> pauses = {
      seconds(5), seconds(30), minutes(2), minutes(10), hours(1), hours(3), hours(6), hours(12)};
  for (size_t i = 0; i < pauses.size(); ++i) {
    const auto n = static_cast<int32_t>(i + 1);
    EXPECT_EQ(pause_after(n, 0, seconds(0)), pauses[i]);
    EXPECT_EQ(pause_after(n, 0.5, seconds(0)), pauses[i] + pauses[i] / 10);
  }
  EXPECT_EQ(pause_after(9, 0, seconds(0)), std::nullopt);
  EXPECT_EQ(pause_after(1, 0, seconds(100)), seconds(100));
  EXPECT_EQ(pause_after(1, 0, hours(1000)), hours(12));
  EXPECT_EQ(pause_after(1, 0, seconds::max()), hours(12)) << "a receiver may say any number";
  EXPECT_EQ(pause_after(3, 0, seconds(7)), minutes(2));
}

TEST(WebhookEventTest, has_the_word_of_the_batchs_status) {
  Batch batch;
  batch.id = "batch_" + std::string(32, 'a');
  batch.spec.file = FileBatchSpec{"f", "e", "24h"};
  batch.progress.stage = FileStage::ended;
  batch.progress.ended_at = from_unix_us(7'900'000);
  batch.progress.lines = batch.total = 1;
  EXPECT_EQ(webhook_event(batch).type, "batch.completed");
  EXPECT_EQ(webhook_event(batch).id, "evt_" + std::string(32, 'a'));
  EXPECT_TRUE(holds(webhook_event(batch).body, "\"created_at\":7,"));
  batch.deadline_missed = 1;
  EXPECT_EQ(webhook_event(batch).type, "batch.expired");
  batch.cancel_at = from_unix_us(1);
  EXPECT_EQ(webhook_event(batch).type, "batch.cancelled");
  batch.progress.stage = FileStage::failed;
  EXPECT_EQ(webhook_event(batch).type, "batch.failed");
}

}  // namespace
}  // namespace parkd
