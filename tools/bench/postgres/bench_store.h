// What the PostgreSQL benchmarks share: a store whose failures end the program, jobs and results of
// one size.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/job_store.h"
#include "lib/store/postgres/postgres_store.h"

namespace parkd::bench {

[[noreturn]] void give_up(const Status& status);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The value of a verb, waited for.
template <class T, class Call>
T wait(Call call) {
  std::promise<Result<T>> promise;
  call([&](Result<T> result) { promise.set_value(std::move(result)); });
  Result<T> result = promise.get_future().get();
  if (!result.ok()) give_up(result.status());
  return std::move(result).value();
}

std::unique_ptr<JobStore> open_bench_store(const std::string& dsn);
JobSpec bench_job();
std::vector<FinishItem> bench_results(const std::vector<Job>& jobs);

// Submits, then claims 64 and finishes, by one daemon and by four.
void run_store_cycle(const std::string& dsn, int n_jobs);

struct ClaimDepth {
  int64_t shallow = 10'000;
  int64_t deep = 5'000'000;
  int n_claims = 2000;
};
// Claims of 64 while the queue is held at a depth: p50, p99, tuples read; then with a pinned xmin.
void run_claim_depth(const std::string& dsn, const ClaimDepth& settings);

}  // namespace parkd::bench
