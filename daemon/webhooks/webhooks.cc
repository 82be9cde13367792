#include "daemon/webhooks/webhooks.h"

#include <algorithm>
#include <utility>

#include "daemon/webhooks/webhook_event.h"
#include "lib/base/guarded.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

// How long nothing that may have changed is looked at: that one is due again, that another daemon
// died. An end of a batch of this daemon's is told of at once (look()).
constexpr milliseconds kLookEvery{1000};
constexpr milliseconds kStoreAgainEvery{1000};
// Longer than one takes, so that none is given to another daemon while it is sent.
constexpr std::chrono::seconds kHold{60};
constexpr int kGone = 410;

// How an attempt came out that was answered, or not.
std::string failure_of(const WebhookAnswer& answer) {
  if (answer.status == 0) return answer.error;
  const std::string status = "the receiver answered " + std::to_string(answer.status);
  if (answer.status >= 300 && answer.status < 400) return status + ": redirects are not followed";
  return answer.status == kGone ? status + ": it is not to be told again" : status;
}

}  // namespace

Webhooks::Webhooks(std::vector<WebhookConfig> rules, WebhookSecrets secrets, BatchStore& store,
                   Clock& clock)
    : rules_(std::move(rules)),
      store_(store),
      clock_(clock),
      name_(random_hex(8)),
      random_(std::random_device()()),
      secrets_(std::make_shared<WebhookSecrets>(std::move(secrets))) {}

void Webhooks::set_secrets(WebhookSecrets secrets) {
  auto fresh = std::make_shared<WebhookSecrets>(std::move(secrets));
  const std::lock_guard lock(mutex_);
  secrets_ = std::move(fresh);
}

std::shared_ptr<const WebhookSecrets> Webhooks::secrets() const {
  const std::lock_guard lock(mutex_);
  return secrets_;
}

void Webhooks::start() {
  thread_ = Thread({"webhooks", 0}, [this] { run(); });
}

void Webhooks::look() {
  post([this] { look_now(); });
}

void Webhooks::look_now() {
  look_at_ = {};
  looks_again_ = is_asking_;
}

WebhookFigures Webhooks::figures() const {
  return {delivered_, failed_, given_up_};
}

void Webhooks::begin_stop() {
  stopping_ = true;
  inbox_.close();
  sender_.wake();
}

void Webhooks::join() {
  begin_stop();
  thread_.join();
}

void Webhooks::post(std::function<void()> task) {
  if (inbox_.push(std::move(task))) sender_.wake();
}

void Webhooks::run() {
  while (!stopping_) {
    for (const auto& task : inbox_.take_all()) task();
    if (!unstored_.empty() && clock_.steady_now() >= store_at_) {
      for (const auto& [id, attempt] : std::exchange(unstored_, {})) store(id, attempt);
    }
    ask();
    for (const WebhookAnswer& answer : sender_.wait(kLookEvery)) {
      if (!stopping_) (void)done(answer.name, [&] { took(answer); });
    }
  }
}

WebhookRequest Webhooks::request() const {
  WebhookRequest request;
  request.daemon = name_;
  request.hold = kHold;
  std::map<std::string, size_t> n_open;
  for (const auto& [id, open] : open_) {
    request.passed_over.push_back(id);
    const std::string& tenant = open.batch.spec.tenant;
    if (++n_open[tenant] == kOpenOfTenantMax) request.tenants_passed_over.push_back(tenant);
  }
  return request;
}

void Webhooks::ask() {
  if (is_asking_ || open_.size() >= kOpenMax || clock_.steady_now() < look_at_) return;
  is_asking_ = true;
  store_.next_webhook(request(), [this](const Result<std::optional<Batch>>& next) {
    post([this, next] {
      is_asking_ = false;
      const Status status = next.status();
      if (!status.ok() && status.message() != error_) {
        log_warn("webhooks.not_looked_at", {{"error", status.to_string()}});
      }
      error_ = status.message();
      look_at_ = clock_.steady_now() + kLookEvery;
      if (std::exchange(looks_again_, false)) look_at_ = {};
      if (!next.ok() || !*next) return;
      if (done((*next)->id, [&] { send(**next); })) look_at_ = {};
    });
  });
}

