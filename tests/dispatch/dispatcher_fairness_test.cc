// Who starts next where tenants share a lot: counted in starts and need, never in time. The same
// tests on every store.
#include <algorithm>
#include <cstdlib>
#include <map>

#include "tests/dispatch/fairness_stores.h"

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

TEST_P(DispatcherFairness, a_newcomer_waits_for_what_runs_and_one_job_not_for_all_that_is_parked) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
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

TEST_P(DispatcherFairness, two_and_ten_tenants_share_what_starts_from_the_moment_they_wait) {
  for (const int n_tenants : {2, 10}) {
    const auto owner = world_of(1000, 8, 1);
    World& world = *owner;
    world.ready();
    Starts starts(world);
    starts.submit("t0", many(300));
    for (int i = 0; i < 5; ++i) starts.next();
    for (int t = 1; t < n_tenants; ++t) starts.submit("t" + std::to_string(t), many(40));
    std::map<std::string, int> n_started;
    for (int i = 1; i <= many(30) * n_tenants; ++i) {
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

TEST_P(DispatcherFairness, tenants_share_what_starts_by_their_weight) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
  const double weight = set_weight("heavy", 3) ? 3 : 1;
  world.ready();
  Starts starts(world);
  starts.submit("plain", 40);
  starts.submit("heavy", 40);
  std::map<std::string, int> n_started;
  for (int i = 1; i <= 40; ++i) {
    const auto started = starts.next();
    ASSERT_EQ(started.size(), 1u);
    ++n_started[started.front()];
    // Two jobs of each, over its weight: in the store's order and in the lot's.
    ASSERT_LE(std::abs(n_started["heavy"] / weight - n_started["plain"]), 2 + 2 / weight) << i;
  }
}

TEST_P(DispatcherFairness, alone_a_tenant_may_use_every_place_and_one_stays_for_the_next) {
  const auto owner = world_of(1000, 4, 1);
  World& world = *owner;
  world.ready();
  Starts starts(world);
  starts.submit("a", 20);
  EXPECT_EQ(world.model().parked, 4);
  starts.submit("b", 1);
  EXPECT_EQ(world.model().given_back, 2) << "b had the kept place, and may have more";
  EXPECT_EQ(world.model().parked, 4) << "it has no more: all but the kept place is used again";
  starts.submit("b", 2);
  EXPECT_EQ(world.model().parked, 4) << "two of each, and the kept place";
  EXPECT_LE(world.model().given_back, 4);
  starts.submit("c", 1);
  EXPECT_EQ(world.model().parked, 4);
}

TEST_P(DispatcherFairness, every_newcomer_finds_a_place_in_a_full_lot_without_a_start) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
  world.ready();
  Starts starts(world);
  starts.submit("old", 100);
  std::vector<JobId> newcomers;
  for (int t = 0; t < 7; ++t) newcomers.push_back(world.submit(job_for("t" + std::to_string(t))));
  for (const JobId id : newcomers) EXPECT_EQ(world.phase(id), LivePhase::parked) << id;
  EXPECT_EQ(world.engine.started().size(), 1u) << "while the first job runs";
}

// In the lot all have their share: what is given back is not claimed again in turns.
TEST_P(DispatcherFairness, places_are_given_back_a_few_times_not_in_turns_for_ever) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
  world.ready();
  Starts starts(world);
  starts.submit("a", many(400));
  starts.submit("b", many(400));
  for (int i = 0; i < many(600); ++i) ASSERT_EQ(starts.next().size(), 1u);
  EXPECT_LE(world.model().given_back, 8) << "both have work all the time";
  EXPECT_LE(world.model().claimed, 1 + many(600) + 9 + 8);
}

TEST_P(DispatcherFairness, a_tenant_that_comes_now_and_then_costs_two_give_backs_a_job) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
  world.ready();
  Starts starts(world);
  starts.submit("a", many(400));
  for (int i = 0; i < many(300); ++i) {
    if (i % 3 == 0) starts.submit("b", 1);
    ASSERT_EQ(starts.next().size(), 1u);
  }
  EXPECT_LE(world.model().given_back, 2 * many(100));
  world.complete_all();
  EXPECT_EQ(world.model().outcomes.at("completed"), many(500));
  world.dispatcher.check_idle();
}

