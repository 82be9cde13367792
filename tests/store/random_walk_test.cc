// The embedded store against the memory store: StoreWalk's random verbs, with restarts.
#include <gtest/gtest.h>

#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/store/store_walk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

TEST(RandomWalk, the_embedded_store_answers_as_the_memory_store_does) {
  for (int n = 0; n < 3; ++n) {
    const uint64_t seed = walk_seed();
    const TempDir dir;
    StoreWalk steps(seed, true, [&dir](Clock& clock) {
      RocksDbStoreOptions options;
      options.dir = dir.path() + "/queue";
      return open_rocksdb_store(options, clock);
    });
    ASSERT_NO_FATAL_FAILURE(walk(steps, walk_steps(800), seed));
  }
}

}  // namespace
}  // namespace parkd
