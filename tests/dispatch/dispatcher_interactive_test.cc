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

// --- submitted at this door, and claimed in the same commit

// How many of each came back, and the ids of those that were submitted.
struct AtTheDoor {
  std::vector<JobId> submitted;
  std::vector<Status> refused;
  std::vector<JobSpec> no_place;

  void come(World& world, JobSpec spec) {
    world.dispatcher.submit_here(
        std::move(spec),
        [this](Result<SubmittedJob> job) {
          if (job.ok()) submitted.push_back(job->id);
          if (!job.ok()) refused.push_back(job.status());
        },
        [this](JobSpec job) { no_place.push_back(std::move(job)); });
    world.settle();
  }
};

TEST_F(Interactive, a_job_of_this_door_is_claimed_as_it_is_submitted) {
  AtTheDoor door;
  door.come(world_, job_for("a"));
  ASSERT_EQ(door.submitted.size(), 1u);
  EXPECT_EQ(world_.phase(door.submitted[0]), LivePhase::running);
  EXPECT_EQ(world_.store.calls["submit_and_claim"], 1);
  wait_for(door.submitted[0]);
  world_.complete_all();
  EXPECT_EQ(world_.message(door.submitted[0]).ending.outcome, Outcome::completed);
  world_.dispatcher.check_idle();
}

TEST_F(Interactive, a_store_of_one_daemon_leaves_it_to_be_claimed) {
  world_.store.claims_at_once = false;
  AtTheDoor door;
  for (int i = 0; i < 3; ++i) door.come(world_, job_for("a"));
  for (const JobId id : door.submitted) {
    EXPECT_EQ(world_.phase(id), LivePhase::running) << "it heard of work";
  }
  world_.complete_all();
  EXPECT_EQ(world_.model().outcomes.at("completed"), 3);
  world_.dispatcher.check_idle();
}

// Another daemon may have room for it.
TEST_F(Interactive, a_job_that_would_only_wait_here_is_given_back) {
  submit("a", 40, 10);
  ASSERT_EQ(world_.model().running_sequences, 6);
  AtTheDoor door;
  JobSpec wide = job_for("a");
  wide.n_choices = 3;
  door.come(world_, wide);
  EXPECT_EQ(door.no_place.size(), 1u) << "two sequences are kept";
  for (int i = 0; i < 5; ++i) {
    door.come(world_, job_for("a", 15));
    if (!door.submitted.empty()) wait_for(door.submitted.back());
  }
  EXPECT_EQ(door.submitted.size(), 2u) << "one runs, and the other waits for the last of them";
  EXPECT_EQ(door.no_place.size(), 4u);
  EXPECT_EQ(world_.model().claimed_awaited, 2);
  world_.complete_all();
  EXPECT_EQ(world_.model().outcomes.at("completed"), 42);
  world_.dispatcher.check_idle();
}

TEST_F(Interactive, a_place_is_taken_while_the_store_is_asked_and_free_when_it_refused) {
  world_.store.hold_submits = true;
  AtTheDoor door;
  for (int i = 0; i < 20; ++i) door.come(world_, job_for("a"));
  EXPECT_EQ(door.no_place.size(), 20u - 4 - kAwaitedPlaces) << "the fifth is for a newcomer";
  world_.store.let_go();
  world_.settle();
  EXPECT_EQ(door.submitted.size(), 4u + kAwaitedPlaces);
  world_.store.hold_submits = false;
  world_.complete_all();
  world_.dispatcher.check_idle();
  world_.store.faults["submit_and_claim"] = FaultyStore::Fault::before;
  for (int i = 0; i < 50; ++i) door.come(world_, job_for("a"));
  EXPECT_EQ(door.refused.size(), 50u);
  world_.dispatcher.check_idle();
}

TEST_F(Interactive, a_job_that_cannot_start_here_is_given_back) {
  AtTheDoor door;
  JobSpec unknown = job_for("a");
  unknown.model = "other";
  door.come(world_, unknown);
  EXPECT_EQ(door.no_place.size(), 1u);
  EXPECT_EQ(door.no_place[0].model, "other");
  World loading(80, 4, 8);
  door.come(loading, job_for("a"));
  EXPECT_EQ(door.no_place.size(), 2u);
  world_.dispatcher.drain();
  world_.settle();
  door.come(world_, job_for("a"));
  EXPECT_EQ(door.no_place.size(), 3u);
  world_.dispatcher.close();
  door.come(world_, job_for("c"));
  ASSERT_EQ(door.no_place.size(), 4u);
  EXPECT_EQ(door.no_place[3].tenant, "c");
  EXPECT_TRUE(door.submitted.empty() && door.refused.empty());
}

// What was asked of the store before something happened comes after it.
class OnItsWay : public Interactive {
 protected:
  OnItsWay() {
    world_.store.hold_submits = true;
    door_.come(world_, job_for("a"));
    EXPECT_EQ(world_.store.calls["submit_and_claim"], 1);
  }
  JobId arrive() {
    world_.store.let_go();
    world_.settle();
    world_.flush();
    return door_.submitted.empty() ? 0 : door_.submitted[0];
  }
  AtTheDoor door_;
};

TEST_F(OnItsWay, a_drain_waits_for_it_and_gives_it_back) {
  world_.dispatcher.drain();
  world_.settle();
  EXPECT_FALSE(world_.dispatcher.drained());
  const JobId id = arrive();
  EXPECT_TRUE(world_.dispatcher.drained());
  EXPECT_EQ(std::get<Job>(world_.get(id)).state, JobState::queued);
  world_.dispatcher.check_idle();
}

TEST_F(OnItsWay, a_claim_of_an_ownership_that_was_lost_is_given_back) {
  world_.dispatcher.ownership_lost();
  world_.settle();
  world_.store.hold_submits = false;
  const JobId id = arrive();
  EXPECT_EQ(world_.phase(id), LivePhase::running) << "claimed anew";
  EXPECT_EQ(world_.model().claimed, 2);
}

TEST_F(OnItsWay, a_cancel_that_comes_before_it_ends_it) {
  const Job job = [&] {
    std::optional<Job> found;
    world_.store.list({}, [&](Result<ListAnswer> answer) { found = answer->jobs.at(0); });
    return *found;
  }();
  EXPECT_EQ(world_.cancel(job.id), CancelAnswer::cancel_requested);
  EXPECT_EQ(arrive(), job.id);
  EXPECT_EQ(world_.message(job.id).ending.outcome, Outcome::cancelled);
  EXPECT_TRUE(world_.engine.started().empty());
}

TEST_F(OnItsWay, a_model_is_not_gone_before_it_came) {
  bool gone = false;
  world_.dispatcher.unload_model("m", [&] { gone = true; });
  world_.settle();
  EXPECT_FALSE(gone);
  arrive();
  EXPECT_TRUE(gone);
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
