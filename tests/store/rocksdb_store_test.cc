// What the embedded store alone promises: its directory, its format, its periods.
#include "lib/store/rocksdb/rocksdb_store.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "lib/store/rocksdb/record_codec.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using std::chrono::hours;

class RocksDbStoreTest : public testing::Test {
 protected:
  RocksDbStoreOptions options() const {
    RocksDbStoreOptions options;
    options.dir = dir_.path() + "/a/queue";
    return options;
  }
  void open() {
    auto opened = open_rocksdb_store(options(), clock_);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
  }
  void close() {
    driver_.reset();
    store_.reset();
  }
  std::vector<std::string> families() const {
    std::vector<std::string> names;
    EXPECT_TRUE(rocksdb::DB::ListColumnFamilies({}, options().dir, &names).ok());
    return names;
  }
  // Changes one value behind the store's back; nullopt: it is gone.
  void tamper(const std::string& family, const std::string& key,
              const std::optional<std::string>& value) {
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const std::string& name : families())
      descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, options().dir, descriptors, &handles, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    for (rocksdb::ColumnFamilyHandle* handle : handles) {
      if (handle->GetName() == family) {
        ASSERT_TRUE((value ? db->Put({}, handle, key, *value) : db->Delete({}, handle, key)).ok());
      }
      ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
    }
  }
  static JobSpec spec(int n_hours = 1) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = "box";
    spec.retention = hours(n_hours);
    return spec;
  }

  TempDir dir_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
};

TEST_F(RocksDbStoreTest, a_directory_in_use_is_refused_by_name) {
  open();
  const auto second = open_rocksdb_store(options(), clock_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::unavailable);
  EXPECT_NE(second.status().message().find(options().dir), std::string::npos);
  EXPECT_NE(second.status().message().find("in use"), std::string::npos);
  close();
  open();
}

TEST_F(RocksDbStoreTest, a_directory_that_cannot_be_made_is_refused_by_name) {
  RocksDbStoreOptions bad;
  bad.dir = "/proc/nowhere/queue";
  const auto opened = open_rocksdb_store(bad, clock_);
  EXPECT_EQ(opened.status().code(), StatusCode::unavailable);
  EXPECT_NE(opened.status().message().find(bad.dir), std::string::npos);
}

TEST_F(RocksDbStoreTest, another_format_is_refused_by_its_number) {
  open();
  close();
  for (const uint64_t format : {uint64_t{0}, uint64_t{2}}) {
    tamper("default", "format", record::encode_count(format));
    const auto opened = open_rocksdb_store(options(), clock_);
    EXPECT_EQ(opened.status().code(), StatusCode::corrupt);
    const std::string numbers = "has format " + std::to_string(format) + "; this program knows 1";
    EXPECT_NE(opened.status().message().find(numbers), std::string::npos)
        << opened.status().message();
  }
}

// A program until 2026-11 stored what Boost.JSON made of a body, and of a key a hash of those
// bytes.
TEST_F(RocksDbStoreTest, a_key_of_an_earlier_program_finds_its_job) {
  const std::string stored_then = R"({"messages":[],"temperature":5E-1})";
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.body = stored_then;
  open();
  const JobId id = driver_->submit({keyed}).value().at(0).id;
  close();
  std::string key_then = record::encode(
      record::StoredKey{id, content_fingerprint_of_bytes(keyed), keyed.mailbox_key, {}});
  key_then.pop_back();
  key_then[0] = 1;
  tamper("idempotency", record::idempotency_key(keyed.tenant, "k"), key_then);
  open();
  for (const std::string& same :
       {stored_then, std::string(R"( { "messages" : [ ], "temperature" : 0.5 } )")}) {
    keyed.body = same;
    const auto again = driver_->submit({keyed});
    ASSERT_TRUE(again.ok()) << same << ": " << again.status().to_string();
    EXPECT_EQ(again->at(0).id, id);
  }
  keyed.body = R"({"messages":[],"temperature":0.75})";
  EXPECT_EQ(driver_->submit({keyed}).status().code(), StatusCode::conflict);
}

TEST_F(RocksDbStoreTest, a_damaged_job_is_named_and_not_dropped_in_silence) {
  open();
  ASSERT_TRUE(driver_->submit({spec()}).ok());
  close();
  tamper("jobs", record::id_key(1), "rubbish");
  const auto opened = open_rocksdb_store(options(), clock_);
  EXPECT_EQ(opened.status().code(), StatusCode::corrupt);
  EXPECT_NE(opened.status().message().find("job 1"), std::string::npos)
      << opened.status().message();
}

