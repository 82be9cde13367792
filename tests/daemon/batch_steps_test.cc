// The steps that a daemon takes for a batch of a file, where something is in their way: a file that
// goes or rots, a queue that is full, a deadline, a death in between.
#include "daemon/batches/batch_steps.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <new>
#include <set>
#include <string>

#include "daemon/batches/file_batches.h"
#include "lib/store/folder/folder_files.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

std::string line(int i) {
  return R"({"custom_id":"c)" + std::to_string(i) +
         R"(","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}})" +
         "\n";
}

std::string lines(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += line(i);
  return text;
}

class BatchStepsTest : public ::testing::Test {
 protected:
  void open_store(const StoreOptions& options = {}) {
    store_ = make_memory_store(options, clock_);
    driver_ = std::make_unique<StoreDriver>(*store_);
    files_ = open_folder_files({directory_.path() + "/files", FileLimits()}, clock_).value();
    steps_ = std::make_unique<BatchSteps>(
        BatchSteps::Parts{config_, *store_, *store_, *files_, clock_, stopping_});
    (*models_)["m"].retention = hours(1);
  }
  void TearDown() override {
    if (files_ != nullptr) files_->stop();
    if (store_ != nullptr) store_->stop();
  }

  template <class T, class Verb>
  static T ask(Verb&& verb) {
    std::promise<Result<T>> promise;
    verb([&](Result<T> answer) { promise.set_value(std::move(answer)); });
    Result<T> answer = promise.get_future().get();
    EXPECT_TRUE(answer.ok()) << answer.status().to_string();
    return *std::move(answer);
  }
  std::string upload(const std::string& bytes, const std::string& tenant = "t") {
    const auto id = ask<std::string>([&](auto done) { files_->begin_upload(tenant, done); });
    for (size_t at = 0; at < bytes.size(); at += kFilePieceBytes) {
      ask<int64_t>([&](auto done) { files_->append(id, bytes.substr(at, kFilePieceBytes), done); });
    }
    FileSpec spec;
    spec.filename = "in.jsonl";
    return ask<StoredFile>([&](auto done) { files_->finish_upload(id, spec, done); }).id;
  }
  Batch open(const std::string& file, const std::string& retried_from = "") {
    BatchSpec spec;
    spec.tenant = "t";
    spec.deadline = clock_.now() + hours(24);
    spec.retention = hours(1);
    spec.file = FileBatchSpec{file, "/v1/chat/completions", "24h", retried_from, std::nullopt};
    return driver_->open_batch(spec)->batch;
  }
  Batch now(const Batch& batch) { return *driver_->get_batch(batch.id, ""); }
  // The next step of it, which goes well.
  Batch step(const Batch& batch) {
    const auto after = steps_->take(now(batch), models_);
    EXPECT_TRUE(after.ok()) << after.status().to_string();
    return after.ok() ? *after : batch;
  }
  // Checks its file, and submits its lines.
  Batch expand(const Batch& batch) {
    Batch at = step(batch);
    while (at.progress.stage == FileStage::expanding && !HasFailure()) at = step(batch);
    return at;
  }
  // A job that is none of the file's, under the key of one of its lines, or another.
  void submit_member(const Batch& batch, const std::string& line) {
    JobSpec job;
    job.tenant = "t";
    job.model = "m";
    job.body = "{}";
    job.batch_id = job.mailbox_key = batch.id;
    job.idempotency_key = batch.id + ":" + line;
    ASSERT_TRUE(driver_->submit({job}).ok());
  }
  // Submits what there is room for.
  void fill_queue(const Batch& batch) {
    for (;;) {
      const auto after = steps_->take(now(batch), models_);
      if (after.ok()) continue;
      EXPECT_EQ(after.status().code(), StatusCode::exhausted) << after.status().to_string();
      return;
    }
  }
  StatusCode refused_step(const Batch& batch) {
    return steps_->take(now(batch), models_).status().code();
  }
  void finish(const Job& job, bool well = true) {
    FinishItem item;
    item.id = job.id;
    item.lease = job.lease;
    if (well) {
      item.ending.body = "{}";
    } else {
      item.ending = ended_as("internal", "bad");
    }
    ASSERT_TRUE(driver_->finish({item}).ok());
  }
  // Runs all that waits; the custom_ids in the order in which they ended.
  std::vector<std::string> run_all(bool well = true) {
    std::vector<std::string> ids;
    for (;;) {
      const auto jobs = driver_->claim("m", 1000);
      if (jobs->empty()) return ids;
      for (const Job& job : *jobs) {
        finish(job, well);
        ids.push_back(job.spec.custom_id);
      }
    }
  }
  static std::multiset<std::string> expected_ids(int n) {
    std::multiset<std::string> ids;
    for (int i = 0; i < n; ++i) ids.insert("c" + std::to_string(i));
    return ids;
  }
  static std::multiset<std::string> sorted(const std::vector<std::string>& ids) {
    return {ids.begin(), ids.end()};
  }

