// What the PostgreSQL store does a second through its C++ verbs: submit, then claim and finish with
// results.
//
//   tools/pg_sandbox.sh build/release/tools/bench/postgres/parkd_postgres_bench [JOBS]
//
// Migrates the database "postgres" of the server that PGHOST names: for throwaway clusters.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/log.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/postgres_store.h"

namespace {

using parkd::JobSpec;
using parkd::JobStore;
using std::chrono::steady_clock;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

template <class T, class Call>
T wait(Call call) {
  std::promise<parkd::Result<T>> promise;
  call([&](parkd::Result<T> result) { promise.set_value(std::move(result)); });
  parkd::Result<T> result = promise.get_future().get();
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().to_string().c_str());
    std::exit(1);
  }
  return std::move(result).value();
}

std::unique_ptr<JobStore> open(const std::string& dsn) {
  parkd::PostgresOptions options;
  options.dsn = dsn;
  auto store = parkd::open_postgres_store(options, {});
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().to_string().c_str());
    std::exit(1);
  }
  return std::move(store).value();
}

JobSpec spec() {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = "box";
  spec.body = R"({"messages":[{"role":"user","content":")" + std::string(140, 'x') +
              R"("}],"max_tokens":48})";
  spec.prompt_tokens = 40;
  spec.max_new_tokens = 48;
  return spec;
}

void submit(const std::string& dsn, int n_jobs, int n_open, int per_call) {
  auto store = open(dsn);
  std::atomic<int> n_under_way{0};
  const auto start = steady_clock::now();
  for (int i = 0; i < n_jobs; i += per_call) {
    while (n_under_way >= n_open) std::this_thread::yield();
    ++n_under_way;
    store->submit(std::vector<JobSpec>(static_cast<size_t>(per_call), spec()),
                  [&](const parkd::Result<std::vector<parkd::SubmittedJob>>&) { --n_under_way; });
  }
  while (n_under_way > 0) std::this_thread::yield();
  std::printf("submit, %3d calls open, %3d jobs each   %9.0f jobs/s\n", n_open, per_call,
              n_jobs / seconds_since(start));
  store->stop();
}

// Each consumer is a daemon of its own: claims 64 while the finish of the last 64 is under way.
void consume(const std::string& dsn, int n_jobs, int n_consumers) {
  std::vector<std::unique_ptr<JobStore>> stores;
  for (int i = 0; i < n_consumers; ++i) stores.push_back(open(dsn));
  std::atomic<int> n_left{n_jobs};
  std::vector<std::vector<double>> claims_ms(static_cast<size_t>(n_consumers));
  std::vector<std::thread> threads;
  const auto start = steady_clock::now();
  for (size_t c = 0; c < stores.size(); ++c) {
    threads.emplace_back([&, c] {
      std::atomic<int> n_under_way{0};
      while (n_left.fetch_sub(64) > 0) {
        const auto claim_start = steady_clock::now();
        const auto jobs = wait<std::vector<parkd::Job>>([&](auto done) {
          stores[c]->claim({"m", 64}, std::move(done));
        });
        claims_ms[c].push_back(1e3 * seconds_since(claim_start));
        std::vector<parkd::FinishItem> items;
        for (const parkd::Job& job : jobs) {
          parkd::FinishItem item{job.id, job.lease, {}};
          item.ending.body =
              R"({"id":"x","choices":[{"message":{"role":"assistant","content":"one two three four five"}}]})";
          items.push_back(std::move(item));
        }
        while (n_under_way >= 2) std::this_thread::yield();
        ++n_under_way;
        stores[c]->finish(
            std::move(items),
            [&](const parkd::Result<std::vector<parkd::FinishAnswer>>&) { --n_under_way; });
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

int main(int argc, char** argv) {
  const int n_jobs = argc > 1 ? std::atoi(argv[1]) : 64'000;
  parkd::configure_log(parkd::LogLevel::error, parkd::LogFormat::text);
  const std::string dsn = "dbname=postgres";
  const parkd::Status migrated = parkd::Migrator(dsn).up(0);
  if (!migrated.ok()) {
    std::fprintf(stderr, "%s\n", migrated.to_string().c_str());
    return 1;
  }
  submit(dsn, std::min(n_jobs, 8000), 64, 1);
  submit(dsn, 2 * n_jobs, 4, 500);
  consume(dsn, n_jobs, 1);
  consume(dsn, n_jobs, 4);
  return 0;
}
