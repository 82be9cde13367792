// A full disk, for real, under the embedded store: a small file system that is filled up to ENOSPC
// while it works. Nothing that was acknowledged is lost or doubled, readers are served all the
// while, an opening of a full disk serves them too, and writing goes on by itself when there is
// room. Needs root. PARKD_LONG=1 goes through many rounds.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/store/store_on_disk.h"
#include "tests/support/needs_root.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using testing::SmallDisk;

class FullDisk : public ::testing::TestWithParam<SmallDisk::Kind>, protected StoreOnDisk {
 protected:
  std::string disk_path() const { return temp_.path() + "/disk"; }
  std::string dir() const { return disk_path() + "/queue"; }

  void mount(int64_t size_mb) {
    disk_ = std::make_unique<SmallDisk>(disk_path(), size_mb, GetParam());
  }
  Status open() { return open_store(dir(), clock_); }
  void TearDown() override {
    close();
    disk_.reset();
  }

  // Submits one job under a name of its own; whether it was acknowledged.
  bool submit(size_t body_bytes) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = "box";
    spec.custom_id = "j" + std::to_string(n_submits_++);
    spec.body = std::string(body_bytes, 'x');
    spec.retention = std::chrono::hours(1 + 24 * (n_submits_ % 2));  // two periods
    const std::string name = spec.custom_id;
    const auto answer = driver_->submit({std::move(spec)});
    if (answer.ok()) {
      accepted_.insert(name);
    } else {
      EXPECT_EQ(answer.status().code(), StatusCode::unavailable) << answer.status().to_string();
      last_refusal_ = answer.status().message();
    }
    return answer.ok();
  }

  // Claims and finishes what there is; false when the store refused something.
  bool work(int32_t n_jobs) {
    const auto jobs = driver_->claim("m", n_jobs);
    if (!jobs.ok()) return false;
    std::vector<FinishItem> items = std::exchange(unfinished_, {});
    for (const Job& job : *jobs) {
      items.push_back({job.id, job.lease, {}});
      items.back().ending.outcome = Outcome::completed;
      items.back().ending.body = std::string(5000, 'r');
    }
    if (items.empty()) return true;
    const auto answers = driver_->finish(items);
    if (!answers.ok()) unfinished_ = std::move(items);  // as the dispatcher does
    return answers.ok();
  }

  StoreStats stats() { return driver_->stats().value(); }
  bool has_notice() {
    for (const HealthNotice& notice : stats().notices) {
      if (notice.code == "store_cannot_write") return notice.not_ready;
    }
    return false;
  }

  // Until the store takes work again, woken as the daemon's housekeeping does.
  void wait_until_healthy() {
    while (!stats().healthy) {
      (void)driver_->purge();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // What the mailbox has, by name; reading must work whatever the disk does.
  std::map<std::string, int> messages() {
    std::map<std::string, int> found;
    uint64_t after = 0;
    for (;;) {
      FetchRequest request;
      request.tenant = "default";
      request.mailbox_key = "box";
      request.after_sequence = after;
      request.limit = 100;
      const auto page = driver_->fetch(request);
      EXPECT_TRUE(page.ok()) << page.status().to_string();
      if (!page.ok() || page->messages.empty()) return found;
      for (const Message& message : page->messages) ++found[message.custom_id];
      after = page->next_sequence;
    }
  }

  void expect_all_once() {
    while (stats().models.empty() ? false
                                  : stats().models[0].queued + stats().models[0].claimed > 0) {
      ASSERT_TRUE(work(100)) << stats().health_error;
    }
    const auto found = messages();
    for (const std::string& name : accepted_) EXPECT_EQ(found.count(name), 1u) << "lost: " << name;
    for (const auto& [name, n] : found) EXPECT_EQ(n, 1) << "doubled: " << name;
  }

  TempDir temp_;
  std::unique_ptr<SmallDisk> disk_;
  SystemClock clock_;
  std::set<std::string> accepted_;
  std::vector<FinishItem> unfinished_;
  std::string last_refusal_;
  int n_submits_ = 0;
};

int rounds(int few) {
  return std::getenv("PARKD_LONG") == nullptr ? few : 100;
}

TEST_P(FullDisk, loses_nothing_serves_readers_and_goes_on_when_there_is_room) {
  PARKD_NEEDS_ROOT();
  mount(32);
  ASSERT_TRUE(open().ok());
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int round = 0; round < rounds(6); ++round) {
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(submit(random() % 30'000)) << last_refusal_;
      ASSERT_TRUE(work(1));
    }
    const auto before = messages();
    disk_->fill(static_cast<int64_t>(random() % 3'000'000));
    while (submit(random() % 200'000)) (void)work(1);
    disk_->fill();
    EXPECT_NE(last_refusal_.find("No space left on device"), std::string::npos) << last_refusal_;
    EXPECT_TRUE(has_notice()) << stats().health_error;
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(work(1)) << "claims wait for the store";
    EXPECT_GE(messages().size(), before.size()) << "readers are served";
    disk_->make_room();
    wait_until_healthy();
    EXPECT_FALSE(has_notice());
    // The disk is small: what is read makes room.
    expect_all_once();
    std::vector<uint64_t> all(1000);
    FetchRequest request;
    request.tenant = "default";
    request.mailbox_key = "box";
    request.limit = 1000;
    const auto page = driver_->fetch(request);
    ASSERT_TRUE(page.ok());
    std::vector<uint64_t> sequences;
    for (const Message& message : page->messages) sequences.push_back(message.sequence);
    ASSERT_TRUE(driver_->take("default", "box", sequences).ok());
    accepted_.clear();
  }
}

TEST_P(FullDisk, an_opening_of_a_full_disk_serves_readers_and_goes_on_when_there_is_room) {
  PARKD_NEEDS_ROOT();
  mount(32);
  ASSERT_TRUE(open().ok());
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(submit(20'000));
  ASSERT_TRUE(work(10));
  const auto before = messages();
  ASSERT_EQ(before.size(), 10u);
  uint64_t last_epoch = 0;
  for (int round = 0; round < rounds(3); ++round) {
    last_epoch = stats().open_epoch;
    close();
    disk_->fill();
    ASSERT_TRUE(open().ok()) << "refused the start";
    EXPECT_TRUE(has_notice());
    EXPECT_EQ(messages(), before);
    EXPECT_EQ(driver_->list({}).value().size(), 20u);
    EXPECT_FALSE(submit(1));
    EXPECT_FALSE(work(1));
    if (round % 2 == 1) {  // and once more, still full
      ASSERT_TRUE(open().ok());
      EXPECT_EQ(messages(), before);
    }
    disk_->make_room();
    wait_until_healthy();
    EXPECT_GT(stats().open_epoch, last_epoch) << "leases of earlier processes are void";
    EXPECT_EQ(messages(), before);
  }
  expect_all_once();
  ASSERT_TRUE(open().ok());
  EXPECT_EQ(messages().size(), accepted_.size());
}

TEST_P(FullDisk, a_small_disk_is_not_filled_by_the_log) {
  PARKD_NEEDS_ROOT();
  mount(64);
  ASSERT_TRUE(open().ok());
  // Far more than the disk holds passes through it.
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(submit(900'000)) << last_refusal_ << " at job " << i;
    ASSERT_TRUE(work(1));
  }
  EXPECT_EQ(messages().size(), accepted_.size());
}

TEST_P(FullDisk, rocksdb_writes_no_log_of_its_own) {
  PARKD_NEEDS_ROOT();
  mount(32);
  ASSERT_TRUE(open().ok());
  ASSERT_TRUE(submit(10));
  close();
  std::ofstream(dir() + "/LOG") << "of an earlier version";
  std::ofstream(dir() + "/LOG.old.17") << "of an earlier version";
  ASSERT_TRUE(open().ok());
  for (const auto& entry : std::filesystem::directory_iterator(dir())) {
    EXPECT_NE(entry.path().filename().string().rfind("LOG", 0), 0u)
        << entry.path().filename() << " (LOCK is not meant)";
  }
}

INSTANTIATE_TEST_SUITE_P(Disks, FullDisk,
                         ::testing::Values(SmallDisk::Kind::tmpfs, SmallDisk::Kind::ext4),
                         [](const auto& test) {
                           return test.param == SmallDisk::Kind::tmpfs ? "tmpfs" : "ext4";
                         });

}  // namespace
}  // namespace parkd
