// Who starts next where tenants share a lot: counted in starts and need, never in time.
#include <algorithm>
#include <cstdlib>
#include <map>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

JobSpec job_for(const std::string& tenant, int64_t blocks = 2) {
  JobSpec spec = job_of(blocks);
  spec.tenant = tenant;
  return spec;
}

// The tenants of the jobs that start from now on, in order, while one after the other ends.
class Starts {
 public:
  explicit Starts(World& world) : world_(world) {}

  void submit(const std::string& tenant, int n, int64_t blocks = 2) {
    for (int i = 0; i < n; ++i) tenants_[world_.submit(job_for(tenant, blocks))] = tenant;
  }
  // Ends what runs; says whose jobs started then.
  std::vector<std::string> next() {
    for (const RequestId id : world_.engine.running()) world_.engine.complete(id);
    world_.flush();
    std::vector<std::string> names;
    for (const LiveJob& live : world_.dispatcher.stats()->live) {
      if (live.phase == LivePhase::running) names.push_back(tenants_.at(live.id));
    }
    return names;
  }

 private:
  World& world_;
  std::map<JobId, std::string> tenants_;
};

TEST(DispatcherFairness, a_newcomer_waits_for_what_runs_and_one_job_not_for_all_that_is_parked) {
  World world(1000, 8, 1);
  world.ready();
  Starts starts(world);
  starts.submit("old", 200);
  ASSERT_EQ(world.model().running, 1);
  starts.submit("new", 1);
  int n_before = 0;
  while (starts.next() != std::vector<std::string>{"new"}) {
    ASSERT_LE(++n_before, 1) << "jobs of the tenant that was there first started before it";
  }
}

TEST(DispatcherFairness, two_and_ten_tenants_share_what_starts_from_the_moment_they_wait) {
  for (const int n_tenants : {2, 10}) {
    World world(1000, 8, 1);
    world.ready();
    Starts starts(world);
    starts.submit("t0", 300);
    for (int i = 0; i < 5; ++i) starts.next();
    for (int t = 1; t < n_tenants; ++t) starts.submit("t" + std::to_string(t), 40);
    std::map<std::string, int> n_started;
    for (int i = 1; i <= 30 * n_tenants; ++i) {
      const auto started = starts.next();
      ASSERT_EQ(started.size(), 1u) << "the engine has one place and there is work";
      ++n_started[started.front()];
      int least = INT32_MAX;
      int most = 0;
      for (int t = 0; t < n_tenants; ++t) {
        const int n = n_started["t" + std::to_string(t)];
        least = std::min(least, n);
        most = std::max(most, n);
      }
      // All jobs are alike: one largest job of each of two tenants, in the store's order and in the
      // lot's.
      ASSERT_LE(most - least, 4) << n_tenants << " tenants, after " << i << " starts";
    }
  }
}

TEST(DispatcherFairness, alone_a_tenant_may_use_every_place_and_one_stays_for_the_next) {
  World world(1000, 4, 1);
  world.ready();
  Starts starts(world);
  starts.submit("a", 20);
  EXPECT_EQ(world.model().parked, 4);
  starts.submit("b", 3);
  EXPECT_EQ(world.model().parked, 5) << "the place that was kept";
}

TEST(DispatcherFairness, a_high_job_passes_its_own_tenants_jobs_alone) {
  World world(1000, 8, 1);
  world.ready();
  Starts starts(world);
  starts.submit("a", 10);
  starts.submit("b", 10);
  starts.next();
  JobSpec urgent = job_for("a");
  urgent.priority = Priority::high;
  const JobId id = world.submit(urgent);
  int n_others = 0;
  for (int i = 0; i < 12 && world.phase(id) != LivePhase::running; ++i) {
    for (const RequestId running : world.engine.running()) world.engine.complete(running);
    world.flush();
    ++n_others;
  }
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_LE(n_others, 4);
}

}  // namespace
}  // namespace parkd
