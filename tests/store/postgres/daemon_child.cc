// A daemon without a model, for the fault test: claims, holds for a moment, finishes, until it is
// killed.
//   postgres_daemon_child DSN
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "lib/base/text.h"
#include "lib/store/postgres/postgres_store.h"
#include "tests/support/store_driver.h"

namespace {

using std::chrono::milliseconds;

parkd::FinishItem finished(const parkd::Job& job) {
  parkd::FinishItem item{job.id, job.lease, {}};
  item.ending.body = R"({"choices":[{"message":{"content":"done"},"finish_reason":"stop"}]})";
  item.ending.prompt_tokens = 1;
  item.ending.completion_tokens = 1;
  return item;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  parkd::PostgresOptions options;
  options.dsn = argv[1];
  options.ttl = milliseconds(2000);
  options.beat = milliseconds(300);
  options.poll = milliseconds(100);
  // What was claimed before an ownership_lost is anybody's; what comes after it is a new
  // registration's.
  std::atomic<int> generation{0};
  options.ownership_lost = [&] { ++generation; };
  auto store = parkd::open_postgres_store(options, {});
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().to_string().c_str());
    return 1;
  }
  parkd::StoreDriver driver(**store);
  auto next_purge = std::chrono::steady_clock::now();
  for (;;) {
    if (std::chrono::steady_clock::now() >= next_purge) {
      (void)driver.purge();
      next_purge = std::chrono::steady_clock::now() + milliseconds(300);
    }
    int claimed_in = 0;
    std::promise<std::vector<parkd::Job>> answer;
    (*store)->claim({"m", 16}, [&](parkd::Result<std::vector<parkd::Job>> claimed) {
      claimed_in = generation;
      answer.set_value(claimed.ok() ? std::move(claimed).value() : std::vector<parkd::Job>());
    });
    const std::vector<parkd::Job> jobs = answer.get_future().get();
    if (jobs.empty()) {
      std::this_thread::sleep_for(milliseconds(20));
      continue;
    }
    std::this_thread::sleep_for(milliseconds(parkd::random_u64() % 20));  // "running"
    if (generation != claimed_in) continue;
    std::vector<parkd::FinishItem> items;
    for (const parkd::Job& job : jobs) items.push_back(finished(job));
    (void)driver.finish(std::move(items));
  }
}
