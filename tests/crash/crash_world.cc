#include "tests/crash/crash_world.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "lib/base/clock.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;
using jobctl::find;
using jobctl::number_at;
using jobctl::text_at;

constexpr int kMailboxKeys = 3;
constexpr size_t kOpenJobsMax = 24;  // keeps a backlog without letting it grow without bound

DaemonSetup small_daemon() {
  DaemonSetup setup;
  setup.max_num_seqs = 2;
  setup.worker_threads = 2;
  setup.kv_units = 64;
  setup.drain_timeout_s = 1;
  return setup;
}

json::object some_job(std::mt19937_64& random, const std::string& key) {
  json::object body;
  body["messages"] = {{{"role", "user"}, {"content", "Job " + key}}};
  body["max_tokens"] = 200 + static_cast<int64_t>(random() % 600);
  body["seed"] = static_cast<int64_t>(random() % 1000);
  json::object job;
  job["model"] = "tiny";
  job["body"] = std::move(body);
  job["idempotency_key"] = key;
  job["custom_id"] = key;
  job["mailbox_key"] = "crash-" + std::to_string(random() % kMailboxKeys);
  const char* priorities[] = {"high", "normal", "low"};
  job["priority"] = priorities[random() % 3];
  if (random() % 12 == 0) {
    // So soon that the queue usually does not reach it: purge ends it as deadline_missed.
    SystemClock clock;
    job["deadline"] = to_rfc3339(clock.now() + std::chrono::milliseconds(400));
    job["priority"] = "low";
  }
  return job;
}

}  // namespace

CrashWorld::CrashWorld(uint64_t seed) : seed_(seed), daemon_(small_daemon()) {}

CrashWorld::~CrashWorld() {
  stop_clients();
}

void CrashWorld::start_clients(int n_clients) {
  stopping_ = false;
  for (int i = 0; i < n_clients; ++i) {
    clients_.emplace_back(Thread::Options{"client", 0}, [this, i] { run_client(i); });
  }
}

void CrashWorld::stop_clients() {
  stopping_ = true;
  clients_.clear();
}

void CrashWorld::run_client(int number) {
  std::mt19937_64 random(seed_ * 1000 + static_cast<uint64_t>(number));
  const auto client = daemon_.client();
  for (int round = 0; !stopping_; ++round) {
    if (read_load(*client) && running_ + waiting_ < int64_t{kOpenJobsMax}) {
      submit_until_acknowledged(*client, random, number);
      if (round % 4 == 0) cancel_newest(*client);
    } else {
      ::usleep(3000);
    }
  }
}

void CrashWorld::submit_until_acknowledged(jobctl::HttpClient& client, std::mt19937_64& random,
                                           int number) {
  json::array jobs;
  std::vector<std::string> keys;
  const size_t n_jobs = 1 + random() % 4;
  for (size_t i = 0; i < n_jobs; ++i) {
    keys.push_back("c" + std::to_string(number) + "-" + std::to_string(random()));
    jobs.push_back(some_job(random, keys.back()));
  }
  const json::value request = json::object{{"jobs", jobs}};
  while (!stopping_) {
    const auto answer = client.post("/v1/jobs", request);
    if (answer.ok() && answer->status == 202) {
      const auto& given = find(answer->json, "jobs")->get_array();
      const std::lock_guard lock(mutex_);
      for (size_t i = 0; i < keys.size(); ++i) {
        acknowledged_[keys[i]] = {static_cast<uint64_t>(number_at(given[i], "id")),
                                  text_at(given[i], "mailbox_key")};
      }
      return;
    }
    // A deadline may have passed while the daemon was away: then nothing was accepted, ever, or the
    // repeat would have been answered by its idempotency key.
    if (answer.ok() && answer->status == 400) return;
    if (answer.ok() && answer->status < 500) {
      ADD_FAILURE() << keys.front() << " is refused: " << answer->text;
      return;
    }
    if (!answer.ok()) ++in_doubt_;
    ::usleep(5000);
  }
}

void CrashWorld::cancel_newest(jobctl::HttpClient& client) {
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, job] : acknowledged_) id = std::max(id, job.id);
  }
  // Whatever the answer, and also when none comes: the oracle only counts messages.
  (void)client.post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object());
}

bool CrashWorld::read_load(jobctl::HttpClient& client) {
  const auto pool = client.get("/v1/pool");
  if (!pool.ok() || pool->status != 200) return false;
  const auto& models = find(pool->json, "models")->get_array();
  if (models.empty()) return false;  // it has only just started
  const auto& model = models.front();
  running_ = number_at(model, "running");
  const auto queued = client.get("/v1/jobs?state=queued&limit=100");
  if (!queued.ok() || queued->status != 200) return false;
  waiting_ = number_at(model, "parked") +
             static_cast<int64_t>(find(queued->json, "jobs")->get_array().size());
  return true;
}

