// An open transaction of somebody else pins xmin: nothing that left the queue can be vacuumed away.
// What a job costs, in index entries read, stays the same however long that lasts.
#include <gtest/gtest.h>

#include "tests/store/postgres/fault_world.h"

namespace parkd {
namespace {

constexpr int kJobs = 100;  // a cycle

class PostgresPinnedXmin : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
    database_.run("ALTER TABLE parkd.jobs SET (autovacuum_enabled = off)");
    daemon_ =
        database_.value("SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', interval '1 day')");
    database_.run("CREATE TEMP TABLE claimed (id bigint, run_lease bigint)");
  }

  // Submits, claims and finishes kJobs of n_tenants, all in the session of database_.
  void cycle(int n_tenants) {
    const std::string n = std::to_string(kJobs);
    database_.run(
        "INSERT INTO parkd.jobs (model, body, tenant, priority) SELECT 'm', '{}', 't' || "
        "i % " +
        std::to_string(n_tenants) + ", 'normal' FROM generate_series(1, " + n + ") i");
    database_.run("INSERT INTO claimed SELECT id, run_lease FROM parkd.claim_v1(" + daemon_ +
                  ", 'm', " + n + ")");
    database_.run(
        "SELECT count(*) FROM (SELECT array_agg(id) AS ids, array_agg(run_lease) AS leases, "
        "count(*)::int AS n FROM claimed) c, parkd.finish_v1(c.ids, c.leases, "
        "array_fill('completed'::text, ARRAY[n]), array_fill(''::text, ARRAY[n]), "
        "array_fill(''::text, ARRAY[n]), array_fill(''::text, ARRAY[n]), array_fill(200, "
        "ARRAY[n]), array_fill('{}'::text, ARRAY[n]), array_fill(1, ARRAY[n]), array_fill(1, "
        "ARRAY[n]), array_fill(1::bigint, ARRAY[n]), array_fill(1::bigint, ARRAY[n]), "
        "array_fill(1::bigint, ARRAY[n]))");
    database_.run("TRUNCATE claimed");
  }

  // Entries of the queue's indexes that were read since the start, dead ones too.
  int64_t reads() {
    database_.run("SELECT pg_stat_force_next_flush()");
    return database_.number(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'jobs'");
  }

  double reads_per_job(int n_cycles, int n_tenants) {
    const int64_t before = reads();
    for (int i = 0; i < n_cycles; ++i) cycle(n_tenants);
    return static_cast<double>(reads() - before) / (n_cycles * kJobs);
  }

  TestDatabase database_;
  std::string daemon_;
};

TEST_P(PostgresPinnedXmin, a_job_costs_the_same_however_many_have_gone) {
  const int n_tenants = GetParam();
  const auto other = database_.connect();
  pqxx::nontransaction pin(*other);
  pin.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  pin.exec("SELECT count(*) FROM parkd.jobs");
  const int n_cycles = fault_rounds(20);
  const double early = reads_per_job(n_cycles, n_tenants);
  for (int i = 0; i < 5 * n_cycles; ++i) cycle(n_tenants);
  const double late = reads_per_job(n_cycles, n_tenants);
  std::printf(
      "xmin pinned, %d tenants: %.1f index entries a job in the first %d jobs, %.1f after "
      "%d\n",
      n_tenants, early, n_cycles * kJobs, late, 6 * n_cycles * kJobs);
  EXPECT_LE(late, 60) << "every claim reads what has long left the queue";
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 7 * n_cycles * kJobs);
}

TEST_P(PostgresPinnedXmin, a_job_that_comes_back_is_claimed_all_the_same) {
  const int n_tenants = GetParam();
  const auto other = database_.connect();
  pqxx::nontransaction pin(*other);
  pin.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  pin.exec("SELECT count(*) FROM parkd.jobs");
  for (int i = 0; i < 40; ++i) cycle(n_tenants);
  // Below every mark: older than the first, and of a tenant that has had none.
  database_.run(
      "INSERT INTO parkd.jobs (model, body, tenant) VALUES ('m', '{}', 't0'), ('m', '{}', 'new')");
  database_.run("UPDATE parkd.jobs SET order_key = now() - interval '1 day' WHERE tenant = 't0'");
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    cycle(n_tenants);
    return database_.number(
               "SELECT count(*) FROM parkd.jobs WHERE order_key < now() OR tenant = "
               "'new'") == 0;
  })) << "a mark hides it for ever";
}

INSTANTIATE_TEST_SUITE_P(Tenants, PostgresPinnedXmin, testing::Values(1, 5),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace parkd
