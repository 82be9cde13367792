// What the PostgreSQL store does a second through its C++ verbs: submit, then claim and finish with
// results.
#include <algorithm>
#include <atomic>
#include <thread>

#include "tools/bench/postgres/bench_store.h"

namespace parkd::bench {
namespace {

using std::chrono::steady_clock;

void submit(const std::string& dsn, int n_jobs, int n_open, int per_call) {
  auto store = open_bench_store(dsn);
  std::atomic<int> n_under_way{0};
  const auto start = steady_clock::now();
  for (int i = 0; i < n_jobs; i += per_call) {
    while (n_under_way >= n_open) std::this_thread::yield();
    ++n_under_way;
    store->submit(std::vector<JobSpec>(static_cast<size_t>(per_call), bench_job()),
                  [&](const Result<std::vector<SubmittedJob>>&) { --n_under_way; });
  }
  while (n_under_way > 0) std::this_thread::yield();
  std::printf("submit, %3d calls open, %3d jobs each   %9.0f jobs/s\n", n_open, per_call,
              n_jobs / seconds_since(start));
  store->stop();
}

// Each consumer is a daemon of its own: claims 64 while the finish of the last 64 is under way.
void consume(const std::string& dsn, int n_jobs, int n_consumers) {
  std::vector<std::unique_ptr<JobStore>> stores;
  for (int i = 0; i < n_consumers; ++i) stores.push_back(open_bench_store(dsn));
  std::atomic<int> n_left{n_jobs};
  std::vector<std::vector<double>> claims_ms(static_cast<size_t>(n_consumers));
  std::vector<std::thread> threads;
  const auto start = steady_clock::now();
  for (size_t c = 0; c < stores.size(); ++c) {
    threads.emplace_back([&, c] {
      std::atomic<int> n_under_way{0};
      while (n_left.fetch_sub(64) > 0) {
        const auto claim_start = steady_clock::now();
        const auto jobs = wait<std::vector<Job>>([&](auto done) {
          stores[c]->claim({"m", 64}, std::move(done));
        });
        claims_ms[c].push_back(1e3 * seconds_since(claim_start));
        while (n_under_way >= 2) std::this_thread::yield();
        ++n_under_way;
        stores[c]->finish(bench_results(jobs),
                          [&](const Result<std::vector<FinishAnswer>>&) { --n_under_way; });
      }
      while (n_under_way > 0) std::this_thread::yield();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = seconds_since(start);
  std::vector<double> all;
  for (const auto& one : claims_ms) all.insert(all.end(), one.begin(), one.end());
  std::sort(all.begin(), all.end());
  std::printf(
      "claim 64 and finish, %d daemon(s)        %9.0f jobs/s   claim p50 %.2f ms p99 %.2f ms\n",
      n_consumers, n_jobs / seconds, all[all.size() / 2], all[all.size() * 99 / 100]);
  for (auto& store : stores) store->stop();
}

}  // namespace

void run_store_cycle(const std::string& dsn, int n_jobs) {
  submit(dsn, std::min(n_jobs, 8000), 64, 1);
  submit(dsn, 2 * n_jobs, 4, 500);
  consume(dsn, n_jobs, 1);
  consume(dsn, n_jobs, 4);
}

}  // namespace parkd::bench