  TempDir directory_;
  Config config_ = [] {
    Config config;
    config.queue.backend = StoreBackend::memory;
    return config;
  }();
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::atomic<bool> stopping_{false};
  std::shared_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
  std::shared_ptr<FileStore> files_;
  std::unique_ptr<BatchSteps> steps_;
  std::shared_ptr<ModelTable> models_ = std::make_shared<ModelTable>();
};

TEST_F(BatchStepsTest, a_full_queue_holds_up_the_rest_of_a_file_and_loses_none_of_it) {
  StoreOptions options;
  options.limits = {1500, 1500};
  open_store(options);
  const Batch batch = open(upload(lines(3500)));
  fill_queue(batch);
  EXPECT_EQ(now(batch).total, 1500) << "the queue is filled to its brim";
  const int64_t reached = now(batch).progress.reached;
  EXPECT_EQ(reached, static_cast<int64_t>(lines(1500).size()));
  EXPECT_EQ(refused_step(batch), StatusCode::exhausted);
  EXPECT_EQ(now(batch).progress.reached, reached);
  std::vector<std::string> ids;
  while (now(batch).progress.stage == FileStage::expanding) {
    for (std::string& id : run_all()) ids.push_back(std::move(id));
    (void)steps_->take(now(batch), models_);
  }
  for (std::string& id : run_all()) ids.push_back(std::move(id));
  EXPECT_EQ(sorted(ids), expected_ids(3500));
  const Batch ended = step(batch);
  EXPECT_EQ(ended.progress.stage, FileStage::ended);
  EXPECT_EQ(ended.progress.output.lines, 3500);
}

// Loses what it is told of how far a batch has come, as when the daemon dies before it is stored.
class Forgetful final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  void advance_batch(std::string, FileProgress, Completion<Batch> done) override {
    done(unavailable("dead"));
  }
};

TEST_F(BatchStepsTest, what_was_submitted_before_a_death_is_not_submitted_again) {
  open_store();
  const Batch batch = open(upload(lines(2500)));
  step(batch);
  Forgetful forgetful(store_);
  BatchSteps dying({config_, forgetful, forgetful, *files_, clock_, stopping_});
  EXPECT_EQ(dying.take(now(batch), models_).status().code(), StatusCode::unavailable);
  EXPECT_EQ(now(batch).total, 1000);
  EXPECT_EQ(now(batch).progress.reached, 0);
  const Batch late = now(batch);
  EXPECT_EQ(expand(batch).progress.stage, FileStage::running);
  EXPECT_EQ(now(batch).total, 2500);
  ASSERT_TRUE(steps_->take(late, models_).ok()) << "another daemon, which is late";
  EXPECT_EQ(now(batch).total, 2500);
  EXPECT_TRUE(now(batch).progress.faults.empty());
  EXPECT_EQ(sorted(run_all()), expected_ids(2500));
}

TEST_F(BatchStepsTest, a_file_that_is_gone_before_it_is_read_fails_the_batch) {
  open_store();
  const std::string file = upload(lines(3));
  const Batch batch = open(file);
  ask<StoredFile>([&](auto done) { files_->remove_file(file, "t", done); });
  const Batch failed = step(batch);
  EXPECT_EQ(failed.progress.stage, FileStage::failed);
  EXPECT_EQ(failed.progress.faults.at(0).code, "file_not_found");
  EXPECT_NE(failed.progress.faults.at(0).message.find(file), std::string::npos);
}

