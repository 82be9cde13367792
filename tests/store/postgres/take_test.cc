// A take whose connection is cut: what was removed is answered, once, wherever the cut was.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/store/postgres/fault_proxy.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

class Take : public testing::Test {
 protected:
  void SetUp() override {
    const char* host = std::getenv("PGHOST");
    ASSERT_NE(host, nullptr) << "run this through tools/pg_sandbox.sh";
    proxy_ = std::make_unique<Proxy>(std::string(host) + "/.s.PGSQL.5432");
    PostgresOptions options = quiet_options(proxy_->dsn(database_.name()));
    options.verb_limit = std::chrono::seconds(20);
    auto opened = open_postgres_store(std::move(options), {});
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = "box";
    spec.body = "{}";
    ASSERT_TRUE(driver_->submit(std::vector<JobSpec>(3, spec)).ok());
    for (const Job& job : driver_->claim("m", 3).value()) {
      ASSERT_TRUE(driver_->finish({{job.id, job.lease, {}}}).ok());
    }
    for (const Message& message : driver_->fetch({"default", "box", 0, 10}).value().messages) {
      sequences_.push_back(message.sequence);
    }
    ASSERT_EQ(sequences_.size(), 3u);
  }

  // Takes while `request` is cut, and looks that each message was answered and is gone.
  void take_through(const char* request, Proxy::Cut where) {
    const int before = proxy_->n_cut();
    proxy_->cut(request, where, 1);
    const auto taken = driver_->take("default", "box", sequences_);
    EXPECT_EQ(proxy_->n_cut(), before + 1) << request;
    ASSERT_TRUE(taken.ok()) << taken.status().to_string();
    std::set<uint64_t> got;
    for (const Message& message : *taken) got.insert(message.sequence);
    EXPECT_EQ(got, std::set<uint64_t>(sequences_.begin(), sequences_.end()));
    EXPECT_TRUE(driver_->fetch({"default", "box", 0, 10}).value().messages.empty());
    EXPECT_TRUE(driver_->take("default", "box", sequences_).value().empty());
  }

  TestDatabase database_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
  std::vector<uint64_t> sequences_;
};

TEST_F(Take, a_commit_that_never_arrived_is_made_again) {
  take_through("COMMIT", Proxy::Cut::unsent);
}
TEST_F(Take, a_commit_nobody_waited_for_is_found_out) {
  take_through("COMMIT", Proxy::Cut::in_flight);
}
TEST_F(Take, a_commit_that_was_made_and_not_answered_is_known_by_its_transaction) {
  take_through("COMMIT", Proxy::Cut::unanswered);
}
TEST_F(Take, a_delete_that_was_not_answered_is_undone_and_made_again) {
  take_through("take", Proxy::Cut::unanswered);
}

}  // namespace
}  // namespace parkd
