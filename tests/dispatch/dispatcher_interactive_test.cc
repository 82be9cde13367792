// What is kept for jobs whose callers wait: who starts of it, and what it costs the others.
#include <cmath>
#include <map>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

JobSpec job_for(const std::string& tenant, int64_t blocks = 2) {
  JobSpec spec = job_of(blocks);
  spec.tenant = tenant;
  return spec;
}

// A pool of 80 units and 8 sequences, a quarter of both kept.
class Interactive : public testing::Test {
 protected:
  Interactive() : world_(80, 4, 8) {
    world_.port.interactive_reserve = 0.25;
    world_.ready();
  }
  std::vector<JobId> submit(const std::string& tenant, int n, int64_t blocks = 2) {
    std::vector<JobId> ids;
    for (int i = 0; i < n; ++i) ids.push_back(world_.submit(job_for(tenant, blocks)));
    return ids;
  }
  void wait_for(JobId id, bool waits = true) {
    world_.dispatcher.caller_waits("m", id, waits);
    world_.settle();
  }
  World world_;
};

TEST_F(Interactive, with_the_pool_full_of_a_batch_an_awaited_job_starts_at_once) {
  const auto batch = submit("a", 40, 10);
  EXPECT_EQ(world_.model().running, 6) << "60 of 80 units, 6 of 8 sequences";
  const JobId of_another = world_.submit(job_for("b"));
  EXPECT_NE(world_.phase(of_another), LivePhase::running);
  wait_for(of_another);
  EXPECT_EQ(world_.phase(of_another), LivePhase::running);
  wait_for(batch.back());
  EXPECT_EQ(world_.phase(batch.back()), LivePhase::running)
      << "claimed past its tenant's own, from behind a full lot";
  EXPECT_EQ(world_.model().claimed_awaited, 1);
  EXPECT_EQ(world_.model().started_of_kept, 2);
  EXPECT_EQ(world_.model().reserve.sequences_in_use, 2);
  EXPECT_EQ(world_.model().reserve.units_in_use, Blocks{12});
  wait_for(batch.back(), false);
  wait_for(of_another, false);
  world_.complete_all();
  EXPECT_EQ(world_.model().outcomes.at("completed"), 41);
  world_.dispatcher.check_idle();
}

TEST_F(Interactive, what_no_caller_waits_for_never_uses_what_is_kept) {
  const auto batch = submit("a", 60, 3);
  submit("b", 20, 1);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(world_.model().reserve.sequences_in_use, 0);
    EXPECT_EQ(world_.model().reserve.units_in_use, Blocks{0});
    EXPECT_EQ(world_.model().running_sequences, 6);
    world_.complete_nth(static_cast<size_t>(i));
    world_.flush();
  }
  wait_for(batch.back());
  wait_for(batch.back());
  wait_for(batch.back(), false);
  EXPECT_EQ(world_.model().reserve.sequences_in_use, 1) << "one of two callers still waits";
}

TEST_F(Interactive, a_caller_that_has_gone_hurries_nothing_on) {
  submit("a", 40, 10);
  const auto large = submit("b", 2, 15);
  wait_for(large[0]);
  ASSERT_EQ(world_.phase(large[0]), LivePhase::running);
  wait_for(large[1]);
  ASSERT_EQ(world_.phase(large[1]), LivePhase::parked) << "5 units are left";
  wait_for(large[1], false);
  world_.engine.complete(world_.engine.started().back());
  world_.flush();
  EXPECT_EQ(world_.model().reserve.units_in_use, Blocks{0});
  EXPECT_NE(world_.phase(large[1]), LivePhase::running);
  wait_for(large[1]);
  EXPECT_EQ(world_.phase(large[1]), LivePhase::running);
}

TEST_F(Interactive, at_most_four_awaited_jobs_are_claimed_beyond_the_lots_places) {
  submit("a", 40, 10);
  const auto awaited = submit("a", 12, 15);
  for (const JobId id : awaited) wait_for(id);
  EXPECT_EQ(world_.model().claimed_awaited, 1 + kAwaitedPlaces) << "one runs: 20 units are kept";
  world_.complete_all();
  EXPECT_EQ(world_.model().outcomes.at("completed"), 52);
  world_.dispatcher.check_idle();
}

TEST_F(Interactive, a_job_that_needs_what_is_kept_runs_when_nothing_else_does) {
  const auto batch = submit("a", 6, 10);
  const JobId large = world_.submit(job_for("a", 80));
  JobSpec wide = job_for("a", 1);
  wide.n_choices = 8;
  const JobId of_all_sequences = world_.submit(wide);
  EXPECT_EQ(world_.phase(large), LivePhase::parked);
  world_.complete_all();
  EXPECT_EQ(world_.message(large).ending.outcome, Outcome::completed);
  EXPECT_EQ(world_.message(of_all_sequences).ending.outcome, Outcome::completed);
}

TEST_F(Interactive, a_claim_that_failed_is_made_again) {
  submit("a", 40, 10);
  const JobId id = world_.submit(job_for("a"));
  world_.store.faults["claim"] = FaultyStore::Fault::before;
  wait_for(id);
  EXPECT_NE(world_.phase(id), LivePhase::running);
  world_.store.faults.clear();
  world_.pass(seconds(10));
  EXPECT_EQ(world_.phase(id), LivePhase::running);
}

TEST_F(Interactive, nothing_is_claimed_out_of_turn_where_nothing_is_kept) {
  World world(80, 4, 8);
  world.ready();
  for (int i = 0; i < 40; ++i) world.submit(job_for("a", 10));
  const JobId id = world.submit(job_for("a"));
  world.dispatcher.caller_waits("m", id, true);
  world.settle();
  EXPECT_EQ(world.model().claimed_awaited, 0);
  EXPECT_FALSE(world.phase(id));
}

// Two tenants that always have work, one of them always with a caller for its newest job: what they
// start stays within the bound of parking_lot.h for tenants whose jobs are on their way.
TEST_F(Interactive, who_waits_is_charged_and_the_fair_share_holds) {
  std::map<JobId, std::string> tenants;
  std::map<std::string, int64_t> n_waiting, started;
  std::set<JobId> seen;
  int64_t worst = 0, least = 0, most = 0;
  for (int i = 0; i < 2000; ++i) {
    for (const char* tenant : {"chat", "batch"}) {
      while (n_waiting[tenant] < 12) {
        const JobId id = world_.submit(job_for(tenant, tenant[0] == 'c' ? 2 : 9));
        tenants[id] = tenant;
        ++n_waiting[tenant];
        if (tenant[0] == 'c') wait_for(id);
      }
    }
    world_.engine.complete(world_.engine.running().front());
    world_.flush();
    for (const LiveJob& live : world_.dispatcher.stats()->live) {
      if (live.phase != LivePhase::running || !seen.insert(live.id).second) continue;
      const std::string& tenant = tenants.at(live.id);
      started[tenant] += live.units.count;
      --n_waiting[tenant];
    }
    const int64_t lead = started["chat"] - started["batch"];
    least = std::min(least, lead);
    most = std::max(most, lead);
    worst = std::max(worst, most - least);
  }
  EXPECT_LE(worst, 2 + 9 + 4 * 80);
  EXPECT_GT(world_.model().started_of_kept, 0);
}

}  // namespace
}  // namespace parkd
