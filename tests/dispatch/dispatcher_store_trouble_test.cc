// A store that is away, loses answers or tells nothing, and one that gave up this daemon's claims.
#include <gtest/gtest.h>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

// --- the store in trouble

TEST(Dispatcher, a_result_outlives_a_store_that_is_away_and_is_stored_once) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::before;
  world.complete_nth(0);
  for (int i = 0; i < 60; ++i) world.pass(seconds(1));
  EXPECT_TRUE(std::holds_alternative<Job>(world.get(id)));
  EXPECT_EQ(world.dispatcher.stats()->unstored_endings, 1);
  EXPECT_TRUE(world.dispatcher.stats()->store_trouble);
  EXPECT_LT(world.store.calls["finish"], 30) << "the delay grows";
  world.store.faults.clear();
  world.pass(seconds(5));
  EXPECT_EQ(world.message(id).ending.body, "whole");
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_FALSE(world.dispatcher.stats()->store_trouble);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_finish_whose_answer_was_lost_is_not_stored_twice) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::after;
  world.complete_nth(0);
  world.flush();
  world.store.faults.clear();
  world.pass(seconds(5));
  EXPECT_GE(world.store.calls["finish"], 2);
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_claim_that_fails_is_asked_again) {
  World world(10);
  world.store.faults["claim"] = FaultyStore::Fault::before;
  world.ready();
  const JobId id = world.submit(job_of(5));
  EXPECT_EQ(world.phase(id), std::nullopt);
  EXPECT_LE(world.dispatcher.next_due(), milliseconds(50));
  world.store.faults.clear();
  world.pass(milliseconds(50));
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

TEST(Dispatcher, a_lost_wake_up_is_healed_by_the_poll) {
  World world(10);
  world.store.set_observer({});  // a store that tells nothing
  world.ready();
  const JobId id = world.submit(job_of(5));
  ASSERT_EQ(world.phase(id), std::nullopt);
  world.pass(milliseconds(1250));  // the poll interval and its jitter
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

TEST(Dispatcher, after_a_refusal_that_is_not_the_stores_absence_endings_go_one_by_one) {
  World world(100);
  world.ready();
  for (int i = 0; i < 3; ++i) world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::before;
  world.store.answers["finish"] = internal_error("one of them is poison");
  for (size_t n = 0; n < 3; ++n) world.complete_nth(n);
  world.flush();
  world.store.faults.clear();
  world.pass(seconds(1));
  EXPECT_EQ(world.store.finish_sizes, (std::vector<size_t>{3, 1, 1, 1}));
  EXPECT_EQ(world.mailbox().size(), 3u);
}

TEST(Dispatcher, unstored_endings_bound_the_claims) {
  World world(1000, 2, 2);
  world.ready();
  world.store.faults["finish"] = FaultyStore::Fault::before;
  for (int i = 0; i < 100; ++i) world.submit(job_of(1));
  for (int i = 0; i < 200; ++i) {
    for (const RequestId id : world.engine.running()) world.engine.complete(id);
    world.pass(seconds(1));
  }
  EXPECT_LE(world.model().claimed, 4 * (2 + 2)) << "results are kept, so no more are made";
  world.store.faults.clear();
  for (int i = 0; i < 20; ++i) {
    world.pass(seconds(1));
    world.complete_all();
  }
  EXPECT_EQ(world.mailbox().size(), 100u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, small_jobs_past_a_full_lot_pile_up_no_more_than_others) {
  World world(1000, 1, 8);
  world.ready();
  for (int i = 0; i < 6; ++i) world.submit(job_of(499));
  ASSERT_EQ(world.model().running, 2);
  world.store.faults["finish"] = FaultyStore::Fault::before;
  for (int i = 0; i < 100; ++i) {
    world.submit(job_of(1));
    const auto running = world.engine.running();
    if (running.size() > 2) world.engine.complete(running.back());
    world.settle();
  }
  EXPECT_GT(world.model().claimed_small, 10);
  EXPECT_LE(world.model().claimed, 4 * (1 + 8)) << "as many as without small ones";
  world.store.faults.clear();
  world.pass(seconds(10));
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 106u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_small_job_that_comes_while_a_claim_for_one_is_out_is_found) {
  World world(100, 1, 8);
  world.ready();
  for (int i = 0; i < 5; ++i) world.submit(job_of(49));
  ASSERT_EQ(world.model().running, 2);
  world.store.hold_claims = true;
  world.submit(job_of(49));
  world.store.let_go();  // the lot has a place that is kept: nobody came for it
  world.settle();        // and asks for something small
  const JobId id = world.submit(job_of(1));
  world.store.let_go();
  world.settle();
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  EXPECT_EQ(world.phase(id), LivePhase::running) << "without waiting for the next look";
  world.complete_all();
}

// --- ownership

TEST(Dispatcher, after_a_loss_of_ownership_nothing_is_held_and_everything_is_claimed_anew) {
  World world(10, 2);
  world.ready();
  std::vector<JobId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.submit(job_of(6)));
  ASSERT_EQ(world.model().running, 1);
  ASSERT_EQ(world.model().parked, 2);
  const size_t started = world.engine.started().size();
  world.lose_ownership();
  EXPECT_EQ(world.model().leases_lost, 3);
  EXPECT_EQ(world.engine.cancelled().size(), 1u) << "its run is stopped";
  EXPECT_EQ(world.model().running, 1) << "and what waits in the store is claimed at once";
  EXPECT_EQ(world.engine.started().size(), started + 1);
  EXPECT_EQ(world.store.calls["release"], 0) << "there is nothing to give back";
  world.complete_all();
  for (const JobId id : ids) EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.mailbox().size(), 4u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_lost_run_keeps_its_units_until_the_engine_has_stopped_it) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.lose_ownership();
  EXPECT_EQ(world.model().in_use, Blocks{10}) << "I2: the engine still holds the blocks";
  EXPECT_EQ(world.phase(id), LivePhase::parked) << "the job was claimed again beside its lost run";
  world.cancel(id);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled) << "the late result is ignored";
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, endings_the_store_has_not_got_are_dropped_with_their_leases) {
  World world(10);
  world.ready();
  world.store.faults["finish"] = FaultyStore::Fault::before;
  const JobId id = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  ASSERT_EQ(world.dispatcher.stats()->unstored_endings, 1);
  world.lose_ownership();
  EXPECT_EQ(world.dispatcher.stats()->unstored_endings, 0);
  EXPECT_EQ(world.phase(id), LivePhase::running) << "it runs again, under a new lease";
  world.store.faults.clear();
  world.complete_all();
  world.pass(seconds(1));  // the store's back-off
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, an_ending_the_store_is_looking_at_counts_as_it_answers) {
  World world(10);
  world.ready();
  world.store.hold_finishes = true;
  const JobId stored = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  world.lose_ownership();  // too late for `stored`: the store took its ending
  EXPECT_EQ(world.phase(stored), LivePhase::ending);
  world.store.hold_finishes = false;
  world.store.let_go();
  world.settle();
  EXPECT_EQ(world.message(stored).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  EXPECT_EQ(world.model().leases_lost, 0);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, an_ending_the_store_failed_to_take_is_not_sent_again_after_the_loss) {
  World world(10);
  world.ready();
  world.store.hold_finishes = true;
  world.store.faults["finish"] = FaultyStore::Fault::before;
  const JobId id = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  world.lose_ownership();
  world.store.hold_finishes = false;
  world.store.faults.clear();
  world.store.let_go();
  world.pass(seconds(10));
  EXPECT_EQ(world.store.calls["finish"], 1);
  EXPECT_EQ(world.model().leases_lost, 1);
  EXPECT_EQ(world.phase(id), LivePhase::running);
  world.complete_all();
  world.pass(seconds(1));  // the store's back-off
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_claim_that_was_under_way_at_the_loss_is_given_back) {
  World world(10);
  world.ready();
  world.store.hold_claims = true;
  const JobId id = world.submit(job_of(5));
  world.dispatcher.ownership_lost();  // the store does not say on which side the claim fell
  world.settle();
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  EXPECT_EQ(world.store.calls["release"], 1);
  world.pass(seconds(2));
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_EQ(std::get<Job>(world.get(id)).attempts, 0);
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_body_rendered_after_the_loss_is_ignored) {
  World world(10);
  std::vector<std::function<void()>> tasks;
  Dispatcher dispatcher({}, world.store, world.clock, [&](std::function<void()> task) {
    tasks.push_back(std::move(task));
    return true;
  });
  FakeEngine engine(kBlockSize, [&](GenerationResult r) { dispatcher.on_result(std::move(r)); });
  world.port.engine = &engine;
  dispatcher.model_ready("m", world.port);
  world.submit(job_of(5));
  const auto work = [&](bool run_tasks) {
    do {
      while (dispatcher.run_once()) continue;
      if (run_tasks)
        for (auto& task : std::exchange(tasks, {})) task();
    } while (run_tasks && !tasks.empty());
    while (dispatcher.run_once()) continue;
  };
  work(true);
  ASSERT_EQ(engine.running().size(), 1u);
  engine.complete(engine.running().front());
  work(false);
  ASSERT_EQ(tasks.size(), 1u) << "the body is being written";
  dispatcher.ownership_lost();
  dispatcher.drain();
  work(true);
  EXPECT_TRUE(dispatcher.drained());
  EXPECT_TRUE(world.mailbox().empty());
  dispatcher.check_idle();
}

}  // namespace
}  // namespace parkd