class LargeBatchTest : public RocksDbStoreTest {
 protected:
  static constexpr int kMembers = 600;
  void submit_all() {
    open();
    BatchSpec batch;
    batch.deadline = clock_.now() + hours(1);
    id_ = driver_->open_batch(batch)->batch.id;
    JobSpec member = spec();
    member.batch_id = id_;
    member.body = std::string(1000, 'b');
    ASSERT_TRUE(driver_->submit(std::vector<JobSpec>(kMembers, member)).ok());
  }
  std::string id_;
};

TEST_F(LargeBatchTest, is_cancelled_in_commits_of_bounded_size) {
  submit_all();
  const int64_t before = driver_->stats()->commits;
  const auto cancelled = driver_->cancel_batch(id_, "");
  ASSERT_TRUE(cancelled.ok()) << cancelled.status().to_string();
  EXPECT_EQ(cancelled->state(), BatchState::finished);
  EXPECT_EQ(cancelled->cancelled, kMembers);
  EXPECT_GE(driver_->stats()->commits - before, 3);
}

// The store as a death leaves it between two of these commits.
TEST_F(LargeBatchTest, whose_cancelling_a_death_interrupted_is_cancelled_by_the_next_opening) {
  submit_all();
  const std::string copy = dir_.path() + "/copy";
  bool is_copied = false;
  StoreObserver observer;
  observer.message_stored = [&](const std::string&, const std::string&) {
    if (std::exchange(is_copied, true)) return;
    std::filesystem::copy(options().dir, copy, std::filesystem::copy_options::recursive);
  };
  store_->set_observer(std::move(observer));
  ASSERT_TRUE(driver_->cancel_batch(id_, "").ok());
  ASSERT_TRUE(is_copied);

  RocksDbStoreOptions interrupted = options();
  interrupted.dir = copy;
  auto opened = open_rocksdb_store(interrupted, clock_);
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  StoreDriver driver(**opened);
  // One that the opening has not come to yet, nearly always.
  ASSERT_TRUE(driver.cancel(kMembers, "").ok());
  EXPECT_TRUE(driver.claim("m", 1)->empty());
  while (driver.get_batch(id_, "")->state() == BatchState::cancelling) std::this_thread::yield();
  EXPECT_TRUE(driver.stats()->notices.empty()) << driver.stats()->notices.at(0).text;
  EXPECT_EQ(driver.get_batch(id_, "")->state(), BatchState::finished);
  EXPECT_EQ(driver.get_batch(id_, "")->cancelled, kMembers);
}

TEST_F(LargeBatchTest, a_member_that_is_damaged_does_not_keep_the_others) {
  submit_all();
  close();
  tamper("bodies", record::id_key(7), std::nullopt);
  open();
  const auto cancelled = driver_->cancel_batch(id_, "");
  EXPECT_EQ(driver_->get_batch(id_, "")->cancelled, kMembers - 1);
  EXPECT_EQ(cancelled.status().code(), StatusCode::corrupt) << cancelled.status().to_string();
}

