// No memory, in the middle of anything that the embedded store does: the verb is refused, the
// others are answered, nothing is lost or doubled, and the process lives. For every verb, the n-th
// allocation of our own code on the store's threads fails, for n from 0 until the verb passes
// (behind the first ones a sample, whose seed is printed; PARKD_LONG=1 takes each).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lib/store/rocksdb/rocksdb_testing.h"
#include "tests/store/failing_new.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using testing::FailingNew;

constexpr int64_t kQueuedMax = 12;

class OutOfMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    open();
    bystander_ = submit_one("bystander");
    claimed_bystander_ = claim(1).at(0);
    submit_one("queued bystander");
  }
  void TearDown() override {
    (void)FailingNew::disarm();
    close();
  }

  void open() { open(clock_); }
  void open(Clock& clock) {
    RocksDbStoreOptions options;
    options.dir = temp_.path() + "/queue";
    options.store.limits.queued_max = kQueuedMax;
    options.store.limits.queued_per_tenant_max = kQueuedMax;
    RocksDbTesting testing;
    testing.sync_commits = false;  // only the time of it
    auto opened = open_rocksdb_store_for_test(options, testing, clock);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
  }
  void close() {
    driver_.reset();
    store_.reset();
  }

  JobSpec spec(std::string name) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = "box";
    spec.custom_id = std::move(name);
    spec.idempotency_key = spec.custom_id;
    spec.body = "a body that does not fit into the string itself " + spec.custom_id;
    return spec;
  }
  std::string fresh_name() { return "job of a long enough name " + std::to_string(n_names_++); }
  JobId submit_one(std::string name) {
    const auto submitted = driver_->submit({spec(std::move(name))});
    EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
    return submitted->at(0).id;
  }
  std::vector<Job> claim(int32_t n) {
    auto jobs = driver_->claim("m", n);
    EXPECT_TRUE(jobs.ok()) << jobs.status().to_string();
    return *std::move(jobs);
  }
  FinishItem ending_of(const Job& job, Outcome outcome) {
    FinishItem item{job.id, job.lease, {}};
    item.ending.outcome = outcome;
    if (outcome != Outcome::completed) item.ending.error_code = "run_timeout";
    item.ending.body = "{\"answer\": \"that does not fit into the string itself\"}";
    return item;
  }
  std::vector<Message> messages() {
    FetchRequest request;
    request.tenant = "default";
    request.mailbox_key = "box";
    request.limit = 10'000;
    auto page = driver_->fetch(request);
    EXPECT_TRUE(page.ok()) << page.status().to_string();
    return std::move(page->messages);
  }

  // What readers and counters say of the store; the claims of a closed one are waiting again.
  std::string account(bool claims_are_gone) {
    std::string text;
    std::map<std::string, int64_t> by_state;
    ListFilter all;
    all.limit = 10'000;
    const auto live = driver_->list(all);
    EXPECT_TRUE(live.ok()) << live.status().to_string();
    for (const Job& job : *live) {
      const bool waits = claims_are_gone || job.state != JobState::claimed;
      ++by_state[std::string(to_string(job.state))];
      text += std::to_string(job.id) + (waits ? " waits\n" : " is claimed\n");
    }
    const auto stats = driver_->stats();
    EXPECT_TRUE(stats->healthy) << stats->health_error;
    int64_t queued = 0;
    int64_t claimed = 0;
    for (const ModelDepth& depth : stats->models) {
      queued += depth.queued;
      claimed += depth.claimed;
    }
    EXPECT_EQ(queued, by_state["queued"]);
    EXPECT_EQ(claimed, by_state["claimed"]);
    const std::vector<Message> found = messages();
    EXPECT_EQ(stats->messages, static_cast<int64_t>(found.size()));
    for (const Message& message : found) {
      text += std::to_string(message.sequence) + ": " + message.custom_id + "\n";
    }
    const auto batches = driver_->list_batches({});
    EXPECT_TRUE(batches.ok()) << batches.status().to_string();
    for (const Batch& batch : *batches) {
      text += batch.id + ": " + std::to_string(batch.total) + ", " + std::to_string(batch.ended());
      text += (batch.sealed_at ? ", sealed\n" : "\n");
    }
    return text;
  }

  // Nothing is left but the two bystanders, and how many more jobs fit says the accounts.
  void expect_same_as_a_fresh_open() {
    const std::string before = account(true);
    close();
    open();
    EXPECT_EQ(account(true), before);
    const auto held = claim(2);
    ASSERT_EQ(held.size(), 2u);
    claimed_bystander_ = held[0].spec.custom_id == "bystander" ? held[0] : held[1];
    const Job& other = held[0].spec.custom_id == "bystander" ? held[1] : held[0];
    ASSERT_TRUE(driver_->release({{other.id, other.lease, false, std::nullopt}}).ok());
  }
  void expect_full_at_the_limit() {
    for (int64_t n = 1; n < kQueuedMax; ++n) {
      const auto submitted = driver_->submit({spec(fresh_name())});
      ASSERT_TRUE(submitted.ok()) << "an account keeps what is gone: "
                                  << submitted.status().message();
    }
    EXPECT_EQ(driver_->submit({spec(fresh_name())}).status().code(), StatusCode::exhausted)
        << "an account has forgotten somebody";
  }

  // `verb` is called, again while it is refused; `prepare` before each round, `check` behind it.
  // Both without faults.
  struct Round {
    std::function<void()> prepare;
    std::function<Status()> verb;
    std::function<void()> check;
  };
  void walk(const Round& round) {
    const uint64_t seed = std::random_device()();
    std::cout << "seed " << seed << "\n";
    std::mt19937_64 random(seed);
    const bool is_long = std::getenv("PARKD_LONG") != nullptr;
    size_t n_rounds = 0;
    size_t n_refused = 0;
    for (size_t n = 0;; n += is_long || n < 16 ? 1 : 1 + random() % 8) {
      SCOPED_TRACE("allocation " + std::to_string(n));
      if (round.prepare) round.prepare();
      FailingNew::arm(n, random() % 8 == 0 ? 4 : 1);
      Status status = round.verb();
      const size_t n_failed = FailingNew::disarm();
      for (int tries = 0; !status.ok(); ++tries) {
        ++n_refused;
        ASSERT_EQ(status.code(), StatusCode::unavailable) << status.to_string();
        ASSERT_LT(tries, 1000) << "it does not recover";
        std::this_thread::sleep_for(std::chrono::milliseconds(tries == 0 ? 0 : 5));
        status = round.verb();
      }
      round.check();
      (void)account(false);
      drain();
      if (random() % 16 == 0 || n_failed == 0) expect_same_as_a_fresh_open();
      if (HasFailure()) return;
      ++n_rounds;
      if (n_failed == 0) break;
    }
    std::cout << n_rounds << " rounds, " << n_refused << " refusals\n";
    EXPECT_GT(n_rounds, 5u) << "it allocates nothing?";
    EXPECT_GT(n_refused, 0u);
    ASSERT_TRUE(driver_->finish({ending_of(claimed_bystander_, Outcome::completed)}).value() ==
                std::vector{FinishAnswer::finished_now})
        << "its claim is lost";
    expect_full_at_the_limit();
  }
  // All but the bystanders ends, and all messages are taken.
  void drain() {
    ListFilter all;
    all.limit = 10'000;
    for (const Job& job : driver_->list(all).value()) {
      if (job.spec.custom_id.find("bystander") != std::string::npos) continue;
      if (job.state != JobState::claimed) {
        EXPECT_TRUE(driver_->cancel(job.id, "").ok());
        continue;
      }
      const auto answers = driver_->finish({ending_of(job, Outcome::completed)});
      ASSERT_TRUE(answers.ok()) << answers.status().to_string();
      EXPECT_EQ(answers->at(0), FinishAnswer::finished_now);
    }
    std::vector<uint64_t> sequences;
    std::map<JobId, int> n_of_job;
    for (const Message& message : messages()) {
      sequences.push_back(message.sequence);
      EXPECT_EQ(++n_of_job[message.job_id], 1) << message.custom_id << " ended twice";
    }
    const auto taken = driver_->take("default", "box", sequences);
    ASSERT_TRUE(taken.ok()) << taken.status().to_string();
    EXPECT_EQ(taken->size(), sequences.size());
  }
  int n_messages_of(JobId id) {
    int n = 0;
    for (const Message& message : messages()) n += message.job_id == id;
    return n;
  }
  bool is_live(JobId id) {
    const auto found = driver_->get(id, "");
    return found.ok() && std::holds_alternative<Job>(*found);
  }

  TempDir temp_;
  SystemClock clock_;
  ManualClock still_{clock_.now()};
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
  JobId bystander_ = 0;
  Job claimed_bystander_;
  int n_names_ = 0;
};

