#include "lib/store/postgres/commons.h"

#include <sstream>
#include <thread>
#include <utility>

namespace parkd {
namespace {

using std::chrono::steady_clock;

// Of waiting for a lock: a submitter that idles in a transaction may keep it for hours, and
// everybody else's calls stand behind this one.
constexpr std::chrono::milliseconds kLockLimit{200};

}  // namespace

Status store_has_stopped() {
  return unavailable("the store has stopped");
}

Commons::Commons(PostgresOptions options, StoreOptions store)
    : options_(std::move(options)), store_(std::move(store)) {}

Connection::Options Commons::session(const std::string& name) const {
  Connection::Options session;
  session.own_words = true;
  session.dsn = options_.dsn;
  session.application_name = name;
  session.prepare = !options_.transaction_pooling;
  session.statement_limit = options_.statement_limit;
  session.lock_limit = kLockLimit;
  return session;
}

Now Commons::now() const {
  if (options_.test_clock == nullptr) return std::nullopt;
  return to_unix_us(options_.test_clock->now());
}

// --- the observer

void Commons::set_observer(StoreObserver observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::make_shared<const StoreObserver>(std::move(observer));
}

std::shared_ptr<const StoreObserver> Commons::observer() const {
  const std::lock_guard lock(mutex_);
  return observer_;
}

void Commons::tell_work(const std::string& model) const {
  const auto observer = this->observer();
  if (observer && observer->work_available) observer->work_available(model);
}

void Commons::tell_message(const std::string& tenant, const std::string& mailbox_key) const {
  const auto observer = this->observer();
  if (observer && observer->message_stored) observer->message_stored(tenant, mailbox_key);
}

void Commons::tell_cancel(JobId id, RunLease lease) const {
  const auto observer = this->observer();
  if (observer && observer->cancel_requested) observer->cancel_requested(id, lease);
}

void Commons::tell(const News& news) const {
  for (const std::string& model : news.models) tell_work(model);
  for (const auto& [tenant, mailbox_key] : news.messages) tell_message(tenant, mailbox_key);
}

// --- counters and health

void Commons::count_commit() {
  ++n_commits_;
  ++n_syncs_;
}

void Commons::count_unsynced_commit() {
  ++n_commits_;
}

void Commons::count_finish_in_doubt() {
  ++n_finishes_in_doubt_;
}

void Commons::note(const Status& status) {
  const std::lock_guard lock(mutex_);
  last_error_ = status.code() == StatusCode::unavailable ? status.message() : "";
}

std::string Commons::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

// --- how long to try

Commons::TimePoint Commons::give_up_at() const {
  return steady_clock::now() + options_.verb_limit;
}

Status Commons::given_up(const Status& status) const {
  const double seconds = static_cast<double>(options_.verb_limit.count()) / 1000.0;
  std::ostringstream text;
  text << status.message() << "; tried for " << seconds << " s";
  return unavailable(text.str());
}

void Commons::begin_stop() {
  const std::lock_guard lock(mutex_);
  if (!stop_by_) stop_by_ = steady_clock::now() + options_.stop_limit;
}

bool Commons::wait_to_retry(Backoff& backoff, std::optional<TimePoint> give_up_at) const {
  std::optional<TimePoint> stop_by;
  {
    const std::lock_guard lock(mutex_);
    stop_by = stop_by_;
  }
  const auto wake = steady_clock::now() + backoff.pause();
  if (give_up_at && wake > *give_up_at) return false;
  if (stop_by && wake > *stop_by) return false;
  std::this_thread::sleep_for(backoff.pause());
  backoff.lengthen();
  return true;
}

}  // namespace parkd
