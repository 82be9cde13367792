// No memory, in the middle of what the threads to PostgreSQL do: the verb is refused or carried
// out, every caller is answered, nothing is lost or doubled, and the process lives. For each verb
// that takes or gives away, the n-th allocation of our own code fails, for n from 0 until none
// does.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/store/failing_new.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

using testing::FailingNew;

class PostgresOutOfMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    FailingNew::aim({"pg-submit", "pg-finish", "pg-read", "pg-claim"}, "libpqxx");
    auto opened = open_postgres_store(quiet_options(database_.dsn()), {});
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
    ASSERT_TRUE(driver_->submit({spec("first")}).ok());
    ASSERT_TRUE(end(claim_one()).ok());
  }
  void TearDown() override { (void)FailingNew::disarm(); }

  JobSpec spec(const std::string& name) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = "box";
    spec.custom_id = "a name that does not fit into the string itself " + name;
    spec.idempotency_key = spec.custom_id;
    spec.body = R"({"messages":[]})";
    return spec;
  }
  Job claim_one() {
    const auto claimed = driver_->claim("m", 1);
    EXPECT_TRUE(claimed.ok() && claimed->size() == 1);
    return claimed.ok() && !claimed->empty() ? claimed->front() : Job();
  }
  Result<std::vector<FinishAnswer>> end(const Job& job) {
    FinishItem item{job.id, job.lease, {}};
    item.ending.body = R"({"answer":"that does not fit into the string itself"})";
    return driver_->finish({item});
  }
  std::vector<uint64_t> sequences() {
    std::vector<uint64_t> found;
    const auto page = driver_->fetch({"default", "box", 0, 10'000});
    for (const Message& message : page->messages) {
      found.push_back(message.sequence);
    }
    return found;
  }
  size_t n_messages() { return driver_->fetch({"default", "box", 0, 10'000})->messages.size(); }
  size_t n_live() {
    ListFilter all;
    all.limit = 10'000;
    return driver_->list(all)->size();
  }

  // Calls `verb`, which answers how many allocations failed, with ever later faults.
  template <class Verb>
  size_t with_faults(Verb&& verb) {
    size_t n_faults = 0;
    for (size_t first = 0; first < 3000; ++first) {
      const size_t n_failed = verb(first);
      if (n_failed == 0 || HasFatalFailure()) return n_faults;
      n_faults += n_failed;
    }
    ADD_FAILURE() << "it never passed without a fault";
    return n_faults;
  }

  TestDatabase database_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
  int n_submitted_ = 0;
};

TEST_F(PostgresOutOfMemory, a_submit_is_answered_and_becomes_one_job) {
  size_t n = 0;
  const size_t n_faults = with_faults([&](size_t first) {
    ++n;
    const JobSpec given = spec(std::to_string(first));
    FailingNew::arm(first, 1);
    const auto submitted = driver_->submit({given});
    const size_t n_failed = FailingNew::disarm();
    if (!submitted.ok()) {
      EXPECT_EQ(submitted.status().code(), StatusCode::unavailable)
          << first << ": " << submitted.status().to_string();
    }
    const auto again = driver_->submit({given});
    EXPECT_TRUE(again.ok()) << first << ": " << again.status().to_string();
    return n_failed;
  });
  EXPECT_GT(n_faults, 0u);
  EXPECT_EQ(n_live(), n);
}

TEST_F(PostgresOutOfMemory, a_finish_is_carried_out_once) {
  const size_t before = n_messages();
  size_t n = 0;
  const size_t n_faults = with_faults([&](size_t first) {
    EXPECT_TRUE(driver_->submit({spec("of " + std::to_string(first))}).ok());
    const Job job = claim_one();
    FailingNew::arm(first, 1);
    auto ended = end(job);
    const size_t n_failed = FailingNew::disarm();
    if (!ended.ok()) {  // who asked could not be answered otherwise, and asks again
      EXPECT_EQ(ended.status().code(), StatusCode::unavailable) << ended.status().to_string();
      ended = end(job);
    }
    EXPECT_TRUE(ended.ok()) << first << ": " << ended.status().to_string();
    if (ended.ok()) {
      EXPECT_NE(ended->front(), FinishAnswer::lease_lost) << first;
    }
    ++n;
    return n_failed;
  });
  EXPECT_GT(n_faults, 0u);
  EXPECT_EQ(n_messages(), before + n);
  EXPECT_EQ(n_live(), 0u);
}

TEST_F(PostgresOutOfMemory, what_a_take_removed_is_answered) {
  const size_t n_faults = with_faults([&](size_t first) {
    while (n_messages() < 3) {
      EXPECT_TRUE(driver_->submit({spec("taken " + std::to_string(n_submitted_++))}).ok());
      EXPECT_TRUE(end(claim_one()).ok());
    }
    const std::vector<uint64_t> before = sequences();
    FailingNew::arm(first, 1);
    const auto taken = driver_->take("default", "box", before);
    const size_t n_failed = FailingNew::disarm();
    std::set<uint64_t> seen;
    for (const uint64_t left : sequences()) seen.insert(left);
    if (taken.ok()) {
      for (const Message& message : *taken) EXPECT_TRUE(seen.insert(message.sequence).second);
    } else {
      EXPECT_EQ(taken.status().code(), StatusCode::unavailable) << taken.status().to_string();
    }
    EXPECT_EQ(seen, std::set<uint64_t>(before.begin(), before.end())) << "lost at " << first;
    return n_failed;
  });
  EXPECT_GT(n_faults, 0u);
}

TEST_F(PostgresOutOfMemory, what_a_claim_took_comes_to_its_caller_or_back) {
  std::set<JobId> given;
  size_t n = 0;
  const size_t n_faults = with_faults([&](size_t first) {
    EXPECT_TRUE(driver_->submit({spec("claimed " + std::to_string(first))}).ok());
    ++n;
    FailingNew::arm(first, 1);
    auto claimed = driver_->claim("m", 1);
    const size_t n_failed = FailingNew::disarm();
    if (!claimed.ok()) {
      EXPECT_EQ(claimed.status().code(), StatusCode::unavailable) << claimed.status().to_string();
    }
    if (!claimed.ok() || claimed->empty()) claimed = driver_->claim("m", 1);
    EXPECT_TRUE(claimed.ok()) << claimed.status().to_string();
    EXPECT_EQ(claimed->size(), 1u) << "it is lost to everybody: " << first;
    for (const Job& job : *claimed) {
      EXPECT_TRUE(given.insert(job.id).second);
      EXPECT_TRUE(end(job).ok());
    }
    return n_failed;
  });
  EXPECT_GT(n_faults, 0u);
  EXPECT_EQ(given.size(), n);
  EXPECT_EQ(n_live(), 0u);
}

TEST_F(PostgresOutOfMemory, a_release_is_carried_out) {
  EXPECT_TRUE(driver_->submit({spec("that is released")}).ok());
  const size_t n_faults = with_faults([&](size_t first) {
    const Job job = claim_one();
    FailingNew::arm(first, 1);
    auto released = driver_->release({{job.id, job.lease, false, std::nullopt}});
    const size_t n_failed = FailingNew::disarm();
    if (!released.ok()) {
      EXPECT_EQ(released.status().code(), StatusCode::unavailable);
      EXPECT_TRUE(driver_->release({{job.id, job.lease, false, std::nullopt}}).ok());
    }
    return n_failed;
  });
  EXPECT_GT(n_faults, 0u);
  EXPECT_TRUE(end(claim_one()).ok());
  EXPECT_EQ(n_live(), 0u);
}

}  // namespace
}  // namespace parkd