bool CrashWorld::wait_for_load() {
  const auto client = daemon_.client();
  return daemon_.wait_until([&] { return read_load(*client) && running_ > 0 && waiting_ > 0; });
}

Load CrashWorld::last_load() const {
  return {running_, waiting_};
}

std::map<std::string, Acknowledged> CrashWorld::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return acknowledged_;
}

size_t CrashWorld::n_acknowledged() const {
  return acknowledged().size();
}

bool CrashWorld::read_new_messages(jobctl::HttpClient& client) {
  for (int key = 0; key < kMailboxKeys; ++key) {
    std::string& cursor = cursors_[key];
    for (;;) {
      const auto page = client.get("/v1/mailbox/crash-" + std::to_string(key) + "?limit=1000" +
                                   (cursor.empty() ? "" : "&cursor=" + cursor));
      if (!page.ok() || page->status != 200) return false;
      const auto& messages = find(page->json, "messages")->get_array();
      for (const auto& message : messages) {
        ++messages_[static_cast<uint64_t>(number_at(message, "id"))];
      }
      if (messages.empty()) break;
      cursor = text_at(page->json, "next_cursor");
    }
  }
  return true;
}

void CrashWorld::check_after_restart() {
  const auto client = daemon_.client();
  // In this order: a job that had finished before the messages were read must have one there; one
  // that is live after they were read must not. A job that was seen to be settled stays so, or its
  // second message turns up under a later cursor.
  std::vector<uint64_t> open;
  for (const auto& [key, job] : acknowledged()) {
    if (settled_.count(job.id) == 0) open.push_back(job.id);
  }
  std::set<uint64_t> finished_before;
  for (const uint64_t id : open) {
    const auto answer = client->get("/v1/jobs/" + std::to_string(id));
    ASSERT_TRUE(answer.ok()) << answer.status().to_string();
    ASSERT_EQ(answer->status, 200) << "I5: acknowledged job " << id << " is gone: " << answer->text;
    if (find(answer->json, "outcome") != nullptr) finished_before.insert(id);
  }
  ASSERT_TRUE(read_new_messages(*client)) << "the mailbox cannot be read";
  for (const auto& [id, count] : messages_) EXPECT_EQ(count, 1) << "I1: job " << id;
  for (const uint64_t id : finished_before) {
    EXPECT_EQ(messages_.count(id), 1u) << "I1: finished job " << id << " has no message";
  }
  for (const uint64_t id : open) {
    if (messages_.count(id) == 0) continue;
    const auto answer = client->get("/v1/jobs/" + std::to_string(id));
    ASSERT_TRUE(answer.ok());
    EXPECT_NE(find(answer->json, "outcome"), nullptr) << "I1: live job " << id << " has a message";
    settled_.insert(id);
  }
}

void CrashWorld::check_at_the_end() {
  const auto client = daemon_.client();
  const auto jobs = acknowledged();
  for (const auto& [key, job] : jobs) {
    while (settled_.count(job.id) == 0) {
      const auto answer = client->get("/v1/jobs/" + std::to_string(job.id));
      ASSERT_TRUE(answer.ok()) << answer.status().to_string();
      ASSERT_EQ(answer->status, 200) << "acknowledged job " << job.id << " is gone";
      if (find(answer->json, "outcome") != nullptr) break;
      ::usleep(5000);
    }
  }
  cursors_.clear();  // once more from the start: what was there must still be there
  messages_.clear();
  ASSERT_TRUE(read_new_messages(*client)) << "the mailbox cannot be read";
  for (const auto& [key, job] : jobs) {
    EXPECT_EQ(messages_[job.id], 1) << "messages of job " << job.id << " (" << key << ")";
  }
  // Jobs that were accepted while the acknowledgement was lost may still be running.
  for (;;) {
    ASSERT_TRUE(read_load(*client));
    if (running_ == 0 && waiting_ == 0) break;
    ::usleep(5000);
  }
  const auto pool = client->get("/v1/pool");
  ASSERT_TRUE(pool.ok());
  const auto& model = find(pool->json, "models")->get_array().at(0);
  EXPECT_EQ(number_at(model, "in_use_units"), 0) << "I8";
  EXPECT_EQ(number_at(model, "parked"), 0) << "I8";
}

}  // namespace parkd::testing
