// A daemon without a model, for the fault tests: a store with an executor that waits a moment and
// answers with the job's custom_id, or does what its last letter says. Claims when the store says
// that there is work, as the dispatcher does, and not otherwise. Runs until it is killed.
//   postgres_daemon_child DSN JOURNAL TTL_MS
// The journal: "already N", "lease_lost N" (answers of a finish), "ownership_lost".
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "lib/base/text.h"
#include "lib/store/job_store.h"
#include "lib/store/postgres/postgres_store.h"
#include "tests/store/postgres/fault_clock.h"
#include "tests/store/postgres/fault_oracle.h"

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kInFlightMax = 64;
constexpr int kClaimMax = 16;

// What its custom_id asks for (fault_oracle.h), unless it was cancelled.
parkd::FinishItem finished(const parkd::Job& job, bool cancelled) {
  parkd::FinishItem item{job.id, job.lease, {}};
  parkd::Ending& ending = item.ending;
  if (cancelled) {
    ending.outcome = parkd::Outcome::cancelled;
    ending.error_code = "cancelled";
    ending.status_code = 499;
  } else if (job.spec.custom_id.back() == 'f' && job.requeued_from == 0) {
    ending.outcome = parkd::Outcome::failed;
    ending.error_code = "run_timeout";
    ending.status_code = 500;
  } else {
    ending.body = R"({"choices":[{"message":{"content":")" + job.spec.custom_id +
                  R"("},"finish_reason":"stop"}]})";
    ending.prompt_tokens = 1;
    ending.completion_tokens = 1;
  }
  return item;
}

bool fails_an_attempt(const parkd::Job& job) {
  return job.spec.custom_id.back() == 'r' && job.attempts == 0;
}

bool is_slow(const parkd::Job& job) {
  return job.spec.custom_id.back() == 's';
}

class Executor {
 public:
  explicit Executor(const std::string& journal) : journal_(journal) {}

  // What was claimed before is anybody's now; what is claimed from here on is a new
  // registration's.
  void ownership_lost() {
    journal_.write("ownership_lost");
    const std::lock_guard lock(mutex_);
    n_in_flight_ -= static_cast<int>(running_.size());
    running_.clear();
    cancelled_.clear();
    ask_at_ = steady_clock::now();
    woken_.notify_all();
  }

  void run(parkd::JobStore& store) {
    parkd::StoreObserver observer;
    observer.work_available = [this](const std::string&) { ask_again(milliseconds(0)); };
    observer.cancel_requested = [this](parkd::JobId id, parkd::RunLease) {
      const std::lock_guard lock(mutex_);
      cancelled_.insert(id);
    };
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
      if (!running_.empty() && now >= running_.begin()->first) {
        end_due(store, now, lock);
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
      if (!running_.empty()) wake = std::min(wake, running_.begin()->first);
      if (!claiming_ && n_in_flight_ + kClaimMax <= kInFlightMax) wake = std::min(wake, ask_at_);
      woken_.wait_until(lock, wake);
    }
  }

 private:
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
      for (parkd::Job& job : *jobs) {
        running_.emplace(due + milliseconds(is_slow(job) ? 150 : 0), std::move(job));
      }
    }
    woken_.notify_all();
  }

  void end_due(parkd::JobStore& store, steady_clock::time_point now,
               std::unique_lock<std::mutex>& lock) {
    std::vector<parkd::FinishItem> ends;
    std::vector<parkd::ReleaseItem> failed;
    while (!running_.empty() && now >= running_.begin()->first) {
      const parkd::Job& job = running_.begin()->second;
      const bool cancelled = cancelled_.erase(job.id) != 0;
      if (!cancelled && fails_an_attempt(job)) {
        failed.push_back({job.id, job.lease, true, std::nullopt});
      } else {
        ends.push_back(finished(job, cancelled));
      }
      running_.erase(running_.begin());
    }
    lock.unlock();
    if (const int n = static_cast<int>(ends.size()); n > 0) {
      store.finish(std::move(ends),
                   [this, n](const parkd::Result<std::vector<parkd::FinishAnswer>>& answers) {
                     ended(n, answers);
                   });
    }
    if (const int n = static_cast<int>(failed.size()); n > 0) {
      store.release(std::move(failed),
                    [this, n](const parkd::Result<std::vector<parkd::ReleaseAnswer>>&) {
                      ended(n, std::vector<parkd::FinishAnswer>());
                    });
    }
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
  std::multimap<steady_clock::time_point, parkd::Job> running_;  // by when they end
  std::set<parkd::JobId> cancelled_;  // asked for, of running_ or of earlier ones
  int n_in_flight_ = 0;               // running_ and finishes that are not answered
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
