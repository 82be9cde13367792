// An open transaction of somebody else pins xmin: nothing that left the queue can be vacuumed away.
// What a job costs, in index entries read, stays the same however long that lasts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

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

  // Submits, claims and finishes jobs of n_tenants, all in the session of database_.
  void cycle(int n_tenants, int n_jobs = kJobs) {
    const std::string n = std::to_string(n_jobs);
    database_.run(
        "INSERT INTO parkd.jobs (model, body, tenant, priority) SELECT 'm', '{}', 't' || "
        "i % " +
        std::to_string(n_tenants) + ", 'normal' FROM generate_series(1, " + n + ") i");
    database_.run("INSERT INTO claimed SELECT id, run_lease FROM parkd.claim_v1(" + daemon_ +
                  ", 'm', " + n + limits_ + ")");
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
  std::string limits_;  // of claim_v1, by name
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

TEST_P(PostgresPinnedXmin, a_tenant_that_claims_pass_over_costs_nothing_and_is_not_forgotten) {
  const int n_tenants = GetParam();
  const auto other = database_.connect();
  pqxx::nontransaction pin(*other);
  pin.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  pin.exec("SELECT count(*) FROM parkd.jobs");
  database_.run(
      "INSERT INTO parkd.jobs (model, body, tenant) SELECT 'm', '{}', 'passed' FROM "
      "generate_series(1, 3)");
  limits_ = ", p_tenants => '{passed}', p_rooms => '{0}', p_others => 100";
  const int n_cycles = fault_rounds(20);
  for (int i = 0; i < 2 * n_cycles; ++i) cycle(n_tenants);
  EXPECT_LE(reads_per_job(n_cycles, n_tenants), 60);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox"), 3 * n_cycles * kJobs);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.claim_v1(" + daemon_ + ", 'm', 10)"), 3)
      << "no mark hides it";
}

// Statistics know of no rows by then, so that a walk over a whole index costs nothing, they say.
TEST_P(PostgresPinnedXmin, plans_made_when_hardly_a_job_was_left_read_no_dead_ones) {
  const int n_tenants = GetParam();
  const auto other = database_.connect();
  pqxx::nontransaction pin(*other);
  pin.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  pin.exec("SELECT count(*) FROM parkd.jobs");
  for (int i = 0; i < 20; ++i) cycle(n_tenants);
  database_.run("ANALYZE parkd.jobs");
  for (int i = 0; i < 10; ++i) cycle(n_tenants, 5);
  for (int i = 0; i < 30; ++i) cycle(n_tenants);
  const auto reads_of_the_key = [&] {
    database_.run("SELECT pg_stat_force_next_flush()");
    return database_.number(
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'jobs_pkey'");
  };
  const int64_t before = reads_of_the_key();
  for (int i = 0; i < 20; ++i) cycle(n_tenants, 5);
  EXPECT_LE(reads_of_the_key() - before, 20 * 5 * 20) << "every statement reads them all";
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

// Daemons and submitters go on for minutes meanwhile, and a job costs what it cost at first. The
// long run, 5 minutes in slices of 30 s:
//   PARKD_LONG=1 tools/pg_sandbox.sh postgres_fault_test --gtest_filter='*UnderLoad*'
TEST(PostgresPinnedXminUnderLoad, a_job_costs_the_same_slice_by_slice) {
  const bool is_long = std::getenv("PARKD_LONG") != nullptr;
  const std::chrono::milliseconds slice =
      is_long ? std::chrono::seconds(30) : std::chrono::seconds(1);
  const int n_slices = is_long ? fault_rounds(1) : 9;
  TestDatabase database;
  FaultWorld::Options options;
  options.n_sql_submitters = 4;
  options.into_a_batch = false;  // its row's dead versions are another matter (README.md)
  FaultWorld world(database, options);
  ASSERT_TRUE(world.progress(50)) << "no load";
  const auto other = database.connect();
  pqxx::nontransaction pin(*other);
  pin.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  pin.exec("SELECT count(*) FROM parkd.jobs");
  const auto entries = [&] {
    return database.number(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'jobs'");
  };
  const auto finished = [&] {
    return database.number("SELECT last_value FROM parkd.message_sequence");
  };

  std::vector<double> costs;
  int64_t entries_before = entries();
  int64_t finished_before = finished();
  for (int i = 0; i < n_slices; ++i) {
    const auto began = std::chrono::steady_clock::now();
    world.run_for(slice);
    const int64_t n_entries = entries() - entries_before;
    const int64_t n_jobs = finished() - finished_before;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    costs.push_back(static_cast<double>(n_entries) /
                    static_cast<double>(std::max<int64_t>(n_jobs, 1)));
    std::printf(
        "xmin pinned, slice %2d: %8lld jobs in all, %6.1f jobs/s, %6.1f index entries a job\n",
        i + 1, static_cast<long long>(finished_before + n_jobs),
        static_cast<double>(n_jobs) / seconds, costs.back());
    std::fflush(stdout);
    entries_before += n_entries;
    finished_before += n_jobs;
  }
  std::printf("most of it in: %s\n",
              database
                  .value("SELECT string_agg(indexrelname || ' ' || idx_tup_read, ', ' ORDER BY "
                         "idx_tup_read DESC) FROM pg_stat_user_indexes WHERE relname = 'jobs' AND "
                         "idx_tup_read > 0")
                  .c_str());
  pin.exec("COMMIT");
  const auto mean = [&](size_t first, size_t last) {
    return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(first),
                           costs.begin() + static_cast<std::ptrdiff_t>(last), 0.0) /
           static_cast<double>(last - first);
  };
  const size_t third = costs.size() / 3;
  // A claim that reads more than 1320 entries leaves marks, and takes a few jobs here.
  EXPECT_LE(mean(costs.size() - third, costs.size()), 1500);
  EXPECT_LE(mean(costs.size() - third, costs.size()), 2 * mean(third, 2 * third) + 50)
      << "a job costs more the longer it lasts";
  world.report("xmin_pinned_for_minutes", n_slices, world.settle());
}

INSTANTIATE_TEST_SUITE_P(Tenants, PostgresPinnedXmin, testing::Values(1, 5),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace parkd
