// The dispatcher's fairness on PostgreSQL, where tenants have weights.
#include <memory>
#include <utility>

#include "lib/base/check.h"
#include "tests/dispatch/fairness_stores.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/waiting_store.h"

namespace parkd {
namespace {

// One database for the whole run, emptied for each world.
class Database final : public testing::Environment {
 public:
  void SetUp() override { database = std::make_unique<TestDatabase>(); }
  void TearDown() override { database.reset(); }
  static inline std::unique_ptr<TestDatabase> database;
};
const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new Database);

struct Opened {
  ManualClock clock{from_unix_us(1'800'000'000'000'000)};
  std::unique_ptr<WaitingStore> store;
  ~Opened() { store->stop(); }
};

std::shared_ptr<JobStore> open_database() {
  Database::database->empty();
  const auto made = std::make_shared<Opened>();
  PostgresOptions options = quiet_options(Database::database->dsn());
  options.test_clock = &made->clock;
  options.beat = std::chrono::hours(1);
  options.ttl = std::chrono::hours(24);
  auto store = open_postgres_store(std::move(options), World::store_options());
  PARKD_CHECK(store.ok(), store.status().to_string());
  made->store = std::make_unique<WaitingStore>(std::move(store).value(), "m");
  return {made, made->store.get()};
}

void set_weight(const std::string& tenant, double weight) {
  Database::database->run("INSERT INTO parkd.tenants (name, weight) VALUES ('" + tenant + "', " +
                          std::to_string(weight) + ")");
}

INSTANTIATE_TEST_SUITE_P(Stores, DispatcherFairness,
                         testing::Values(FairnessStore{"postgres", open_database, set_weight,
                                                       true}),
                         name_of_store);

}  // namespace
}  // namespace parkd
