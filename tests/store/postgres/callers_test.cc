// Callers at the doors of daemons that share the database.
#include <future>
#include <set>

#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

using std::chrono::seconds;

class Callers : public PostgresStoreTest {
 protected:
  JobId submit(StoreRig& rig) { return rig.driver->submit({spec()})->front().id; }
  int64_t n_rows() { return database_.number("SELECT count(*) FROM parkd.callers"); }
  // As rescue_v1 does it when a daemon was silent for its ttl.
  void declare_gone(const std::string& which) {
    database_.run("UPDATE parkd.daemons SET lost_at = now() WHERE id = (SELECT " + which +
                  "(id) FROM parkd.daemons)");
  }
};

TEST_F(Callers, who_waits_at_another_door_keeps_the_job) {
  StoreRig a(quiet_options(database_.dsn()));
  StoreRig b(quiet_options(database_.dsn()));
  const JobId id = submit(a);
  ASSERT_EQ(*a.driver->attach(id, seconds(60)), seconds(60));
  ASSERT_EQ(*b.driver->attach(id), seconds(60)) << "it came back through another door";
  EXPECT_EQ(*a.driver->detach(id, ""), std::nullopt);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 1);
  EXPECT_EQ(*b.driver->detach(id, ""), CancelAnswer::cancelled);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
}

// Neither may leave it to the other.
TEST_F(Callers, of_two_daemons_whose_callers_go_at_once_one_cancels) {
  StoreRig a(quiet_options(database_.dsn()));
  StoreRig b(quiet_options(database_.dsn()));
  for (int i = 0; i < 50; ++i) {
    const JobId id = submit(a);
    ASSERT_TRUE(a.driver->attach(id, seconds(60)).ok());
    ASSERT_TRUE(b.driver->attach(id).ok());
    auto other = std::async(std::launch::async, [&] { return b.driver->detach(id, ""); });
    const auto own = a.driver->detach(id, "");
    const auto others = other.get();
    ASSERT_TRUE(own.ok() && others.ok());
    EXPECT_EQ(own->has_value() + others->has_value(), 1);
    EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 0);
  }
}

TEST_F(Callers, jobs_of_a_daemon_that_is_gone_are_adopted_by_one) {
  StoreRig gone(quiet_options(database_.dsn()));
  const JobId id = submit(gone);
  ASSERT_TRUE(gone.driver->attach(id, seconds(60)).ok());
  StoreRig a(quiet_options(database_.dsn()));
  StoreRig b(quiet_options(database_.dsn()));
  EXPECT_TRUE(a.driver->adopt()->empty()) << "it is there";
  declare_gone("min");
  auto other = std::async(std::launch::async, [&] { return b.driver->adopt(); });
  const auto adopted = a.driver->adopt();
  const auto by_other = other.get();
  ASSERT_TRUE(adopted.ok() && by_other.ok());
  EXPECT_EQ(adopted->size() + by_other->size(), 1u);
  EXPECT_TRUE(a.driver->adopt()->empty());
  EXPECT_TRUE(b.driver->adopt()->empty());
  // The adopter dies, too.
  (adopted->empty() ? b : a).store->stop();
  const auto again = (adopted->empty() ? a : b).driver->adopt();
  ASSERT_EQ(again->size(), 1u);
  EXPECT_EQ(again->front().id, id);
}

TEST_F(Callers, a_daemon_that_is_declared_gone_writes_nothing_down_and_adopts_nothing) {
  StoreRig gone(quiet_options(database_.dsn()));
  StoreRig a(quiet_options(database_.dsn()));
  const JobId id = submit(a);
  ASSERT_TRUE(a.driver->attach(id, seconds(60)).ok());
  database_.run("UPDATE parkd.daemons SET lost_at = now()");
  EXPECT_TRUE(gone.driver->adopt()->empty());
  EXPECT_EQ(*gone.driver->attach(id), seconds(60));
  EXPECT_EQ(gone.driver->attach(submit(a), seconds(60)).status().code(), StatusCode::unavailable);
  EXPECT_EQ(n_rows(), 1);
}

// It is told, so that its callers are attached again; whoever adopts them meanwhile finds it there.
TEST_F(Callers, a_daemon_without_an_id_attaches_nothing_and_says_so_until_it_has_another) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.ttl = std::chrono::milliseconds(1500);
  options.beat = std::chrono::milliseconds(250);
  StoreRig a(options);
  const JobId id = submit(a);
  ASSERT_TRUE(a.driver->attach(id, seconds(60)).ok());
  Idler silence(database_, "LOCK TABLE parkd.daemons IN EXCLUSIVE MODE");
  ASSERT_TRUE(eventually([&] { return a.n_lost > 0; }));
  EXPECT_EQ(a.driver->attach(id).status().code(), StatusCode::unavailable);
  silence.commit();
  ASSERT_TRUE(eventually([&] { return a.driver->attach(id).ok(); }));
  EXPECT_EQ(n_rows(), 2);
  StoreRig b(quiet_options(database_.dsn()));
  EXPECT_EQ(b.driver->adopt()->size(), 1u);
  EXPECT_EQ(*b.driver->detach(id, ""), std::nullopt);
  EXPECT_EQ(n_rows(), 1);
}

// The row of a job that ended is of no use, and nobody else takes it away.
TEST_F(Callers, rows_of_jobs_that_ended_are_forgotten) {
  StoreRig a(quiet_options(database_.dsn()));
  const JobId ended = submit(a);
  const JobId live = submit(a);
  ASSERT_TRUE(a.driver->attach(ended, seconds(60)).ok());
  ASSERT_TRUE(a.driver->attach(live, seconds(60)).ok());
  ASSERT_TRUE(a.driver->cancel(ended, "").ok());
  EXPECT_EQ(n_rows(), 2);
  EXPECT_TRUE(a.driver->adopt()->empty());
  EXPECT_EQ(n_rows(), 1);
}

TEST_F(Callers, a_row_that_somebody_holds_is_adopted_later) {
  StoreRig gone(quiet_options(database_.dsn()));
  const JobId held = submit(gone);
  const JobId other = submit(gone);
  ASSERT_TRUE(gone.driver->attach(held, seconds(60)).ok());
  ASSERT_TRUE(gone.driver->attach(other, seconds(60)).ok());
  StoreRig a(quiet_options(database_.dsn()));
  declare_gone("min");
  auto session = database_.connect();
  {
    pqxx::work tx(*session);
    tx.exec("SELECT FROM parkd.callers WHERE job_id = " + std::to_string(held) + " FOR UPDATE");
    const auto adopted = a.driver->adopt();
    ASSERT_TRUE(adopted.ok()) << adopted.status().to_string();
    ASSERT_EQ(adopted->size(), 1u);
    EXPECT_EQ(adopted->front().id, other);
  }
  const auto rest = a.driver->adopt();
  ASSERT_EQ(rest->size(), 1u);
  EXPECT_EQ(rest->front().id, held);
}

}  // namespace
}  // namespace parkd
