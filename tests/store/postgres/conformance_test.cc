// The suite every store passes, on PostgreSQL. Time stands still as in the other stores' runs: each
// verb is given the test's clock.
#include <cstdlib>

#include "tests/store/conformance/store_conformance.h"
#include "tests/store/postgres/test_database.h"

namespace parkd {
namespace {

// One database for the whole run, emptied for each test: its partitions take longer to make than
// most tests to run.
class SharedDatabase final : public testing::Environment {
 public:
  void SetUp() override { database = std::make_unique<TestDatabase>(); }
  void TearDown() override { database.reset(); }
  static inline std::unique_ptr<TestDatabase> database;
};
const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new SharedDatabase);

class PostgresHome final : public StoreHome {
 public:
  PostgresHome() { SharedDatabase::database->empty(); }
  bool set_weight(const std::string& tenant, double weight) override {
    SharedDatabase::database->run("INSERT INTO parkd.tenants (name, weight) VALUES ('" + tenant +
                                  "', " + std::to_string(weight) +
                                  ") ON CONFLICT (name) DO UPDATE SET weight = EXCLUDED.weight");
    return true;
  }
  std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) override {
    PostgresOptions postgres = quiet_options(SharedDatabase::database->dsn());
    postgres.test_clock = &clock;
    // tests/store/postgres/with_pgbouncer.sh runs the suite a second time through a pooler.
    if (const char* pooler = std::getenv("PARKD_TEST_POOLER")) {
      postgres.listen_dsn = postgres.dsn;
      postgres.dsn += " " + std::string(pooler);
      postgres.transaction_pooling = true;
    }
    postgres.beat = std::chrono::hours(1);
    postgres.ttl = std::chrono::hours(24 * 3650);  // the clock leaps by months between two beats
    auto store = open_postgres_store(std::move(postgres), options);
    EXPECT_TRUE(store.ok()) << store.status().to_string();
    return store.ok() ? std::move(store).value() : nullptr;
  }
};

const StoreFactory kPostgres{
    "postgres",
    [] { return std::make_unique<PostgresHome>(); },
    {{"what_is_remembered_of_batches_is_bounded_in_bytes", "batches are rows, not kept in RAM"},
     {"a_requeue_that_finds_no_room_is_refused_whole",
      "parkd.limits alone hold a requeue: Roles.limits_hold_for_each_tenant_by_every_sql_door"}}};

INSTANTIATE_TEST_SUITE_P(stores, StoreConformance, testing::Values(kPostgres), name_of_factory);
INSTANTIATE_TEST_SUITE_P(stores, DurableStoreConformance, testing::Values(kPostgres),
                         name_of_factory);

}  // namespace
}  // namespace parkd
