// Webhooks: the thread that tells receivers of batches' ends: it asks the store for the next that
// is due, sends it (webhook_sender.h), and stores what became of it. An event is told at least
// once: what was sent and not stored (this process died, the store is away) is sent again, with the
// same id. Where daemons share the store each has one, and what one leaves the others go on with.
//
// All but run() may be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "daemon/webhooks/webhook_sender.h"
#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/base/thread_safety.h"
#include "lib/config/webhook_secret.h"
#include "lib/config/webhooks.h"
#include "lib/store/batch_store.h"

namespace parkd {

struct WebhookFigures {
  int64_t delivered = 0;
  int64_t failed = 0;  // attempts that are made again
  int64_t given_up = 0;
};

class Webhooks {
 public:
  // Sent at a time, of a tenant and in all: a receiver that hangs stops its own tenant's.
  static constexpr size_t kOpenOfTenantMax = 4;
  static constexpr size_t kOpenMax = 16;

  Webhooks(std::vector<WebhookConfig> rules, WebhookSecrets secrets, BatchStore& store,
           Clock& clock);
  ~Webhooks() { join(); }
  Webhooks(const Webhooks&) = delete;
  Webhooks& operator=(const Webhooks&) = delete;

  void set_secrets(WebhookSecrets secrets);
  void start();
  // One may be due.
  void look();
  WebhookFigures figures() const;

  // Ends what is being sent.
  void begin_stop();
  // After the store has stopped, so that no verb comes back.
  void join();

 private:
  // A batch that was given to this daemon, until the store has taken what became of it.
  struct Open {
    Batch batch;
    SteadyTime begun{};
    bool is_told_unstored = false;  // it was logged
  };

  void run();
  void look_now();
  void ask();
  bool done(const std::string& id, const std::function<void()>& step);
  void send(const Batch& batch);
  void took(const WebhookAnswer& answer);
  void note(const Open& open, WebhookAttempt attempt);
  void store(const std::string& id, const WebhookAttempt& attempt);
  void stored(const Open& open, const WebhookAttempt& attempt, const Batch& after);
  WebhookRequest request() const;
  // Runs the task on this thread.
  void post(std::function<void()> task);
  std::shared_ptr<const WebhookSecrets> secrets() const;

  const std::vector<WebhookConfig> rules_;
  BatchStore& store_;
  Clock& clock_;
  const std::string name_;  // of this process, for the store
  std::atomic<bool> stopping_{false};
  Inbox<std::function<void()>> inbox_;
  WebhookSender sender_;
  std::atomic<int64_t> delivered_{0}, failed_{0}, given_up_{0};

  // Of the thread.
  std::map<std::string, Open> open_;                // by batch
  std::map<std::string, WebhookAttempt> unstored_;  // what the store has not taken yet
  bool is_asking_ = false;
  bool looks_again_ = false;  // what is being asked may have been answered before there was one
  SteadyTime look_at_{};
  SteadyTime store_at_{};  // what is unstored, again
  std::string error_;      // of the last look
  std::mt19937_64 random_;

  mutable std::mutex mutex_;
  std::shared_ptr<const WebhookSecrets> secrets_ PARKD_GUARDED_BY(mutex_);
  Thread thread_;
};

}  // namespace parkd