TEST_F(RocksDbStoreTest, periods_are_few_and_dropped_whole) {
  open();
  // A message of each kind a day for 40 days.
  size_t n_periods_max = 0;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(driver_->submit({spec(1), spec(24), spec(24 * 7), spec(24 * 30)}).ok());
    const auto jobs = driver_->claim("m", 10);
    ASSERT_TRUE(jobs.ok());
    std::vector<FinishItem> items;
    for (const Job& job : *jobs) items.push_back({job.id, job.lease, {}});
    ASSERT_TRUE(driver_->finish(items).ok());
    clock_.advance(hours(24));
    ASSERT_TRUE(driver_->purge().ok());
    if (i % 10 == 9) {
      close();
      const auto names = families();
      n_periods_max = std::max(
          n_periods_max, static_cast<size_t>(std::count_if(
                             names.begin(), names.end(),
                             [](const std::string& name) { return name.substr(0, 4) == "box_"; })));
      open();
    }
  }
  EXPECT_GT(n_periods_max, 30u) << "daily periods of 30 days";
  EXPECT_LE(n_periods_max, 54u) << "7 hours + 9 quarter days + 33 days + 5 weeks";
  const auto box = driver_->fetch({"default", "box", 0, 100'000});
  ASSERT_TRUE(box.ok());
  EXPECT_GE(driver_->stats()->messages, static_cast<int64_t>(box->messages.size()));

  clock_.advance(hours(24 * 31));
  ASSERT_TRUE(driver_->purge().ok());
  close();
  for (const std::string& name : families()) EXPECT_NE(name.substr(0, 4), "box_") << name;
}

// The machine was off for two weeks, or its clock is wrong: nobody can know.
TEST_F(RocksDbStoreTest, a_clock_far_ahead_of_the_last_run_is_believed_after_an_hour) {
  open();
  ASSERT_TRUE(driver_->submit({spec(24)}).ok());
  const auto jobs = driver_->claim("m", 1);
  ASSERT_TRUE(driver_->finish({{jobs->at(0).id, jobs->at(0).lease, {}}}).ok());
  close();
  clock_.step_wall(hours(24 * 14));
  open();
  ASSERT_EQ(driver_->stats()->notices.size(), 1u);
  EXPECT_EQ(driver_->stats()->notices.at(0).code, "clock_gap");
  EXPECT_TRUE(driver_->fetch({"default", "box", 0, 10})->messages.empty()) << "expired is expired";
  clock_.advance(std::chrono::minutes(59));
  EXPECT_EQ(driver_->purge()->messages, 0);
  close();
  open();  // a restart begins the wait anew: it may be a loop of restarts with a wrong clock
  clock_.advance(std::chrono::minutes(59));
  EXPECT_EQ(driver_->purge()->messages, 0);
  clock_.advance(std::chrono::minutes(2));
  EXPECT_EQ(driver_->purge()->messages, 1);
  EXPECT_TRUE(driver_->stats()->notices.empty());
}

TEST_F(RocksDbStoreTest, a_restart_within_a_day_or_a_damaged_mark_waits_for_nothing) {
  for (const bool damaged : {false, true}) {
    open();
    ASSERT_TRUE(driver_->submit({spec()}).ok());
    const auto jobs = driver_->claim("m", 1);
    ASSERT_TRUE(driver_->finish({{jobs->at(0).id, jobs->at(0).lease, {}}}).ok());
    close();
    if (damaged) tamper("default", "time", "rubbish");
    clock_.advance(hours(damaged ? 24 * 3 : 20));
    open();
    EXPECT_TRUE(driver_->stats()->notices.empty());
    EXPECT_EQ(driver_->purge()->messages, 1);
    close();
  }
}

TEST_F(RocksDbStoreTest, a_finished_and_forgotten_job_leaves_nothing_behind) {
  open();
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  for (int i = 0; i < 50; ++i) {
    keyed.idempotency_key = "k" + std::to_string(i);
    ASSERT_TRUE(driver_->submit({keyed}).ok());
  }
  const auto jobs = driver_->claim("m", 100);
  std::vector<FinishItem> items;
  for (const Job& job : *jobs) items.push_back({job.id, job.lease, {}});
  ASSERT_TRUE(driver_->finish(items).ok());
  clock_.advance(hours(24 * 40));
  EXPECT_EQ(driver_->purge()->history_rows, 50);
  close();

  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : families())
    descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw = nullptr;
  ASSERT_TRUE(rocksdb::DB::OpenForReadOnly({}, options().dir, descriptors, &handles, &raw).ok());
  const std::unique_ptr<rocksdb::DB> db(raw);
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    const std::unique_ptr<rocksdb::Iterator> iterator(db->NewIterator({}, handle));
    int n_keys = 0;
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) ++n_keys;
    const int n_expected = handle->GetName() == "default" ? 6 : 0;
    EXPECT_EQ(n_keys, n_expected)
        << "in " << handle->GetName()
        << " (default: format, epoch, uuid, next_id, last_sequence, time)";
    ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  }
}

// RocksDB deletes all its temporary files but these: one a kill would gather.
TEST_F(RocksDbStoreTest, temporary_options_that_a_death_left_are_removed) {
  open();
  close();
  const std::string left = options().dir + "/OPTIONS-000005.dbtmp";
  std::ofstream(left) << "[Version]";
  open();
  EXPECT_FALSE(std::filesystem::exists(left));
}

}  // namespace
}  // namespace parkd
