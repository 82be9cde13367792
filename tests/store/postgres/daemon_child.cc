// A daemon without a model, for the fault tests: a store with an executor that waits a moment and
// answers with the job's custom_id. Claims when the store says that there is work, as the
// dispatcher does, and not otherwise. Runs until it is killed.
//   postgres_daemon_child DSN JOURNAL TTL_MS
// The journal: "already N", "lease_lost N" (answers of a finish), "ownership_lost".
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include "lib/base/text.h"
#include "lib/store/postgres/postgres_store.h"
#include "tests/store/postgres/fault_clock.h"
#include "tests/store/postgres/fault_oracle.h"

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kInFlightMax = 64;
constexpr int kClaimMax = 16;

parkd::FinishItem finished(const parkd::Job& job) {
  parkd::FinishItem item{job.id, job.lease, {}};
  item.ending.body = R"({"choices":[{"message":{"content":")" + job.spec.custom_id +
                     R"("},"finish_reason":"stop"}]})";
  item.ending.prompt_tokens = 1;
  item.ending.completion_tokens = 1;
  return item;
}

class Executor {
 public:
  explicit Executor(const std::string& journal) : journal_(journal) {}

  // What was claimed before is anybody's now; what is claimed from here on is a new
  // registration's.
  void ownership_lost() {
    journal_.write("ownership_lost");
    const std::lock_guard lock(mutex_);
    n_in_flight_ -= n_running();
    running_.clear();
    ask_at_ = steady_clock::now();
    woken_.notify_all();
  }

  void run(parkd::JobStore& store) {
    parkd::StoreObserver observer;
    observer.work_available = [this](const std::string&) { ask_again(milliseconds(0)); };
    store.set_observer(std::move(observer));
    for (;;) {
      std::unique_lock lock(mutex_);
      const auto now = steady_clock::now();
      if (now >= next_purge_) {
        next_purge_ = now + milliseconds(300);
        lock.unlock();
        store.purge([](const parkd::Result<parkd::PurgeAnswer>&) {});
        continue;
      }
      if (!running_.empty() && now >= running_.front().due) {
        finish_first(store, lock);
        continue;
      }
      if (!claiming_ && now >= ask_at_ && n_in_flight_ + kClaimMax <= kInFlightMax) {
        claiming_ = true;
        ask_at_ = steady_clock::time_point::max();
        lock.unlock();
        store.claim({"m", kClaimMax},
                    [this](parkd::Result<std::vector<parkd::Job>> jobs) { claimed(jobs); });
        continue;
      }
      auto wake = next_purge_;
      if (!running_.empty()) wake = std::min(wake, running_.front().due);
      if (!claiming_ && n_in_flight_ + kClaimMax <= kInFlightMax) wake = std::min(wake, ask_at_);
      woken_.wait_until(lock, wake);
    }
  }

 private:
  struct Batch {
    steady_clock::time_point due;
    std::vector<parkd::Job> jobs;
  };

  int n_running() const {
    size_t n = 0;
    for (const Batch& batch : running_) n += batch.jobs.size();
    return static_cast<int>(n);
  }

  void ask_again(milliseconds delay) {
    const std::lock_guard lock(mutex_);
    ask_at_ = std::min(ask_at_, steady_clock::now() + delay);
    woken_.notify_all();
  }

  void claimed(parkd::Result<std::vector<parkd::Job>>& jobs) {
    const std::lock_guard lock(mutex_);
    claiming_ = false;
    const auto now = steady_clock::now();
    if (!jobs.ok()) {
      ask_at_ = std::min(ask_at_, now + milliseconds(50));
    } else if (!jobs->empty()) {
      if (jobs->size() == kClaimMax) ask_at_ = now;
      n_in_flight_ += static_cast<int>(jobs->size());
      const auto due = now + milliseconds(parkd::random_u64() % 20);
      running_.push_back(
          {running_.empty() ? due : std::max(due, running_.back().due), std::move(jobs).value()});
    }
    woken_.notify_all();
  }

  void finish_first(parkd::JobStore& store, std::unique_lock<std::mutex>& lock) {
    std::vector<parkd::FinishItem> items;
    for (const parkd::Job& job : running_.front().jobs) items.push_back(finished(job));
    running_.pop_front();
    lock.unlock();
    const int n = static_cast<int>(items.size());
    store.finish(std::move(items),
                 [this, n](const parkd::Result<std::vector<parkd::FinishAnswer>>& answers) {
                   ended(n, answers);
                 });
  }

  void ended(int n, const parkd::Result<std::vector<parkd::FinishAnswer>>& answers) {
    int n_already = 0;
    int n_lost = 0;
    if (answers.ok()) {
      for (const parkd::FinishAnswer answer : *answers) {
        n_already += answer == parkd::FinishAnswer::already_by_this_lease;
        n_lost += answer == parkd::FinishAnswer::lease_lost;
      }
    }
    if (n_already > 0) journal_.write("already " + std::to_string(n_already));
    if (n_lost > 0) journal_.write("lease_lost " + std::to_string(n_lost));
    const std::lock_guard lock(mutex_);
    n_in_flight_ -= n;
    woken_.notify_all();
  }

  parkd::Journal journal_;
  std::mutex mutex_;  // guards all below
  std::condition_variable woken_;
  std::deque<Batch> running_;
  int n_in_flight_ = 0;  // running_ and finishes that are not answered
  bool claiming_ = false;
  steady_clock::time_point ask_at_ = steady_clock::now();
  steady_clock::time_point next_purge_ = steady_clock::now();
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  parkd::jump_clock_on_signals();
  Executor executor(argv[2]);
  parkd::PostgresOptions options;
  options.dsn = argv[1];
  options.ttl = milliseconds(std::atoi(argv[3]));
  options.beat = milliseconds(300);
  options.poll = milliseconds(200);
  options.statement_limit = milliseconds(1000);
  options.host = "fault-daemon";
  options.ownership_lost = [&] { executor.ownership_lost(); };
  auto store = parkd::open_postgres_store(options, {});
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().to_string().c_str());
    return 1;
  }
  executor.run(**store);
}
