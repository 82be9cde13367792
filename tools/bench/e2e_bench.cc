// e2e.*: what a user gets: a forked parkd on a fresh queue, jobs by HTTP, results by long poll.
#include "tools/bench/e2e_bench.h"

#include <sys/resource.h>

#include <boost/json.hpp>
#include <chrono>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "tools/bench/bench_daemon.h"
#include "tools/jobctl/http_client.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::bench {
namespace {

namespace json = boost::json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

json::object chat_job(const std::string& name, int64_t max_tokens) {
  std::string text = "Write item " + name + " of a list.";
  while (text.size() < 400) text += " Say something about rivers, lakes and the sea.";
  json::object body;
  body["messages"] = {{{"role", "user"}, {"content", text}}};
  body["max_tokens"] = max_tokens;
  body["temperature"] = 0;
  return {{"model", "bench"}, {"body", std::move(body)}};
}

BenchResult run_once(jobctl::HttpClient& client, int n_jobs, int64_t max_tokens) {
  const std::string key = "bench-" + random_hex(6);
  json::array jobs;
  for (int i = 0; i < n_jobs; ++i) {
    jobs.push_back(chat_job(key + "-" + std::to_string(i), max_tokens));
    jobs.back().get_object()["mailbox_key"] = key;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto accepted = client.post("/v1/jobs", json::object{{"jobs", std::move(jobs)}});
  PARKD_CHECK(accepted.ok() && accepted->status == 202, "the submit was refused");
  const double accept_ms = 1000 * seconds_since(start);
  std::vector<double> job_ms;
  double prompt = 0;
  double output = 0;
  std::string cursor;
  while (static_cast<int>(job_ms.size()) < n_jobs) {
    const auto page = client.get("/v1/mailbox/" + key + "?wait_s=30" +
                                 (cursor.empty() ? "" : "&cursor=" + cursor));
    PARKD_CHECK(page.ok() && page->status == 200, "the mailbox cannot be read");
    for (const auto& message : jobctl::find(page->json, "messages")->get_array()) {
      PARKD_CHECK(jobctl::text_at(message, "outcome") == "completed", "a job failed");
      job_ms.push_back(1000 * seconds_since(start));
      prompt += static_cast<double>(jobctl::number_at(message, "prompt_tokens"));
      output += static_cast<double>(jobctl::number_at(message, "completion_tokens"));
    }
    cursor = jobctl::text_at(page->json, "next_cursor");
  }
  const double elapsed = seconds_since(start);
  BenchResult result;
  result.name = "e2e.jobs_" + std::to_string(n_jobs);
  result.figure("total_tokens_per_s", (prompt + output) / elapsed)
      .figure("prompt_tokens_per_s", prompt / elapsed)
      .figure("output_tokens_per_s", output / elapsed)
      .figure("jobs_per_s", n_jobs / elapsed)
      .figure("accept_ms", accept_ms)
      .figure("p50_ms", percentile_of(job_ms, 0.50))
      .figure("p99_ms", percentile_of(job_ms, 0.99));
  return result;
}

double children_peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

}  // namespace

void run_e2e_benchmarks(const Settings& settings) {
  std::vector<BenchResult> runs;
  {
    const BenchDaemon daemon(settings, {.name = "e2e"});
    jobctl::HttpClient client(daemon.socket(), "", std::chrono::seconds(600));
    for (int run = 0; run < settings.runs; ++run) {
      runs.push_back(settings.smoke ? run_once(client, 2, 4) : run_once(client, 64, 128));
    }
  }
  BenchResult result = median(std::move(runs));
  result.figure("peak_rss_bytes",
                children_peak_rss_bytes());  // the daemon's, now that it has ended
  print(settings, result);
}

}  // namespace parkd::bench