TEST_F(OutOfMemory, submit) {
  std::vector<JobSpec> specs;
  std::set<JobId> ids;
  walk({.prepare =
            [&] {
              specs = {spec(fresh_name()), spec(fresh_name())};
            },
        .verb =
            [&] {
              const auto submitted = driver_->submit(specs);
              if (!submitted.ok()) return submitted.status();
              ids.clear();
              for (const SubmittedJob& job : *submitted) ids.insert(job.id);
              return Status();
            },
        .check =
            [&] {
              EXPECT_EQ(ids.size(), 2u);
              for (const JobId id : ids) EXPECT_TRUE(is_live(id)) << id;
            }});
}

TEST_F(OutOfMemory, claim) {
  std::set<JobId> claimed;
  walk({.prepare =
            [&] {
              claimed.clear();
              submit_one(fresh_name());
              submit_one(fresh_name());
            },
        .verb =
            [&] {
              const auto jobs = driver_->claim("m", 3);
              if (!jobs.ok()) return jobs.status();
              std::vector<ReleaseItem> back;
              for (const Job& job : *jobs) {
                EXPECT_TRUE(claimed.insert(job.id).second);
                if (job.spec.custom_id == "queued bystander") {
                  back.push_back({job.id, job.lease, false, std::nullopt});
                }
              }
              (void)FailingNew::disarm();
              EXPECT_TRUE(driver_->release(back).ok());
              return Status();
            },
        .check = [&] { EXPECT_EQ(claimed.size(), 3u); }});
}