TEST_F(BatchStepsTest, a_file_that_goes_while_it_is_expanded_leaves_what_there_is_and_says_so) {
  StoreOptions options;
  options.limits = {1000, 1000};
  open_store(options);
  const std::string file = upload(lines(2500));
  const Batch batch = open(file);
  fill_queue(batch);
  ask<StoredFile>([&](auto done) { files_->remove_file(file, "t", done); });
  run_all();
  const Batch running = step(batch);
  EXPECT_EQ(running.progress.stage, FileStage::running);
  EXPECT_EQ(running.progress.faults.at(0).code, "file_not_found");
  EXPECT_EQ(running.total, 1000);
  const Batch ended = step(batch);
  EXPECT_EQ(ended.progress.output.lines, 1000);
  EXPECT_EQ(ended.progress.faults.size(), 1u);
}

TEST_F(BatchStepsTest, a_damaged_file_is_never_read_as_another) {
  open_store();
  const std::string file = upload(lines(3));
  const std::string path = directory_.path() + "/files/" + file;
  ASSERT_TRUE(fs::exists(path));
  std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(static_cast<std::streamoff>(lines(1).find("c0")));
  bytes.put('d');
  bytes.close();
  const Batch failed = step(open(file));
  EXPECT_EQ(failed.progress.stage, FileStage::failed);
  EXPECT_EQ(failed.progress.faults.at(0).code, "file_damaged");
}

TEST_F(BatchStepsTest, a_deadline_that_passes_while_it_is_expanded_ends_it) {
  StoreOptions options;
  options.limits = {1000, 1000};
  open_store(options);
  const Batch batch = open(upload(lines(2500)));
  fill_queue(batch);
  clock_.advance(hours(25));
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_EQ(step(batch).progress.stage, FileStage::running);
  const Batch ended = step(batch);
  EXPECT_EQ(ended.progress.stage, FileStage::ended);
  EXPECT_TRUE(ended.progress.faults.empty());
  EXPECT_EQ(ended.deadline_missed, 1000);
  EXPECT_EQ(ended.progress.errors.lines, 1000);
}

TEST_F(BatchStepsTest, a_batch_that_is_cancelled_while_it_is_read_gets_no_members) {
  open_store();
  const Batch batch = open(upload(lines(3)));
  const Batch validating = now(batch);
  ASSERT_TRUE(driver_->cancel_batch(batch.id, "t").ok());
  // The step began before the cancel.
  EXPECT_EQ(steps_->take(validating, models_)->progress.stage, FileStage::running);
  EXPECT_EQ(step(batch).progress.stage, FileStage::ended);
  EXPECT_EQ(now(batch).total, 0);
}

TEST_F(BatchStepsTest, a_bad_body_is_one_line_of_the_error_file) {
  open_store();
  std::string bad = line(1);
  bad.replace(bad.find("[]"), 2, "7");
  EXPECT_EQ(expand(open(upload(line(0) + bad + line(2)))).total, 3)
      << "it is submitted, and refused when its turn comes";
}

TEST_F(BatchStepsTest, a_retry_runs_what_failed_and_a_retry_of_it_what_failed_again) {
  open_store();
  const std::string file = upload(lines(5));
  const Batch first = open(file);
  expand(first);
  const auto jobs = driver_->claim("m", 5);
  for (const Job& job : *jobs) finish(job, job.spec.custom_id < "c2");
  step(first);
  const Batch second = open(file, first.id);
  const Batch expanding = step(second);
  EXPECT_EQ(expanding.progress.stage, FileStage::expanding);
  EXPECT_EQ(expanding.progress.lines, 3);
  EXPECT_EQ(expanding.progress.model, "m");
  expand(second);
  const auto again = driver_->claim("m", 5);
  ASSERT_EQ(again->size(), 3u);
  for (const Job& job : *again) finish(job, job.spec.custom_id != "c3");
  step(second);
  const Batch third = open(file, second.id);
  expand(third);
  EXPECT_EQ(run_all(), std::vector<std::string>{"c3"});
}