// What finds no memory is left out, and comes again: to the store it is still due.
bool Webhooks::done(const std::string& id, const std::function<void()>& step) {
  const auto is_done = guarded<bool>([&]() -> Result<bool> {
    step();
    return true;
  });
  if (is_done.ok()) return true;
  open_.erase(id);
  log_warn("webhooks.not_sent", {{"batch", id}, {"error", is_done.status().to_string()}});
  return false;
}

void Webhooks::send(const Batch& batch) {
  const std::string id = batch.id;
  const Open& open = open_[id] = {batch, clock_.steady_now()};
  const BatchSpec& spec = open.batch.spec;
  // The configuration may have changed since it was opened, or be another daemon's.
  const auto rule = webhook_of(rules_, spec.tenant, spec.file->webhook_url);
  const auto url = read_webhook_url(spec.file->webhook_url);
  if (!rule.ok() || !url.ok()) {
    return note(open, {0, WebhookStatus::given_up, {}, rule.status().message()});
  }
  const WebhookEvent event = webhook_event(open.batch);
  const int64_t timestamp = unix_seconds(clock_.now());
  const auto known = secrets();
  WebhookPost post;
  post.name = id;
  post.url = *url;
  post.may_be_local = (*rule)->allow_private;
  post.may_be_loopback = (*rule)->allow_private || (*rule)->url_prefix.is_loopback();
  post.ca_file = (*rule)->ca_file;
  post.headers = {"content-type: application/json", "webhook-id: " + event.id,
                  "webhook-timestamp: " + std::to_string(timestamp),
                  "webhook-signature: " +
                      known->at((*rule)->secret_file).sign(event.id, timestamp, event.body)};
  post.body = event.body;
  sender_.begin(std::move(post));
}

void Webhooks::took(const WebhookAnswer& answer) {
  PARKD_KILL_POINT("webhook.sent");
  const Open& open = open_.at(answer.name);
  if (answer.status >= 200 && answer.status < 300) {
    return note(open, {0, WebhookStatus::delivered, {}, ""});
  }
  const double jitter = std::uniform_real_distribution<>(0, 1)(random_);
  const auto pause = pause_after(open.batch.webhook.attempts + 1, jitter, answer.retry_after);
  const bool is_over = answer.status == kGone || !pause;
  note(open, {0, is_over ? WebhookStatus::given_up : WebhookStatus::pending,
              pause.value_or(milliseconds(0)), failure_of(answer)});
}

void Webhooks::note(const Open& open, WebhookAttempt attempt) {
  attempt.number = open.batch.webhook.attempts + 1;
  store(open.batch.id, attempt);
}

void Webhooks::store(const std::string& id, const WebhookAttempt& attempt) {
  store_.note_webhook(id, attempt, [this, id, attempt](const Result<Batch>& after) {
    post([this, id, attempt, after] {
      const Status status = after.status();
      if (!status.ok() && status.code() != StatusCode::not_found) {
        // Not sent again meanwhile: no other daemon has it before the hold is over.
        const auto open = open_.find(id);
        if (open != open_.end() && !std::exchange(open->second.is_told_unstored, true)) {
          log_warn("webhooks.not_stored", {{"batch", id}, {"error", status.to_string()}});
        }
        unstored_[id] = attempt;
        store_at_ = clock_.steady_now() + kStoreAgainEvery;
        return;
      }
      const auto open = open_.extract(id);
      // Not there where done() has let go of it for want of memory.
      if (after.ok() && !open.empty()) stored(open.mapped(), attempt, *after);
      look_now();  // there is a place again
    });
  });
}

void Webhooks::stored(const Open& open, const WebhookAttempt& attempt, const Batch& after) {
  const auto tell = [&](void (*log)(std::string_view, LogFields), const char* event) {
    const auto ms = std::chrono::duration_cast<milliseconds>(clock_.steady_now() - open.begun);
    log(event, {{"batch", after.id},
                {"tenant", after.spec.tenant},
                {"attempt", attempt.number},
                {"ms", ms.count()},
                {"error", attempt.error}});
  };
  switch (attempt.status) {
    case WebhookStatus::delivered:
      ++delivered_;
      return tell(log_info, "webhooks.delivered");
    case WebhookStatus::given_up:
      ++given_up_;
      return tell(log_warn, "webhooks.given_up");
    case WebhookStatus::pending:
      ++failed_;
      // Once for as long as it fails in the same way.
      if (attempt.error != open.batch.webhook.last_error) tell(log_info, "webhooks.failed");
  }
}

}  // namespace parkd
