// The dispatcher's fairness on the store in memory and on the embedded one.
#include <memory>
#include <utility>

#include "lib/base/check.h"
#include "lib/store/rocksdb/rocksdb_testing.h"
#include "tests/dispatch/fairness_stores.h"
#include "tests/support/temp_dir.h"
#include "tests/support/waiting_store.h"

namespace parkd {
namespace {

// What a store needs for as long as it lives.
struct Embedded {
  TempDir dir;
  ManualClock clock{from_unix_us(1'800'000'000'000'000)};
  std::unique_ptr<WaitingStore> store;
};

std::shared_ptr<JobStore> open_embedded() {
  const auto made = std::make_shared<Embedded>();
  RocksDbStoreOptions options;
  options.store = World::store_options();
  options.dir = made->dir.path() + "/store";
  // Who comes next does not depend on syncs, and they are most of the time.
  auto store = open_rocksdb_store_for_test(options, {nullptr, false}, made->clock);
  PARKD_CHECK(store.ok(), store.status().to_string());
  made->store = std::make_unique<WaitingStore>(std::move(store).value(), "m");
  return {made, made->store.get()};
}

INSTANTIATE_TEST_SUITE_P(Stores, DispatcherFairness,
                         testing::Values(FairnessStore{"memory", nullptr, nullptr},
                                         FairnessStore{"rocksdb", open_embedded, nullptr}),
                         name_of_store);

}  // namespace
}  // namespace parkd
