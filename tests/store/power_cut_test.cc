// I1, I3 and I5 across power cuts and full disks, on the file system that forgets what was not
// synced.
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "lib/store/rocksdb/rocksdb_testing.h"
#include "tests/store/power_cut_fs.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using std::chrono::seconds;

// A store on a machine whose power can be cut.
class Machine {
 public:
  explicit Machine(bool sync_commits = true) : sync_commits_(sync_commits) { boot(); }
  ~Machine() { halt(); }

  void boot() {
    fs_ = std::make_shared<PowerCutFs>(temp_.path() + "/held");
    env_ = rocksdb::NewCompositeEnv(fs_);
    RocksDbStoreOptions options;
    options.dir = temp_.path() + "/queue";
    Result<std::unique_ptr<JobStore>> opened =
        open_rocksdb_store_for_test(options, {env_.get(), sync_commits_}, clock_);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
  }
  void halt() {
    driver_.reset();
    store_.reset();
    env_.reset();
    fs_.reset();
  }
  // The side mark as an earlier moment left it on the disk, or not at all: nobody syncs it.
  void age_mark(std::mt19937_64& random) {
    const std::string mark = temp_.path() + "/queue/SYNCED", old = temp_.path() + "/old-mark";
    const auto choice = random() % 4;
    if (choice == 0) std::filesystem::remove(mark);
    if (choice == 1 && std::filesystem::exists(old)) {
      std::filesystem::copy_file(old, mark, std::filesystem::copy_options::overwrite_existing);
    }
    if (choice == 2) std::filesystem::resize_file(mark, 0);
  }
  void remember_mark() {
    std::filesystem::copy_file(temp_.path() + "/queue/SYNCED", temp_.path() + "/old-mark",
                               std::filesystem::copy_options::overwrite_existing);
  }
  void cut_power() {
    fs_->cut();
    halt();
  }

  StoreDriver& driver() { return *driver_; }
  PowerCutFs& fs() { return *fs_; }
  ManualClock& clock() { return clock_; }

 private:
  const bool sync_commits_;
  TempDir temp_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::shared_ptr<PowerCutFs> fs_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
};

JobSpec spec_of(const std::string& key, size_t body_bytes = 20) {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = key;
  spec.body = std::string(body_bytes, 'x');
  return spec;
}

Ending ending_of(const std::string& body) {
  Ending ending;
  ending.body = body;
  return ending;
}

TEST(PowerCut, an_acknowledged_submit_survives) {
  Machine machine;
  const auto submitted = machine.driver().submit({spec_of("a")});
  ASSERT_TRUE(submitted.ok());
  machine.cut_power();
  machine.boot();
  const auto record = machine.driver().get(submitted->at(0).id, "");
  EXPECT_TRUE(std::holds_alternative<Job>(*record));
}

TEST(PowerCut, an_acknowledged_finish_survives_as_one_message) {
  Machine machine;
  ASSERT_TRUE(machine.driver().submit({spec_of("a")}).ok());
  const auto jobs = machine.driver().claim("m", 1);
  const FinishItem item{jobs->at(0).id, jobs->at(0).lease, ending_of("done")};
  ASSERT_EQ(machine.driver().finish({item})->at(0), FinishAnswer::finished_now);
  machine.cut_power();
  machine.boot();
  EXPECT_TRUE(machine.driver().claim("m", 1)->empty());
  EXPECT_EQ(machine.driver().finish({item})->at(0), FinishAnswer::already_by_this_lease);
  const auto box = machine.driver().fetch({"default", "a", 0, 10});
  ASSERT_EQ(box->messages.size(), 1u);
  EXPECT_EQ(box->messages[0].ending.body, "done");
}

TEST(PowerCut, without_syncs_an_acknowledged_submit_is_lost_and_this_test_sees_it) {
  Machine machine(false);
  const auto submitted = machine.driver().submit({spec_of("a")});
  ASSERT_TRUE(submitted.ok());
  machine.cut_power();
  machine.boot();
  const auto record = machine.driver().get(submitted->at(0).id, "");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(*record));
}

// What the submitting and the finishing side were told.
struct Told {
  std::map<std::string, JobId> submitted;       // mailbox key -> id
  std::map<std::string, std::string> finished;  // mailbox key -> body
  std::set<std::string> taken;
  std::set<std::string> maybe_taken;  // the power went while it was taken
};

// Runs verbs until the power goes.
void work(Machine& machine, std::mt19937_64& random, int& n_keys, Told& told) {
  StoreDriver& driver = machine.driver();
  while (!machine.fs().is_cut()) {
    std::vector<JobSpec> specs;
    const size_t n_specs = 1 + random() % 4;
    for (size_t i = 0; i < n_specs; ++i) {
      // Some bodies are large, so that flushes and compactions are cut through too.
      specs.push_back(spec_of("k" + std::to_string(n_keys++), random() % 4 == 0 ? 1u << 20 : 100));
    }
    const std::vector<JobSpec> given = specs;
    const auto submitted = driver.submit(std::move(specs));
    for (size_t i = 0; submitted.ok() && i < given.size(); ++i) {
      told.submitted[given[i].mailbox_key] = submitted->at(i).id;
    }
    const auto jobs = driver.claim("m", static_cast<int32_t>(1 + random() % 4));
    if (!jobs.ok()) continue;
    std::vector<FinishItem> items;
    std::vector<std::string> keys;
    for (const Job& job : *jobs) {
      if (random() % 5 == 0) continue;  // stays claimed
      keys.push_back(job.spec.mailbox_key);
      items.push_back({job.id, job.lease, ending_of("body of " + keys.back())});
    }
    if (driver.finish(items).ok()) {
      for (const std::string& key : keys) told.finished[key] = "body of " + key;
    }
    if (!told.finished.empty() && random() % 3 == 0) {
      auto entry = told.finished.begin();
      std::advance(entry, static_cast<long>(random() % told.finished.size()));
      const auto box = driver.fetch({"default", entry->first, 0, 10});
      if (!box.ok() || box->messages.empty()) continue;
      told.maybe_taken.insert(entry->first);
      if (driver.take("default", entry->first, {box->messages[0].sequence}).ok()) {
        told.taken.insert(entry->first);
      }
    }
    if (random() % 8 == 0) (void)driver.purge();
  }
}

