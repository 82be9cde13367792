// store.*: what the embedded queue costs, against the disk's own fsync rate measured in the same
// run.
#include "tools/bench/store_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/job_store.h"
#include "lib/store/rocksdb/rocksdb_store.h"

namespace parkd::bench {
namespace {

using Seconds = std::chrono::duration<double>;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

// A store in a fresh directory, with its verbs made synchronous.
class FreshStore {
 public:
  explicit FreshStore(const std::string& work_dir) : dir_(work_dir + "/store-" + random_hex(6)) {
    std::filesystem::create_directories(dir_);
    RocksDbStoreOptions options;
    options.dir = dir_;
    auto opened = open_rocksdb_store(options, clock_);
    PARKD_CHECK(opened.ok(), opened.status().to_string());
    store_ = std::move(opened).value();
  }
  ~FreshStore() {
    store_->stop();
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  FreshStore(const FreshStore&) = delete;
  FreshStore& operator=(const FreshStore&) = delete;

  JobStore& store() { return *store_; }

  template <class T, class Verb>
  T wait(Verb&& verb) {
    auto promise = std::make_shared<std::promise<T>>();
    auto future = promise->get_future();
    verb([promise](Result<T> answer) {
      PARKD_CHECK(answer.ok(), answer.status().to_string());
      promise->set_value(std::move(answer).value());
    });
    return future.get();
  }

  StoreStats stats() {
    return wait<StoreStats>([&](auto done) { store_->stats(done); });
  }

 private:
  std::string dir_;
  SystemClock clock_;
  std::unique_ptr<JobStore> store_;
};

JobSpec some_job() {
  JobSpec spec;
  spec.model = "bench";
  spec.mailbox_key = "bench";
  spec.body = R"({"messages":[{"role":"user","content":")" + std::string(140, 'x') + R"("}]})";
  spec.prompt_tokens = 64;
  spec.max_new_tokens = 64;
  return spec;
}

// Small appends, each made durable: the rate a store with one sync a commit cannot pass.
double disk_syncs_per_s(const std::string& work_dir, int n) {
  const std::string path = work_dir + "/fsync-probe";
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  PARKD_CHECK(file >= 0, "cannot write in " + work_dir);
  const std::string record(400, 'r');
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n; ++i) {
    PARKD_CHECK(::write(file, record.data(), record.size()) == ssize_t(record.size()), "write");
    PARKD_CHECK(::fdatasync(file) == 0, "fdatasync");
  }
  const double rate = n / seconds_since(start);
  ::close(file);
  ::unlink(path.c_str());
  return rate;
}

// Keeps `in_flight` submits of `jobs_each` jobs open until `n_submits` are acknowledged.
BenchResult submits(const Settings& settings, const std::string& name, int n_submits, int in_flight,
                    int jobs_each) {
  FreshStore fresh(settings.work_dir);
  std::mutex mutex;
  std::condition_variable changed;
  int open = 0;
  int acknowledged = 0;
  std::vector<double> latency_ms;
  const StoreStats before = fresh.stats();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n_submits; ++i) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return open < in_flight; });
      ++open;
    }
    const auto sent = std::chrono::steady_clock::now();
    fresh.store().submit(std::vector<JobSpec>(static_cast<size_t>(jobs_each), some_job()),
                         [&, sent](Result<std::vector<SubmittedJob>> answer) {
                           PARKD_CHECK(answer.ok(), answer.status().to_string());
                           const std::lock_guard lock(mutex);
                           latency_ms.push_back(1000 * seconds_since(sent));
                           --open;
                           ++acknowledged;
                           changed.notify_one();
                         });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return acknowledged == n_submits; });
  }
  const double elapsed = seconds_since(start);
  const StoreStats after = fresh.stats();
  BenchResult result;
  result.name = name;
  const double jobs = double(n_submits) * jobs_each;
  result.figure("jobs_per_s", jobs / elapsed)
      .figure("p50_ms", percentile_of(latency_ms, 0.50))
      .figure("p99_ms", percentile_of(latency_ms, 0.99))
      .figure("syncs_per_job", double(after.syncs - before.syncs) / jobs);
  return result;
}

// Submit n jobs, then claim in batches and finish each batch with a result, until the queue is
// empty.
BenchResult claim_and_finish(const Settings& settings, int n_jobs, int batch) {
  FreshStore fresh(settings.work_dir);
  fresh.wait<std::vector<SubmittedJob>>([&](auto done) {
    fresh.store().submit(std::vector<JobSpec>(static_cast<size_t>(n_jobs), some_job()), done);
  });
  Ending ending;
  ending.body = R"({"choices":[{"message":{"content":")" + std::string(300, 'y') + R"("}}]})";
  const StoreStats before = fresh.stats();
  std::vector<double> cycle_ms;
  int finished = 0;
  const auto start = std::chrono::steady_clock::now();
  while (finished < n_jobs) {
    const auto cycle = std::chrono::steady_clock::now();
    const auto jobs = fresh.wait<std::vector<Job>>([&](auto done) {
      fresh.store().claim({"bench", batch}, done);
    });
    PARKD_CHECK(!jobs.empty(), "the queue is empty before its time");
    std::vector<FinishItem> items;
    for (const Job& job : jobs) items.push_back({job.id, job.lease, ending});
    fresh.wait<std::vector<FinishAnswer>>([&](auto done) { fresh.store().finish(items, done); });
    finished += static_cast<int>(jobs.size());
    cycle_ms.push_back(1000 * seconds_since(cycle));
  }
  const double elapsed = seconds_since(start);
  const StoreStats after = fresh.stats();
  BenchResult result;
  result.name = "store.claim_finish";
  result.figure("jobs_per_s", n_jobs / elapsed)
      .figure("p50_ms", percentile_of(cycle_ms, 0.50))
      .figure("p99_ms", percentile_of(cycle_ms, 0.99))
      .figure("syncs_per_job", double(after.syncs - before.syncs) / n_jobs);
  return result;
}

}  // namespace

void run_store_benchmarks(const Settings& settings) {
  const int scale = settings.smoke ? 1 : 100;
  const auto report = [&](const auto& once) {
    std::vector<BenchResult> runs;
    for (int run = 0; run < settings.runs; ++run) {
      const double ceiling = disk_syncs_per_s(settings.work_dir, 10 * (settings.smoke ? 1 : 20));
      BenchResult result = once();
      // What share of the disk's sync rate the commits used: 1 = the disk is the limit.
      const double syncs_per_s = result.at("syncs_per_job") * result.at("jobs_per_s");
      result.figure("disk_syncs_per_s", ceiling).figure("peak_fraction", syncs_per_s / ceiling);
      result.figure("peak_rss_bytes", peak_rss_bytes());
      runs.push_back(std::move(result));
    }
    print(settings, median(std::move(runs)).label("store", "rocksdb"));
  };
  report([&] { return submits(settings, "store.submit_one", 20 * scale, 1, 1); });
  report([&] { return submits(settings, "store.submit_64_open", 100 * scale, 64, 1); });
  report([&] { return submits(settings, "store.submit_bulk", scale, 1, 1000); });
  report([&] { return claim_and_finish(settings, 500 * scale, 64); });
}

}  // namespace parkd::bench
