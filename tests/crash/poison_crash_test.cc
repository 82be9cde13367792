// A prompt that kills the engine, in a real daemon: the others complete, it ends quarantined, and
// the number of deaths is bounded. Deaths that are nobody's fault make no suspects.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <random>

#include "tests/support/daemon_process.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;
using jobctl::find;
using jobctl::number_at;
using jobctl::text_at;

constexpr int kJobs = 64;
constexpr int kPoisonSeed = 6660666;

DaemonSetup roomy_daemon() {
  DaemonSetup setup;
  setup.max_num_seqs = kJobs;
  setup.worker_threads = 2;
  setup.drain_timeout_s = 1;
  return setup;
}

// Jobs that run long enough to be together in the engine; number `poison` kills it. Another `time`
// makes other jobs of them.
json::value jobs_with_poison(int poison, const std::string& time) {
  json::array jobs;
  for (int i = 0; i < kJobs; ++i) {
    json::object body;
    body["messages"] = {{{"role", "user"}, {"content", "Job " + std::to_string(i)}}};
    body["max_tokens"] = 150;
    body["seed"] = i == poison ? kPoisonSeed : i;
    json::object job;
    job["model"] = "tiny";
    job["body"] = std::move(body);
    job["custom_id"] = std::to_string(i);
    job["mailbox_key"] = "box";
    job["idempotency_key"] = time + std::to_string(i);
    jobs.push_back(std::move(job));
  }
  return json::object{{"jobs", std::move(jobs)}};
}

class PoisonCrash : public ::testing::Test {
 protected:
  PoisonCrash() : daemon_(roomy_daemon()) {
    std::random_device random;
    poison_ = static_cast<int>(random() % kJobs);
    std::cout << "poison is job " << poison_ << "\n";
  }

  // Starts a daemon for which the job is poison, and hands it all jobs: again, if it died of them
  // before it had answered.
  void submit(const std::string& how) {
    armed_ = {{"PARKD_POISON", std::to_string(kPoisonSeed) + ":" + how + ":8"}};
    ASSERT_TRUE(daemon_.start(armed_));
    while (true) {
      const auto answer = daemon_.client()->post("/v1/jobs", jobs_with_poison(poison_, "first"));
      if (answer.ok()) {
        ASSERT_EQ(answer->status, 202) << answer->text;
        return;
      }
      ASSERT_LT(deaths_.size(), 3u) << answer.status().to_string();
      await_death();
      ASSERT_TRUE(daemon_.start(armed_));
    }
  }
  void await_death() {
    const auto end = daemon_.wait_for_end(std::chrono::seconds(30));
    ASSERT_TRUE(end) << "it lives, and answers nothing";
    deaths_.push_back(*end);
  }
  void stop() {
    daemon_.signal(SIGTERM);
    const auto end = daemon_.wait_for_end(std::chrono::seconds(30));
    ASSERT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0);
  }

  // Starts the daemon again, as systemd would, until it lives to finish everything; the wait status
  // of each death since the submit.
  std::vector<int> live_through(int deaths_max) {
    while (!daemon_.wait_until([this] { return n_messages() >= kJobs; })) {
      await_death();
      if (static_cast<int>(deaths_.size()) == deaths_max) break;
      daemon_.start(armed_);
    }
    return deaths_;
  }

  int n_messages() {
    const auto page = daemon_.client()->get("/v1/mailbox/box?limit=1000");
    if (!page.ok() || page->status != 200) return 0;
    return static_cast<int>(find(page->json, "messages")->get_array().size());
  }

  // By custom_id; a job with two messages fails the test.
  std::map<int, std::string> outcomes() {
    std::map<int, std::string> outcomes;
    const auto page = daemon_.client()->get("/v1/mailbox/box?limit=1000");
    EXPECT_TRUE(page.ok() && page->status == 200);
    for (const auto& message : find(page->json, "messages")->get_array()) {
      const int job = std::stoi(text_at(message, "custom_id"));
      EXPECT_TRUE(outcomes.emplace(job, text_at(message, "outcome")).second) << "job " << job;
      EXPECT_EQ(number_at(message, "attempts"), 0) << "a death spends no attempt";
    }
    return outcomes;
  }

  void expect_only_the_poison_job_is_quarantined() {
    const auto by_job = outcomes();
    EXPECT_EQ(by_job.size(), static_cast<size_t>(kJobs));
    for (const auto& [job, outcome] : by_job) {
      EXPECT_EQ(outcome, job == poison_ ? "quarantined" : "completed") << "job " << job;
    }
  }

  bool logged(const std::string& event) { return daemon_.log().find(event) != std::string::npos; }

  DaemonProcess daemon_;
  DaemonProcess::Environment armed_;
  std::vector<int> deaths_;
  int poison_ = 0;
};