TEST_F(OutOfMemory, finish) {
  std::vector<Job> jobs;
  walk({.prepare =
            [&] {
              jobs = {};
              const JobId first = submit_one(fresh_name());
              submit_one(fresh_name());
              for (Job& job : claim(3)) {
                if (job.id >= first) {
                  jobs.push_back(std::move(job));
                } else {
                  ASSERT_TRUE(driver_->release({{job.id, job.lease, false, std::nullopt}}).ok());
                }
              }
              ASSERT_EQ(jobs.size(), 2u);
            },
        .verb =
            [&] {
              return driver_
                  ->finish(
                      {ending_of(jobs[0], Outcome::completed), ending_of(jobs[1], Outcome::failed)})
                  .status();
            },
        .check =
            [&] {
              for (const Job& job : jobs) EXPECT_EQ(n_messages_of(job.id), 1);
            }});
}

TEST_F(OutOfMemory, release) {
  std::vector<Job> jobs;
  walk({.prepare =
            [&] {
              submit_one(fresh_name());
              submit_one(fresh_name());
              jobs = claim(3);
              ASSERT_EQ(jobs.size(), 3u);
              ASSERT_TRUE(driver_->cancel(jobs[2].id, "").ok());
              if (jobs[2].spec.custom_id == "queued bystander") FAIL() << "the oldest comes first";
            },
        .verb =
            [&] {
              const auto later = clock_.now() + std::chrono::hours(1);
              return driver_
                  ->release({{jobs[0].id, jobs[0].lease, false, std::nullopt},
                             {jobs[1].id, jobs[1].lease, true, later},
                             {jobs[2].id, jobs[2].lease, false, std::nullopt}})
                  .status();
            },
        .check =
            [&] {
              EXPECT_EQ(std::get<Job>(*driver_->get(jobs[0].id, "")).state, JobState::queued);
              EXPECT_EQ(std::get<Job>(*driver_->get(jobs[1].id, "")).state, JobState::scheduled);
              EXPECT_EQ(std::get<Job>(*driver_->get(jobs[1].id, "")).attempts, 1);
              EXPECT_EQ(n_messages_of(jobs[2].id), 1);
            }});
}

