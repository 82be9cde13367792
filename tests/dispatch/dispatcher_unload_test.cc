// A model that is unloaded: what waits goes back to the queue, what runs ends, and it may come
// again.
#include "tests/dispatch/world.h"

namespace parkd {
namespace {

struct Unload {
  explicit Unload(World& world) {
    world.dispatcher.unload_model("m", [this] { ++gone; });
    world.settle();
  }
  int gone = 0;
};

JobState stored_state(World& world, JobId id) {
  const JobRecord record = world.get(id);
  const Job* job = std::get_if<Job>(&record);
  EXPECT_NE(job, nullptr) << "job " << id << " has ended";
  return job == nullptr ? JobState::claimed : job->state;
}

TEST(DispatcherUnload, what_waits_goes_back_what_runs_ends_and_then_it_is_gone) {
  World world(10);
  world.ready();
  const JobId running = world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  ASSERT_EQ(world.phase(running), LivePhase::running);
  ASSERT_EQ(world.phase(parked), LivePhase::parked);

  const Unload unload(world);
  world.flush();
  EXPECT_EQ(world.model().state, ModelState::unloading);
  EXPECT_EQ(stored_state(world, parked), JobState::queued);
  EXPECT_EQ(std::get<Job>(world.get(parked)).attempts, 0);
  EXPECT_EQ(world.phase(running), LivePhase::running) << "it may end";
  EXPECT_EQ(unload.gone, 0);
  const JobId late = world.submit(job_of(1));
  world.pass(seconds(10));
  EXPECT_EQ(stored_state(world, late), JobState::queued) << "nothing more is claimed";

  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(unload.gone, 1);
  EXPECT_EQ(world.message(running).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.model().state, ModelState::unloaded);
  EXPECT_EQ(world.model().capacity, Blocks{0});
  world.pass(seconds(10));
  EXPECT_EQ(stored_state(world, late), JobState::queued);
  world.dispatcher.check_idle();

  world.ready();
  world.complete_all();
  EXPECT_EQ(world.message(parked).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::completed);
  EXPECT_EQ(unload.gone, 1);
  world.dispatcher.check_idle();
}

// A counter that fell would look like a restart of the daemon.
TEST(DispatcherUnload, what_its_engine_counted_stays_counted) {
  World world(10);
  world.ready();
  world.engine.steps_repeated = 5;
  world.engine.steps_failed = 2;
  world.submit(job_of(1));
  EXPECT_EQ(world.model().steps_repeated, 5);
  EXPECT_EQ(world.model().steps_failed, 2);
  world.complete_all();
  const Unload unload(world);
  world.flush();
  ASSERT_EQ(unload.gone, 1);
  EXPECT_EQ(world.model().steps_repeated, 5);
  world.engine.steps_repeated = 1;  // of a new one
  world.engine.steps_failed = 0;
  world.submit(job_of(1));
  world.ready();
  world.complete_all();
  EXPECT_EQ(world.model().steps_repeated, 6);
  EXPECT_EQ(world.model().steps_failed, 2);
}

TEST(DispatcherUnload, a_model_that_is_kept_after_all_goes_on) {
  World world(10);
  world.ready();
  world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  const Unload unload(world);
  world.flush();
  ASSERT_EQ(stored_state(world, parked), JobState::queued);
  world.dispatcher.keep_model("m");
  world.settle();
  EXPECT_EQ(world.model().state, ModelState::ready);
  EXPECT_EQ(world.phase(parked), LivePhase::parked);
  world.complete_all();
  EXPECT_EQ(unload.gone, 0);
  EXPECT_EQ(world.message(parked).ending.outcome, Outcome::completed);
  world.dispatcher.check_idle();
}

TEST(DispatcherUnload, a_claim_under_way_is_waited_for_and_given_back) {
  World world(10);
  world.store.hold_claims = true;
  world.ready();
  const JobId id = world.submit(job_of(1));
  const Unload unload(world);
  EXPECT_EQ(unload.gone, 0) << "its answer may bring jobs";
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  world.flush();
  EXPECT_EQ(stored_state(world, id), JobState::queued);
  EXPECT_EQ(unload.gone, 1);
  world.dispatcher.check_idle();
}

TEST(DispatcherUnload, one_that_is_not_ready_or_idle_is_gone_at_once) {
  World world(10);
  const Unload early(world);
  EXPECT_EQ(early.gone, 1);
  world.ready();
  const Unload idle(world);
  EXPECT_EQ(idle.gone, 1);
  world.dispatcher.keep_model("m");  // too late
  world.settle();
  EXPECT_EQ(world.model().state, ModelState::unloaded);
}

TEST(DispatcherUnload, a_drain_meanwhile_ends_as_ever) {
  World world(10);
  world.ready();
  world.submit(job_of(10));
  const Unload unload(world);
  world.dispatcher.drain();
  world.settle();
  EXPECT_FALSE(world.dispatcher.drained());
  world.complete_nth(0);
  world.flush();
  EXPECT_TRUE(world.dispatcher.drained());
  EXPECT_EQ(unload.gone, 1);
}

}  // namespace
}  // namespace parkd