// Issue 12, A.2: a few long jobs of many choices fill the lot and nearly the pool.
class FullOfLarge {
 public:
  explicit FullOfLarge(std::unique_ptr<World> made) : owner(std::move(made)), world(*owner) {
    world.ready();
    for (int i = 0; i < 10; ++i) world.submit(large());
    EXPECT_EQ(world.model().running, 2);
    EXPECT_EQ(world.model().parked, 4);
  }
  static JobSpec large() {
    JobSpec spec = job_for("large", 7);
    spec.n_choices = 7;
    return spec;
  }
  static JobSpec small(const std::string& tenant) { return job_for(tenant, 2); }
  // Small jobs of two units that start, one after the other, before the next large one.
  int small_ones_that_pass(const std::string& tenant) {
    const size_t n_before = world.engine.started().size();
    std::optional<JobId> last;
    for (int i = 0; i < 200; ++i) {
      const JobId id = world.submit(small(tenant));
      if (world.phase(id) != LivePhase::running) break;
      world.engine.complete(world.engine.started().back());
      world.flush();
    }
    return static_cast<int>(world.engine.started().size() - n_before);
  }

  const std::unique_ptr<World> owner;
  World& world;
};

TEST_P(DispatcherFairness, a_small_job_starts_past_a_lot_full_of_large_ones) {
  for (const char* tenant : {"large", "small"}) {
    FullOfLarge scene(world_of(100, 4, 32));
    const JobId id = scene.world.submit(FullOfLarge::small(tenant));
    EXPECT_EQ(scene.world.phase(id), LivePhase::running) << tenant << ": two units are free";
    EXPECT_EQ(scene.world.model().claimed_small, tenant == std::string("large") ? 1 : 0)
        << "a newcomer has the kept place";
  }
  FullOfLarge scene(world_of(100, 4, 32));
  scene.world.submit(FullOfLarge::large());
  JobSpec in_the_kept_place = FullOfLarge::large();
  in_the_kept_place.tenant = "other";
  scene.world.submit(in_the_kept_place);
  EXPECT_EQ(scene.world.phase(scene.world.submit(FullOfLarge::small("third"))), LivePhase::running);
}

TEST_P(DispatcherFairness, small_jobs_pass_a_large_one_with_one_capacity_of_units_at_most) {
  FullOfLarge scene(world_of(100, 4, 32));
  const int n = scene.small_ones_that_pass("large");
  EXPECT_EQ(n, 100 / 2) << "the pool has 100 units, each takes two";
  EXPECT_EQ(scene.world.model().passed_units, 100);
  EXPECT_EQ(scene.world.model().claimed_small, n);
  EXPECT_LE(scene.world.model().parked, 4 + 1 + kSmallPlaces);
  scene.world.complete_all();
  EXPECT_EQ(scene.world.model().outcomes.at("completed"), 10 + n + 1);
  scene.world.dispatcher.check_idle();
}

TEST_P(DispatcherFairness, small_jobs_that_do_not_fit_take_four_places_at_most) {
  FullOfLarge scene(world_of(100, 4, 32));
  JobSpec wide = job_for("large", 1);  // 20 tokens, but three sequences and units
  wide.n_choices = 3;
  wide.prompt_tokens = 3;
  wide.max_new_tokens = 3;
  for (int i = 0; i < 10; ++i) scene.world.submit(wide);
  EXPECT_EQ(scene.world.model().claimed_small, kSmallPlaces);
  EXPECT_EQ(scene.world.model().parked, 4 + kSmallPlaces);
  const JobId newcomer = scene.world.submit(FullOfLarge::small("newcomer"));
  EXPECT_EQ(scene.world.phase(newcomer), LivePhase::running) << "a place is kept for it";
  scene.world.complete_all();
  EXPECT_EQ(scene.world.model().outcomes.at("completed"), 10 + 10 + 1);
  scene.world.dispatcher.check_idle();
}

TEST_P(DispatcherFairness, a_high_job_passes_its_own_tenants_jobs_alone) {
  const auto owner = world_of(1000, 8, 1);
  World& world = *owner;
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