// log2 of the jobs and two: halves until it is alone, and two deaths alone.
constexpr int kDeathsMax = 6 + 2;

TEST_F(PoisonCrash, a_prompt_that_crashes_the_engine_is_found_and_63_others_complete) {
  submit("segv");
  const std::vector<int> deaths = live_through(kDeathsMax + 1);
  std::cout << deaths.size() << " deaths\n";
  EXPECT_LE(deaths.size(), static_cast<size_t>(kDeathsMax)) << daemon_.log();
  EXPECT_GE(deaths.size(), 3u) << "they were together in the engine at the first one";
  for (const int death : deaths) {
    EXPECT_TRUE(WIFSIGNALED(death) && WTERMSIG(death) == SIGSEGV) << "its true end: " << death;
  }
  expect_only_the_poison_job_is_quarantined();
  stop();
}

TEST_F(PoisonCrash, a_prompt_that_loses_the_device_is_found_and_the_process_says_so) {
  submit("device");
  std::vector<int> deaths = live_through(kDeathsMax + 1);
  // The last loss is stored, with its message, before the process ends of it.
  daemon_.signal(SIGTERM);
  const auto last = daemon_.wait_for_end(std::chrono::seconds(30));
  ASSERT_TRUE(last && WIFEXITED(*last));
  if (WEXITSTATUS(*last) != 0) deaths.push_back(*last);
  std::cout << deaths.size() << " deaths\n";
  EXPECT_LE(deaths.size(), static_cast<size_t>(kDeathsMax)) << daemon_.log();
  EXPECT_GE(deaths.size(), 3u);
  for (const int death : deaths) EXPECT_TRUE(WIFEXITED(death) && WEXITSTATUS(death) == 3) << death;
  EXPECT_TRUE(logged("daemon.device_lost"));
  ASSERT_TRUE(daemon_.start());
  expect_only_the_poison_job_is_quarantined();
  stop();
}

TEST_F(PoisonCrash, a_quarantined_job_that_is_submitted_again_runs_when_the_fault_is_mended) {
  submit("abort");
  live_through(kDeathsMax + 1);
  expect_only_the_poison_job_is_quarantined();
  stop();
  ASSERT_TRUE(daemon_.start());  // without the poison
  const auto answer = daemon_.client()->post("/v1/jobs", jobs_with_poison(poison_, "again"));
  ASSERT_TRUE(answer.ok() && answer->status == 202);
  while (n_messages() < 2 * kJobs) ::usleep(5000);
  stop();
}

TEST_F(PoisonCrash, kills_make_no_suspects) {
  submit("kill");
  constexpr int kKills = 6;  // below the 20 in a row that would count
  const std::vector<int> deaths = live_through(kKills);
  ASSERT_EQ(deaths.size(), static_cast<size_t>(kKills));
  for (const int death : deaths) EXPECT_TRUE(WIFSIGNALED(death) && WTERMSIG(death) == SIGKILL);
  EXPECT_TRUE(logged("death.found"));
  ASSERT_TRUE(daemon_.start());
  while (n_messages() < kJobs) ::usleep(5000);
  for (const auto& [job, outcome] : outcomes()) EXPECT_EQ(outcome, "completed") << "job " << job;
  EXPECT_FALSE(logged("job.runs_suspected"));
  stop();
}

TEST_F(PoisonCrash, an_orderly_stop_is_no_death) {
  poison_ = kJobs;  // none is
  submit("segv");
  while (!logged("job.started")) ::usleep(1000);
  stop();
  ASSERT_TRUE(daemon_.start());
  while (n_messages() < kJobs) ::usleep(5000);
  stop();
  EXPECT_FALSE(logged("death.found"));
}

}  // namespace
}  // namespace parkd::testing
