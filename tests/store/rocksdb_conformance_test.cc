#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/store/conformance/store_conformance.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

class RocksDbHome final : public StoreHome {
 public:
  std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) override {
    RocksDbStoreOptions rocksdb_options;
    rocksdb_options.store = options;
    rocksdb_options.dir = dir_.path() + "/queue";
    Result<std::unique_ptr<JobStore>> store = open_rocksdb_store(rocksdb_options, clock);
    EXPECT_TRUE(store.ok()) << store.status().to_string();
    return store.ok() ? std::move(store).value() : nullptr;
  }

 private:
  TempDir dir_;
};

const StoreFactory kRocksDb{"rocksdb", [] { return std::make_unique<RocksDbHome>(); }};

INSTANTIATE_TEST_SUITE_P(stores, StoreConformance, testing::Values(kRocksDb), name_of_factory);
INSTANTIATE_TEST_SUITE_P(stores, DurableStoreConformance, testing::Values(kRocksDb),
                         name_of_factory);

}  // namespace
}  // namespace parkd
