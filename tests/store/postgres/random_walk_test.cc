// PostgreSQL against the memory store: StoreWalk's random verbs, with restarts.
#include <gtest/gtest.h>

#include "tests/store/postgres/test_database.h"
#include "tests/store/store_walk.h"

namespace parkd {
namespace {

TEST(RandomWalk, postgres_answers_as_the_memory_store_does) {
  const uint64_t seed = walk_seed();
  const TestDatabase database;
  StoreWalk steps(seed, false, [&database](Clock& clock) {
    PostgresOptions options = quiet_options(database.dsn());
    options.test_clock = &clock;
    options.beat = std::chrono::hours(1);
    options.ttl = std::chrono::hours(24 * 3650);  // the clock leaps by days between two beats
    return open_postgres_store(std::move(options), {});
  });
  ASSERT_NO_FATAL_FAILURE(walk(steps, walk_steps(800), seed));
}

}  // namespace
}  // namespace parkd
