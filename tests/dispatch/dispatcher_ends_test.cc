// What ends a job, or the dispatcher, before its time: cancel, deadline, run timeout, drain.
#include <gtest/gtest.h>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

// --- cancel, deadline, run timeout

TEST(Dispatcher, cancelling_a_parked_job_frees_its_place_at_once) {  // B6
  World world(10, 1);
  world.ready();
  world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  const JobId waiting = world.submit(job_of(10));
  ASSERT_EQ(world.phase(parked), LivePhase::parked);
  ASSERT_EQ(world.phase(waiting), std::nullopt);
  EXPECT_EQ(world.cancel(parked), CancelAnswer::cancel_requested);
  EXPECT_EQ(world.phase(waiting), LivePhase::parked);
  world.flush();
  EXPECT_EQ(world.message(parked).ending.outcome, Outcome::cancelled);
}

TEST(Dispatcher, cancelling_a_running_job_stops_it_and_its_units_wake_the_next) {  // B6
  World world(10);
  world.ready();
  const JobId running = world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  EXPECT_EQ(world.cancel(running), CancelAnswer::cancel_requested);
  EXPECT_EQ(world.phase(parked), LivePhase::running);
  world.flush();
  EXPECT_EQ(world.message(running).ending.outcome, Outcome::cancelled);
  EXPECT_EQ(world.message(running).ending.units, 10);
  EXPECT_EQ(world.model().outcomes.at("cancelled"), 1);
}

TEST(Dispatcher, an_answer_cut_at_its_token_limit_ends_as_truncated) {
  World world(10);
  world.ready();
  for (const FinishReason reason : {FinishReason::length, FinishReason::stop}) {
    const JobId id = world.submit(job_of(10));
    world.engine.end(world.engine.running().front(), reason, Status());
    world.settle();
    world.flush();
    EXPECT_EQ(world.message(id).ending.truncated, reason == FinishReason::length);
  }
}

TEST(Dispatcher, a_result_that_comes_after_the_cancel_changes_nothing) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.cancel(id);
  EXPECT_EQ(world.engine.cancelled().size(), 1u);
  EXPECT_EQ(world.model().in_use, Blocks{10}) << "the engine still holds the blocks";
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_cancel_that_comes_after_the_result_changes_nothing) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.complete_nth(0);
  ASSERT_EQ(world.phase(id), LivePhase::ending);
  world.cancel(id);
  world.flush();
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
}

TEST(Dispatcher, a_cancel_that_overtakes_the_claims_answer_is_not_lost) {
  World world(10);
  world.ready();
  world.store.hold_claims = true;
  const JobId id = world.submit(job_of(5));
  ASSERT_EQ(world.phase(id), std::nullopt) << "claimed, and the answer is on its way";
  EXPECT_EQ(world.cancel(id), CancelAnswer::cancel_requested);
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  EXPECT_TRUE(world.engine.started().empty());
}

TEST(Dispatcher, a_job_parked_past_its_deadline_is_deadline_missed) {  // B7
  World world(10);
  world.ready();
  world.submit(job_of(10));
  JobSpec spec = job_of(10);
  spec.deadline = world.clock.now() + seconds(30);
  const JobId late = world.submit(spec);
  ASSERT_EQ(world.phase(late), LivePhase::parked);
  world.pass(seconds(29));
  ASSERT_EQ(world.phase(late), LivePhase::parked);
  EXPECT_LE(world.dispatcher.next_due(), seconds(1)) << "the loop must wake for it";
  world.pass(seconds(1));
  world.flush();
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::deadline_missed);
  EXPECT_EQ(world.model().parked, 0);
}

TEST(Dispatcher, a_job_running_past_its_deadline_is_stopped_and_frees_its_units) {
  World world(10);
  world.ready();
  JobSpec spec = job_of(10);
  spec.deadline = world.clock.now() + seconds(30);
  const JobId late = world.submit(spec);
  const JobId next = world.submit(job_of(10));
  world.pass(seconds(30));
  EXPECT_EQ(world.phase(next), LivePhase::running);
  world.flush();
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::deadline_missed);
  EXPECT_EQ(world.message(late).ending.body, "partial");
}