TEST_F(OutOfMemory, cancel_of_one_that_waits) {
  JobId id = 0;
  walk({.prepare = [&] { id = submit_one(fresh_name()); },
        .verb = [&] { return driver_->cancel(id, "").status(); },
        .check = [&] { EXPECT_EQ(n_messages_of(id), 1); }});
}

TEST_F(OutOfMemory, note_deaths) {
  Job job;
  walk({.prepare =
            [&] {
              const JobId id = submit_one(fresh_name());
              for (Job& one : claim(2)) {
                if (one.id == id) {
                  job = one;
                } else {
                  ASSERT_TRUE(driver_->release({{one.id, one.lease, false, std::nullopt}}).ok());
                }
              }
            },
        .verb =
            [&] {
              return driver_->note_deaths({.noted = true, .present = {{job.id, job.lease}}})
                  .status();
            },
        .check = [&] { EXPECT_EQ(is_live(job.id) + n_messages_of(job.id), 1); }});
}

TEST_F(OutOfMemory, take) {
  JobId id = 0;
  std::set<JobId> taken;
  std::vector<uint64_t> sequences;
  walk({.prepare =
            [&] {
              id = submit_one(fresh_name());
              ASSERT_TRUE(driver_->cancel(id, "").ok());
              taken.clear();
              sequences.clear();
              for (const Message& message : messages()) sequences.push_back(message.sequence);
              ASSERT_EQ(sequences.size(), 1u);
            },
        .verb =
            [&] {
              const auto answer = driver_->take("default", "box", sequences);
              if (!answer.ok()) return answer.status();
              for (const Message& message : *answer)
                EXPECT_TRUE(taken.insert(message.job_id).second);
              return Status();
            },
        .check = [&] { EXPECT_EQ(taken, std::set{id}); }});
}

TEST_F(OutOfMemory, requeue) {
  JobId old_id = 0;
  JobId new_id = 0;
  walk({.prepare =
            [&] {
              old_id = submit_one(fresh_name());
              ASSERT_TRUE(driver_->cancel(old_id, "").ok());
            },
        .verb =
            [&] {
              RequeueRequest request;
              request.ids = {old_id};
              const auto answer = driver_->requeue(request);
              if (!answer.ok()) return answer.status();
              new_id = answer->at(0).id;
              return Status();
            },
        .check =
            [&] {
              EXPECT_TRUE(is_live(new_id));
              int n_live = 0;
              for (const Job& job : driver_->list({}).value())
                n_live += job.requeued_from == old_id;
              EXPECT_EQ(n_live, 1);
            }});
}

TEST_F(OutOfMemory, requeue_of_many_small_jobs_asks_for_little) {
  constexpr int32_t kJobs = 9;
  std::vector<FinishItem> failed;
  for (int32_t i = 0; i < kJobs; ++i) submit_one(fresh_name());
  for (const Job& job : claim(kJobs + 1)) failed.push_back(ending_of(job, Outcome::failed));
  ASSERT_TRUE(driver_->finish(failed).ok());
  RequeueRequest request;
  request.tenant = "default";
  request.error_codes = {"run_timeout"};
  // Every write wants 4 MiB to be there; these jobs want little beside.
  FailingNew::arm(0, FailingNew::kEndless, size_t{5} << 20);
  const auto answer = driver_->requeue(request);
  EXPECT_EQ(FailingNew::disarm(), 0u);
  ASSERT_TRUE(answer.ok()) << answer.status().to_string();
  EXPECT_EQ(answer->size(), failed.size());
}

TEST_F(OutOfMemory, batches) {
  std::string id;
  BatchSpec batch;
  JobSpec member;
  walk({.prepare =
            [&] {
              id.clear();
              batch.name = fresh_name();
              batch.idempotency_key = batch.name;
              batch.deadline = clock_.now() + std::chrono::hours(1);
              member = spec(fresh_name());
            },
        .verb =
            [&] {
              if (id.empty()) {
                const auto opened = driver_->open_batch(batch);
                if (!opened.ok()) return opened.status();
                id = opened->batch.id;
              }
              member.batch_id = id;
              if (const auto submitted = driver_->submit({member}); !submitted.ok()) {
                return submitted.status();
              }
              if (const auto sealed = driver_->seal_batch(id, ""); !sealed.ok()) {
                return sealed.status();
              }
              return driver_->cancel_batch(id, "").status();
            },
        .check =
            [&] {
              const auto found = driver_->get_batch(id, "");
              ASSERT_TRUE(found.ok());
              EXPECT_EQ(found->total, 1);
              EXPECT_EQ(found->cancelled, 1);
            }});
}

