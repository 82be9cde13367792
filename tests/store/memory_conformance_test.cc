#include "lib/store/memory/memory_store.h"
#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

class MemoryHome final : public StoreHome {
 public:
  std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) override {
    return make_memory_store(options, clock);
  }
};

INSTANTIATE_TEST_SUITE_P(stores, StoreConformance,
                         testing::Values(StoreFactory{
                             "memory", [] { return std::make_unique<MemoryHome>(); }}),
                         name_of_factory);

}  // namespace
}  // namespace parkd