// Every promise against what is there; returns how many were broken.
int count_broken_promises(Machine& machine, const Told& told) {
  int n_broken = 0;
  for (const auto& [key, id] : told.submitted) {
    const auto record = machine.driver().get(id, "");
    const auto box = machine.driver().fetch({"default", key, 0, 10});
    const bool is_live = std::holds_alternative<Job>(*record);
    const size_t n_messages = box->messages.size();
    bool kept = !std::holds_alternative<std::monostate>(*record);                  // I5
    if (is_live) kept = kept && n_messages == 0 && told.finished.count(key) == 0;  // I1
    if (n_messages > 1) kept = false;                                              // I1
    if (told.taken.count(key) != 0 && n_messages != 0) kept = false;
    if (told.finished.count(key) != 0 && told.maybe_taken.count(key) == 0) {
      kept = kept && n_messages == 1 && box->messages[0].ending.body == told.finished.at(key);
    }
    if (!kept) {
      ++n_broken;
      std::cout << "broken: " << key << " record " << record->index() << " messages " << n_messages
                << " finished " << told.finished.count(key) << " taken " << told.taken.count(key)
                << std::endl;
    }
  }
  return n_broken;
}

// A life of a machine: it works until the power goes, 25 times.
void expect_promises_kept(uint64_t seed) {
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  Machine machine;
  Told told;
  int n_keys = 0;
  for (int round = 0; round < 25; ++round) {
    const auto n = static_cast<int64_t>(1 + random() % 40);
    if (random() % 2 == 0) {
      machine.fs().cut_at_sync(n, static_cast<int>(random() % 101));
    } else {
      machine.fs().cut_at_sync_in_any_order(n, random());
    }
    machine.remember_mark();
    work(machine, random, n_keys, told);
    machine.halt();
    machine.age_mark(random);
    machine.boot();
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "round " << round << ", seed " << seed;
    ASSERT_EQ(count_broken_promises(machine, told), 0) << "round " << round << ", seed " << seed;
  }
  EXPECT_GT(told.finished.size(), 20u) << "the work did not get far enough to show anything";
}

TEST(PowerCut, no_promise_is_broken_by_cuts_at_any_sync) {
  const int n_lives = std::getenv("PARKD_LONG") != nullptr ? 30 : 1;
  for (int life = 0; life < n_lives && !testing::Test::HasFatalFailure(); ++life) {
    expect_promises_kept(std::random_device()());
  }
}

TEST(PowerCut, without_syncs_promises_are_broken_and_this_test_counts_them) {
  std::mt19937_64 random(7);
  Machine machine(false);
  Told told;
  int n_keys = 0;
  for (int i = 0; i < 20; ++i) {
    const std::string key = "k" + std::to_string(n_keys++);
    const auto submitted = machine.driver().submit({spec_of(key)});
    ASSERT_TRUE(submitted.ok());
    told.submitted[key] = submitted->at(0).id;
  }
  machine.cut_power();
  machine.boot();
  EXPECT_EQ(count_broken_promises(machine, told), 20);
}

// --- full disk

TEST(FullDisk, verbs_answer_unavailable_and_the_store_heals_by_itself) {
  Machine machine;
  StoreDriver& driver = machine.driver();
  ASSERT_TRUE(driver.submit({spec_of("a"), spec_of("b")}).ok());
  const auto jobs = driver.claim("m", 1);
  const FinishItem item{jobs->at(0).id, jobs->at(0).lease, ending_of("done")};

  machine.fs().set_full(true);
  const auto refused = driver.submit({spec_of("c")});
  EXPECT_EQ(refused.status().code(), StatusCode::unavailable);
  EXPECT_NE(refused.status().message().find("full"), std::string::npos);
  EXPECT_EQ(driver.finish({item}).status().code(), StatusCode::unavailable);
  EXPECT_FALSE(driver.stats()->healthy);
  EXPECT_FALSE(driver.stats()->health_error.empty());
  machine.clock().advance(seconds(2));
  EXPECT_EQ(driver.finish({item}).status().code(), StatusCode::unavailable) << "still full";

  machine.fs().set_full(false);
  machine.clock().advance(seconds(2));
  const auto answers = driver.finish({item});
  ASSERT_TRUE(answers.ok()) << answers.status().to_string();
  EXPECT_EQ(answers->at(0), FinishAnswer::finished_now) << "the claim outlived the failure";
  EXPECT_TRUE(driver.stats()->healthy);
  EXPECT_EQ(driver.stats()->open_epoch, 1u);
  EXPECT_EQ(driver.fetch({"default", "a", 0, 10})->messages.size(), 1u);
  EXPECT_TRUE(driver.submit({spec_of("c")}).ok());
  EXPECT_EQ(driver.claim("m", 10)->size(), 2u);

  machine.cut_power();
  machine.boot();
  EXPECT_EQ(machine.driver().fetch({"default", "a", 0, 10})->messages.size(), 1u);
  EXPECT_EQ(machine.driver().claim("m", 10)->size(), 2u);
}

}  // namespace
}  // namespace parkd