TEST_F(BatchStepsTest, a_retry_runs_what_was_never_queued_too) {
  StoreOptions options;
  options.limits = {500, 500};
  open_store(options);
  const std::string file = upload(lines(1200));
  const Batch first = open(file);
  fill_queue(first);
  EXPECT_EQ(run_all().size(), 500u);
  ASSERT_TRUE(driver_->cancel_batch(first.id, "t").ok());
  expand(first);
  EXPECT_EQ(step(first).progress.stage, FileStage::ended);
  const Batch second = open(file, first.id);
  EXPECT_EQ(step(second).progress.lines, 700);
  std::vector<std::string> ids;
  while (now(second).progress.stage == FileStage::expanding) {
    (void)steps_->take(now(second), models_);
    for (std::string& id : run_all()) ids.push_back(std::move(id));
  }
  std::multiset<std::string> expected = expected_ids(1200);
  for (int i = 0; i < 500; ++i) expected.erase("c" + std::to_string(i));
  EXPECT_EQ(sorted(ids), expected);
}

TEST_F(BatchStepsTest, a_retry_whose_results_go_meanwhile_says_so) {
  StoreOptions options;
  options.limits = {500, 500};
  open_store(options);
  const std::string file = upload(lines(1200));
  const Batch first = open(file);
  fill_queue(first);
  run_all();
  ASSERT_TRUE(driver_->cancel_batch(first.id, "t").ok());
  expand(first);
  Batch ended = step(first);
  const Batch second = open(file, first.id);
  fill_queue(second);
  ended.progress.output.deleted = ended.progress.errors.deleted = true;
  ended = *driver_->advance_batch(first.id, ended.progress);
  ASSERT_TRUE(steps_->drop_results(ended).ok());
  run_all();
  // Another process, which did not see them.
  steps_ = std::make_unique<BatchSteps>(
      BatchSteps::Parts{config_, *store_, *store_, *files_, clock_, stopping_});
  const Batch running = step(second);
  EXPECT_EQ(running.progress.stage, FileStage::running);
  EXPECT_EQ(running.progress.faults.at(0).code, "results_gone");
}

TEST_F(BatchStepsTest, a_batch_that_takes_no_more_needs_no_file) {
  StoreOptions options;
  options.limits = {500, 500};
  open_store(options);
  const std::string file = upload(lines(1200));
  const Batch batch = open(file);
  fill_queue(batch);
  ASSERT_TRUE(driver_->cancel_batch(batch.id, "t").ok());
  ask<StoredFile>([&](auto done) { files_->remove_file(file, "t", done); });
  const Batch running = step(batch);
  EXPECT_EQ(running.progress.stage, FileStage::running);
  EXPECT_TRUE(running.progress.faults.empty());
}

TEST_F(BatchStepsTest, a_line_whose_key_somebody_took_ends_the_expansion_aloud) {
  open_store();
  const Batch batch = open(upload(lines(3)));
  step(batch);
  submit_member(batch, "0");
  const Batch running = step(batch);
  EXPECT_EQ(running.progress.stage, FileStage::running);
  EXPECT_EQ(running.progress.faults.at(0).code, "line_not_queued");
}

TEST_F(BatchStepsTest, a_batch_that_the_store_calls_full_ends_its_expansion_aloud) {
  StoreOptions options;
  options.batch_jobs_max = 2;  // less than daemon.max_batch_jobs, as parkd.settings may have it
  open_store(options);
  const Batch batch = open(upload(lines(2)));
  step(batch);
  submit_member(batch, "another");
  const Batch running = step(batch);
  EXPECT_EQ(running.progress.stage, FileStage::running);
  const BatchFault& fault = running.progress.faults.at(0);
  EXPECT_EQ(fault.code, "line_not_queued");
  EXPECT_NE(fault.message.find("the limit is 2 a batch"), std::string::npos) << fault.message;
}

TEST_F(BatchStepsTest, a_retry_of_results_that_are_gone_fails) {
  open_store();
  const std::string file = upload(lines(2));
  const Batch first = open(file);
  expand(first);
  const auto jobs = driver_->claim("m", 2);
  finish(jobs->at(0));
  finish(jobs->at(1), false);
  step(first);
  clock_.advance(hours(26));
  const Batch failed = step(open(file, first.id));
  EXPECT_EQ(failed.progress.stage, FileStage::failed);
  EXPECT_EQ(failed.progress.faults.at(0).code, "results_gone");
}

