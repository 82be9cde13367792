// The suite every store passes, on the pair rocksdb + postgres: once with everything delivered
// before it is read, once with a database that never comes.
#include "tests/store/conformance/store_conformance.h"
#include "tests/store/outbox/outbox_home.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

class SharedDatabase final : public testing::Environment {
 public:
  void SetUp() override { database = std::make_unique<TestDatabase>(); }
  void TearDown() override { database.reset(); }
  static inline std::unique_ptr<TestDatabase> database;
};
const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new SharedDatabase);

std::unique_ptr<JobStore> open_pair(OutboxOptions options, const StoreOptions& store_options,
                                    Clock& clock) {
  options.queue.store = store_options;
  options.mailbox.test_clock = &clock;
  auto store = open_outbox_store(std::move(options), clock);
  EXPECT_TRUE(store.ok()) << store.status().to_string();
  return store.ok() ? std::move(store).value() : nullptr;
}

class DeliveredHome final : public StoreHome {
 public:
  DeliveredHome() {
    SharedDatabase::database->run(
        "DELETE FROM parkd.mailbox; DELETE FROM parkd.history; DELETE FROM parkd.outboxes");
  }
  std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) override {
    auto store = open_pair(outbox_options(dir_.path() + "/queue", SharedDatabase::database->dsn()),
                           options, clock);
    return store == nullptr ? nullptr : make_settled(std::move(store));
  }

 private:
  TempDir dir_;
};

class AwayHome final : public StoreHome {
 public:
  std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) override {
    return open_pair(outbox_options(dir_.path() + "/queue", "host=/nonexistent dbname=none"),
                     options, clock);
  }

 private:
  TempDir dir_;
};

const StoreFactory kDelivered{
    "delivered",
    [] { return std::make_unique<DeliveredHome>(); },
    {{"claims_and_reads_sync_nothing",
      "true of claims and reads; but a delivered message leaves the outbox in a commit of its own, "
      "so the finish in this sentence makes two"}}};
const StoreFactory kAway{"database_away", [] { return std::make_unique<AwayHome>(); }};

INSTANTIATE_TEST_SUITE_P(stores, StoreConformance, testing::Values(kDelivered, kAway),
                         name_of_factory);
INSTANTIATE_TEST_SUITE_P(stores, DurableStoreConformance, testing::Values(kDelivered, kAway),
                         name_of_factory);

}  // namespace
}  // namespace parkd