TEST(Dispatcher, a_run_that_the_store_writes_as_late_is_counted_as_missed) {
  World world(10);
  world.ready();
  JobSpec spec = job_of(10);
  spec.deadline = world.clock.now() + seconds(30);
  const JobId late = world.submit(spec);
  world.clock.advance(seconds(30) - milliseconds(1));
  world.complete_nth(0);
  world.pass(milliseconds(10));  // the result waits for others, and the deadline passes
  world.flush();
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::deadline_missed);
  const auto& outcomes = world.model().outcomes;
  EXPECT_EQ(outcomes.count("completed"), 0u) << "the store says what it wrote";
  ASSERT_EQ(outcomes.count("deadline_missed"), 1u);
  EXPECT_EQ(outcomes.at("deadline_missed"), 1);
}

TEST(Dispatcher, a_run_timeout_counts_from_the_start_and_keeps_the_partial_text) {  // A8
  World world(10);
  world.ready();
  world.submit(job_of(10));
  JobSpec spec = job_of(10);
  spec.run_timeout = seconds(60);
  const JobId timed = world.submit(spec);
  world.pass(seconds(100));
  ASSERT_EQ(world.phase(timed), LivePhase::parked) << "waiting is no running";
  world.complete_nth(0);
  world.pass(seconds(59));
  ASSERT_EQ(world.phase(timed), LivePhase::running);
  world.pass(seconds(1));
  EXPECT_EQ(world.model().in_use, Blocks{0});
  world.flush();
  const Message message = world.message(timed);
  EXPECT_EQ(message.ending.outcome, Outcome::failed);
  EXPECT_EQ(message.ending.error_code, "run_timeout");
  EXPECT_NE(message.ending.error_message.find("60 s"), std::string::npos);
  EXPECT_EQ(message.ending.body, "partial");
  EXPECT_EQ(message.ending.completion_tokens, 45);
  EXPECT_EQ(message.ending.run_us, 60'000'000);
  EXPECT_EQ(message.attempts, 0) << "a timeout is final and no retry";
}

TEST(Dispatcher, a_job_without_a_run_timeout_has_the_models) {
  World world(10);
  world.port.run_timeout_default = seconds(7);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.pass(seconds(7));
  world.flush();
  EXPECT_EQ(world.message(id).ending.error_code, "run_timeout");
}

TEST(Dispatcher, a_whole_result_that_beats_the_run_timeouts_stop_is_kept) {  // A8
  World world(10);
  world.port.run_timeout_default = seconds(7);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.pass(seconds(7));
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
}

// --- draining

TEST(Dispatcher, a_drain_gives_parked_jobs_back_and_lets_running_ones_finish) {  // B12
  World world(10);
  world.ready();
  const JobId running = world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  EXPECT_EQ(std::get<Job>(world.get(parked)).state, JobState::queued);
  EXPECT_EQ(std::get<Job>(world.get(parked)).attempts, 0);
  EXPECT_FALSE(world.dispatcher.drained());
  const JobId later = world.submit(job_of(1));
  world.pass(seconds(5));
  EXPECT_EQ(std::get<Job>(world.get(later)).state, JobState::queued)
      << "nothing is claimed any more";
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(running).ending.outcome, Outcome::completed);
  EXPECT_TRUE(world.dispatcher.drained());
  world.dispatcher.check_idle();
}

TEST(Dispatcher, what_still_runs_at_the_drain_timeout_is_given_back_without_an_attempt) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  world.pass(seconds(30));
  EXPECT_TRUE(world.dispatcher.drained());
  const Job job = std::get<Job>(world.get(id));
  EXPECT_EQ(job.state, JobState::queued);
  EXPECT_EQ(job.attempts, 0);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, stopping_at_once_does_not_wait_for_the_drain_timeout) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_TRUE(world.dispatcher.drained());
  EXPECT_EQ(std::get<Job>(world.get(id)).state, JobState::queued);
}

TEST(Dispatcher, an_idle_drain_is_over_at_once) {  // A10
  World world(10);
  world.ready();
  world.dispatcher.drain();
  world.settle();
  EXPECT_TRUE(world.dispatcher.drained());
}

TEST(Dispatcher, a_whole_result_that_beats_the_drains_stop_is_kept) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.dispatcher.stop_now();
  world.settle();
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_TRUE(world.dispatcher.drained());
}

TEST(Dispatcher, releases_of_a_drain_are_repeated_until_the_store_takes_them) {
  World world(10);
  world.ready();
  world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  world.store.faults["release"] = FaultyStore::Fault::after;
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_FALSE(world.dispatcher.drained());
  world.store.faults.clear();
  world.pass(seconds(6));
  EXPECT_TRUE(world.dispatcher.drained());
  EXPECT_EQ(std::get<Job>(world.get(parked)).state, JobState::queued);
}

}  // namespace
}  // namespace parkd