TEST_F(BatchStepsTest, results_that_cannot_be_seen_are_waited_for_and_then_missed_aloud) {
  open_store();
  const Batch batch = open(upload(lines(2)));
  expand(batch);
  for (Job& job : *driver_->claim("m", 2)) finish(job);
  // As if another had hidden one: the count says three, two can be seen.
  Batch told = now(batch);
  told.total = 3;
  told.completed = 3;
  EXPECT_EQ(steps_->take(told, models_).status().code(), StatusCode::unavailable);
  clock_.advance(minutes(3));
  const auto ended = steps_->take(told, models_);
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->progress.faults.at(0).code, "results_damaged");
  EXPECT_EQ(ended->progress.output.lines, 2);
}

// Refuses a job by itself, as a store does whose database cannot hold its body.
class Picky final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i].custom_id == "c1" && jobs[i].body != "{}") {
        return done(invalid_param("jobs[" + std::to_string(i) + "].body", "not to be stored"));
      }
    }
    ForwardingStore::submit(std::move(jobs), std::move(done));
  }
};

TEST_F(BatchStepsTest, a_body_that_cannot_be_stored_sinks_no_other) {
  open_store();
  const Batch batch = open(upload(lines(3)));
  step(batch);
  Picky picky(store_);
  BatchSteps steps({config_, picky, picky, *files_, clock_, stopping_});
  ASSERT_TRUE(steps.take(now(batch), models_).ok());
  std::map<std::string, std::string> bodies;
  for (const Job& job : *driver_->claim("m", 5)) bodies[job.spec.custom_id] = job.spec.body;
  EXPECT_EQ(bodies.size(), 3u);
  EXPECT_EQ(bodies["c1"], "{}") << "it is refused when its turn comes";
  EXPECT_EQ(bodies["c0"], R"({"model":"m","messages":[]})");
}

TEST_F(BatchStepsTest, a_full_disk_gets_no_more_jobs) {
  open_store();
  const Batch batch = open(upload(lines(3)));
  step(batch);
  config_.queue.backend = StoreBackend::rocksdb;
  config_.queue.rocksdb_dir = directory_.path();
  config_.daemon.min_free_disk_mb = int64_t{1} << 40;
  EXPECT_EQ(refused_step(batch), StatusCode::exhausted);
  EXPECT_EQ(now(batch).total, 0);
  config_.daemon.min_free_disk_mb = 0;
  EXPECT_EQ(step(batch).total, 3);
}

// Fails in a way that no store should.
class Broken final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    if (jobs[0].tenant == "t") throw std::bad_alloc();
    ForwardingStore::submit(std::move(jobs), std::move(done));
  }
};

TEST_F(BatchStepsTest, what_a_step_throws_ends_neither_the_process_nor_other_batches) {
  open_store();
  open(upload(lines(3)));
  Broken broken(store_);
  SystemClock clock;
  FileBatches batches(config_, broken, *files_, clock);
  batches.set_models(models_);
  batches.start();
  BatchSpec spec;
  spec.tenant = "u";
  spec.file = FileBatchSpec{upload(lines(3), "u"), "/v1/chat/completions", "24h"};
  const std::string others = driver_->open_batch(spec)->batch.id;
  while (driver_->get_batch(others, "")->total < 3) ::usleep(1000);
  batches.begin_stop();
}

// With the thread that takes the steps.
TEST_F(BatchStepsTest, no_tenant_waits_behind_batches_that_the_queue_has_no_room_for) {
  StoreOptions options;
  options.limits = {1000, 500};
  open_store(options);
  const std::string file = upload(lines(600));
  for (int i = 0; i < 40; ++i) open(file);
  SystemClock clock;
  FileBatches batches(config_, *store_, *files_, clock);
  batches.set_models(models_);
  batches.start();
  const auto n_queued = [&] {
    int64_t n = 0;
    for (const Batch& batch : *driver_->list_batches({"t", "", 100})) n += batch.total;
    return n;
  };
  while (n_queued() < 500) ::usleep(1000);
  BatchSpec spec;
  spec.tenant = "u";
  spec.file = FileBatchSpec{upload(lines(3), "u"), "/v1/chat/completions", "24h"};
  const std::string others = driver_->open_batch(spec)->batch.id;
  while (driver_->get_batch(others, "")->progress.stage != FileStage::running) ::usleep(1000);
  EXPECT_EQ(driver_->get_batch(others, "")->total, 3);
  EXPECT_EQ(n_queued(), 500);
  // And who waited goes on when there is room.
  while (n_queued() < 40 * 600) run_all();
  batches.begin_stop();
}

}  // namespace
}  // namespace parkd
