#include "lib/store/postgres/shared_state.h"

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

SharedState::SharedState(PostgresOptions options, StoreOptions store)
    : options_(std::move(options)), store_(std::move(store)) {}

Connection::Options SharedState::connection_options(const std::string& name) const {
  Connection::Options session;
  session.own_words = true;
  session.dsn = options_.dsn;
  session.application_name = name;
  session.prepare = !options_.transaction_pooling;
  session.statement_limit = options_.statement_limit;
  session.lock_limit = kLockLimit;
  return session;
}

Now SharedState::now() const {
  if (options_.test_clock == nullptr) return std::nullopt;
  return to_unix_us(options_.test_clock->now());
}

// --- the observer

void SharedState::set_observer(StoreObserver observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::make_shared<const StoreObserver>(std::move(observer));
}

std::shared_ptr<const StoreObserver> SharedState::observer() const {
  const std::lock_guard lock(mutex_);
  return observer_;
}

void SharedState::tell_work(const std::string& model) const {
  const auto observer = this->observer();
  if (observer && observer->work_available) observer->work_available(model);
}

void SharedState::tell_message(const std::string& tenant, const std::string& mailbox_key) const {
  const auto observer = this->observer();
  if (observer && observer->message_stored) observer->message_stored(tenant, mailbox_key);
}

void SharedState::tell_cancel(JobId id, RunLease lease) const {
  const auto observer = this->observer();
  if (observer && observer->cancel_requested) observer->cancel_requested(id, lease);
}

void SharedState::tell(const Wakeups& wakeups) const {
  if (const auto observer = this->observer()) parkd::tell(*observer, wakeups);
}

// --- counters and health

void SharedState::count_commit() {
  ++n_commits_;
  ++n_syncs_;
}

void SharedState::count_unsynced_commit() {
  ++n_commits_;
}

void SharedState::count_uncertain_finish() {
  ++n_uncertain_finishes_;
}

void SharedState::note(const Status& status) {
  const Status kept = caught("note", [&] {
    const std::lock_guard lock(mutex_);
    last_error_ = status.code() == StatusCode::unavailable ? status.message() : "";
  });
  if (kept.ok()) return;
  const std::lock_guard lock(mutex_);
  last_error_ = "out of memory";
}

std::string SharedState::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

// --- how long to try

SharedState::TimePoint SharedState::give_up_at() const {
  return steady_clock::now() + options_.verb_limit;
}

Status SharedState::given_up(const Status& status) const {
  const double seconds = static_cast<double>(options_.verb_limit.count()) / 1000.0;
  std::ostringstream text;
  text << status.message() << "; tried for " << seconds << " s";
  return unavailable(text.str());
}

void SharedState::begin_stop() {
  const std::lock_guard lock(mutex_);
  if (!stop_by_) stop_by_ = steady_clock::now() + options_.stop_limit;
}

bool SharedState::wait_to_retry(Backoff& backoff, std::optional<TimePoint> give_up_at) const {
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