TEST_F(OutOfMemory, purge) {
  JobId id = 0;
  walk({.prepare =
            [&] {
              JobSpec late = spec(fresh_name());
              const WallTime deadline = clock_.now() + std::chrono::milliseconds(20);
              late.deadline = deadline;
              id = driver_->submit({late}).value().at(0).id;
              while (clock_.now() <= deadline) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
              }
            },
        .verb = [&] { return driver_->purge().status(); },
        .check = [&] { EXPECT_EQ(n_messages_of(id), 1); }});
}

TEST_F(OutOfMemory, readers) {
  JobId past = 0;
  walk({.prepare =
            [&] {
              past = submit_one(fresh_name());
              ASSERT_TRUE(driver_->cancel(past, "").ok());
            },
        .verb =
            [&] {
              FetchRequest request;
              request.tenant = "default";
              request.mailbox_key = "box";
              for (const Status& status :
                   {driver_->get(past, "").status(), driver_->get(bystander_, "").status(),
                    driver_->list({}).status(), driver_->fetch(request).status(),
                    driver_->list_batches({}).status(), driver_->stats().status()}) {
                if (!status.ok()) return status;
              }
              return Status();
            },
        .check = [&] { EXPECT_EQ(n_messages_of(past), 1); }});
}

// What is large is where memory really ends: that request is refused, and the store is not torn.
TEST_F(OutOfMemory, a_large_body_is_refused_and_nobody_else) {
  constexpr size_t kBytes = size_t{1} << 20;
  JobSpec large = spec(fresh_name());
  large.body = std::string(kBytes, 'x');
  FailingNew::arm(0, FailingNew::kEndless, kBytes);
  const auto refused = driver_->submit({large});
  EXPECT_EQ(refused.status().code(), StatusCode::unavailable) << refused.status().to_string();
  EXPECT_EQ(refused.status().message(), "out of memory");
  EXPECT_TRUE(driver_->stats()->healthy);
  EXPECT_GT(FailingNew::disarm(), 0u);
  const auto id = driver_->submit({large}).value().at(0).id;

  FailingNew::arm(0, FailingNew::kEndless, kBytes);
  EXPECT_EQ(driver_->get(id, "").status().code(), StatusCode::unavailable);
  EXPECT_TRUE(driver_->get(bystander_, "").ok());
  (void)FailingNew::disarm();
  EXPECT_TRUE(driver_->get(id, "").ok());
}

// While no memory at all is there: torn, unanswered; then as if nothing had been.
TEST_F(OutOfMemory, a_store_that_cannot_read_its_rows_says_so_and_tries_again) {
  ManualClock& still = still_;
  close();
  open(still);
  const std::string before = account(false);
  const JobSpec one = spec(fresh_name());
  FailingNew::arm(0, FailingNew::kEndless);
  EXPECT_EQ(driver_->claim("m", 1).status().message(), "out of memory");
  EXPECT_EQ(driver_->get(bystander_, "").status().message(), "out of memory");
  (void)FailingNew::disarm();

  const auto stats = driver_->stats();
  EXPECT_FALSE(stats->healthy);
  ASSERT_EQ(stats->notices.size(), 1u);
  EXPECT_NE(stats->notices[0].text.find("out of memory in the middle of a change"),
            std::string::npos)
      << stats->notices[0].text;
  EXPECT_EQ(driver_->get(bystander_, "").status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->submit({one}).status().code(), StatusCode::unavailable);
  still.advance(std::chrono::seconds(2));
  EXPECT_TRUE(driver_->submit({one}).ok());
  EXPECT_TRUE(driver_->stats()->healthy);
  drain();
  EXPECT_EQ(account(false), before);
}

}  // namespace
}  // namespace parkd
